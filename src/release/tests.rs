//! Promotions on a real layout directory: the order of writes, deaths between them, forks, repairs.

mod dying;

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use time::Duration;

use dying::Dying;

use super::compose::ReleaseInput;
use super::promote::{Promoted, PromotionParts, StillTheJob, promote};
use super::repoint::{Repointing, plan, repoint};
use super::store::{candidate, repository_of};
use crate::cancel::Cancel;
use crate::delivery::push::publish;
use crate::delivery::sign::fixture::{Keys, NOW, image, input, passed, repository};
use crate::delivery::verify::{Completeness, VerifiedImage, verify};
use crate::domain::digest::Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::test_result::{PassedTestResult, TestResult, TestStage};
use crate::domain::image::{Repository, Tag};
use crate::domain::release::tests::sample;
use crate::domain::release::{ReleaseComponent, ReleaseEvidence, ReleaseImage};
use crate::domain::trust::{Channel, TrustPolicy};
use crate::failure::{Failure, Outcome};
use crate::job_log::{JobLog, LogStyle};
use crate::keys::file::FileSigner;
use crate::registry::layout::LayoutDirectory;
use crate::registry::{ImageStore, ManifestReference};

struct Bench {
    keys: Keys,
    release_key: FileSigner,
    store: LayoutDirectory,
    directory: tempfile::TempDir,
    policy: TrustPolicy,
    log: JobLog,
}

struct Always;

#[async_trait]
impl StillTheJob for Always {
    async fn confirm(&self) -> Outcome<()> {
        Ok(())
    }
}

fn prefix() -> Repository {
    "acme".parse().unwrap()
}

fn releases() -> Repository {
    repository_of(Some(&prefix()), "acme").unwrap()
}

impl Bench {
    fn new() -> Self {
        let (keys, release_key) = (Keys::new(), FileSigner::ephemeral().unwrap());
        let policy = policy(&keys, &release_key, "");
        let directory = tempfile::tempdir().unwrap();
        let store = LayoutDirectory::open(directory.path().join("store")).unwrap();
        let log = JobLog::new(Box::new(std::io::sink()), LogStyle::Terminal);
        Self { keys, release_key, store, directory, policy, log }
    }

    fn parts<'a>(&'a self, store: &'a dyn ImageStore) -> PromotionParts<'a> {
        PromotionParts {
            store,
            release_key: &self.release_key,
            attestation_key: &self.keys.attestation,
            policy: &self.policy,
            prefix: None,
            state_dir: self.directory.path(),
            builder_id: "https://airlock.example/builder/gitlab/v1",
        }
    }

    /// A component's image as staging leaves it.
    async fn staged(&self, seed: &str) -> VerifiedImage {
        let signed = self.keys.signed(image(seed), &input()).await;
        let published = publish(&self.store, &signed, &|_| ()).await.unwrap();
        published.verify(&self.store, &self.policy, Channel::Staged, NOW).await.unwrap()
    }

    /// What a green hub run hands over.
    async fn input(&self, image: &VerifiedImage, minutes: i64) -> ReleaseInput {
        let envelope = |kind| image.verdict().evidence_of(kind).unwrap().envelope().clone();
        let config = Digest::of(image.config());
        let component = ReleaseComponent {
            name: "billing".into(),
            version: "1.4.0".into(),
            images: vec![ReleaseImage {
                repository: repository(),
                platform: "linux/amd64".into(),
                manifest: image.digest().clone(),
                config,
                evidence: ReleaseEvidence {
                    spdx: envelope(EvidenceKind::Spdx),
                    cyclonedx: envelope(EvidenceKind::CycloneDx),
                    provenance: envelope(EvidenceKind::Provenance),
                    test_result: envelope(EvidenceKind::TestResult),
                },
            }],
            ..sample().components[0].clone()
        };
        ReleaseInput {
            platform: "acme".into(),
            hub_version: "2.3.0".into(),
            hub: sample().hub,
            components: vec![component],
            sidecars: sample().sidecars,
            inputs: sample().inputs,
            predecessor: candidate(&self.store, &self.policy, None, "acme", NOW).await.unwrap(),
            images: vec![image.clone()],
            now: NOW + Duration::minutes(minutes),
        }
    }

    async fn promote_on(&self, store: &dyn ImageStore, input: ReleaseInput) -> Outcome<Promoted> {
        let result = TestResult { stage: TestStage::Integration, ..passed() };
        let result = PassedTestResult::new(result).unwrap();
        let cancel = Cancel::listen().unwrap();
        promote(&self.parts(store), input, &result, &Always, &|_| (), &self.log, &cancel).await
    }

    async fn promote(&self, input: ReleaseInput) -> Outcome<Promoted> {
        self.promote_on(&self.store, input).await
    }

    async fn named(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        let found = self.store.manifest(repository, &ManifestReference::Tag(tag.clone())).await.unwrap();
        found.map(|found| found.digest)
    }
}

/// Trusts the release key beside the fixture's, and changes nothing of its rules but by `more`.
fn policy(keys: &Keys, release_key: &FileSigner, more: &str) -> TrustPolicy {
    use crate::keys::Signer as _;
    // The fixture's policy gives any other name the stranger's key; a release key of its own comes by text.
    let text = format!(
        "schema = 1\n{}{}{}[[require]]\nrepositories = [\"acme/**\"]\nchannel = \"staged\"\n\
         evidence = [\"spdx\", \"cyclonedx\", \"provenance\", \"test-result\"]\nmin_hermetic = 1\n\
         [[require]]\nrepositories = [\"acme/**\"]\nchannel = \"candidate\"\n\
         evidence = [\"spdx\", \"cyclonedx\", \"provenance\", \"test-result\", \"hub-test-result\", \"promotion\", \"vsa\"]\n\
         min_hermetic = 1\n{more}",
        key("image"),
        key("attestation"),
        key("release")
    );
    let read = |name: &str| {
        Ok(match name {
            "image" => keys.image.public_key().to_pem(),
            "attestation" => keys.attestation.public_key().to_pem(),
            _ => release_key.public_key().to_pem(),
        })
    };
    TrustPolicy::parse(&text, "/etc/airlock/trust.toml", &read).unwrap()
}

fn key(name: &str) -> String {
    format!(
        "[[key]]\nname = \"{name}-2026\"\nuse = \"{name}\"\npublic = \"{name}\"\n\
         not_before = 2026-01-01T00:00:00Z\nnot_after = 2028-01-01T00:00:00Z\n"
    )
}

fn told(failure: &Failure) -> String {
    let digests = regex::Regex::new("SHA256:[A-Za-z0-9+/]{43}|[0-9a-f]{64}|[0-9a-f]{12}").unwrap();
    digests.replace_all(&failure.to_string(), "DIGEST").into_owned()
}

#[tokio::test]
async fn a_promotion_signs_a_release_and_the_images_keep_the_evidence_of_staging() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let promoted = bench.promote(bench.input(&image, 0).await).await.unwrap();
    let release = promoted.release.release();
    assert_eq!((release.version.as_str(), release.sequence, &release.previous), ("2.3.0-r1", 1, &None));
    assert_eq!(promoted.release.key(), "release-2026");
    let releases: Repository = "acme/release".parse().unwrap();
    for tag in ["2.3.0-r1", "candidate"] {
        assert_eq!(
            bench.named(&releases, &tag.parse().unwrap()).await.as_ref(),
            Some(promoted.release.digest())
        );
    }
    assert_eq!(bench.named(&repository(), &Channel::Candidate.tag()).await.as_ref(), Some(image.digest()));

    let reference = ManifestReference::Digest(image.digest().clone());
    let after = verify(
        &bench.store,
        &repository(),
        &reference,
        &bench.policy,
        Channel::Candidate,
        Completeness::BothFormats,
        NOW,
    )
    .await
    .unwrap();
    for before in image.verdict().evidence() {
        assert_eq!(after.verdict().evidence_of(before.kind()).unwrap().envelope(), before.envelope());
    }
    for kind in EvidenceKind::PROMOTED {
        assert!(after.verdict().evidence_of(kind).is_some(), "{kind}");
    }
    // The unit test's result is still the unit test's.
    assert_eq!(after.verdict().test_result().unwrap().result().stage, TestStage::Unit);
}

#[tokio::test]
async fn an_integration_test_never_stands_in_for_a_unit_test() {
    let bench = Bench::new();
    let integration = TestResult { stage: TestStage::Integration, ..passed() };
    let evidence = crate::delivery::sign::EvidenceInput {
        test_result: PassedTestResult::new(integration).unwrap(),
        ..input()
    };
    let signed = bench.keys.signed(image("a"), &evidence).await;
    let published = publish(&bench.store, &signed, &|_| ()).await.unwrap();
    let refused = published.verify(&bench.store, &bench.policy, Channel::Staged, NOW).await.unwrap_err();
    insta::assert_snapshot!(told(&refused));
}

#[tokio::test]
async fn the_same_run_twice_makes_one_release_and_repairs_the_component_tags() {
    let bench = Bench::new();
    let (first, other) = (bench.staged("a").await, bench.staged("b").await);
    let promoted = bench.promote(bench.input(&first, 0).await).await.unwrap();
    crate::delivery::tag::follow_release(&bench.store, &other, Channel::Candidate).await.unwrap();
    let again = bench.promote(bench.input(&first, 5).await).await.unwrap();
    assert!(again.already);
    assert_eq!(again.release.digest(), promoted.release.digest());
    assert_eq!(bench.named(&repository(), &Channel::Candidate.tag()).await.as_ref(), Some(first.digest()));
}

#[tokio::test]
async fn after_a_death_at_any_write_candidate_names_the_old_or_the_new_release_and_a_second_run_completes_it()
{
    // How many writes a whole promotion has.
    let whole = {
        let bench = Bench::new();
        let old = bench.staged("old").await;
        bench.promote(bench.input(&old, 0).await).await.unwrap();
        let new = bench.staged("new").await;
        let counting = Dying { inner: &bench.store, writes_left: AtomicUsize::new(1000) };
        bench.promote_on(&counting, bench.input(&new, 1).await).await.unwrap();
        1000 - counting.writes_left.load(Ordering::SeqCst)
    };
    assert!(whole > 10, "{whole}");
    let releases: Repository = "acme/release".parse().unwrap();
    for deaths in 0..whole {
        let bench = Bench::new();
        let old = bench.staged("old").await;
        let first = bench.promote(bench.input(&old, 0).await).await.unwrap();
        let new = bench.staged("new").await;
        let dying = Dying { inner: &bench.store, writes_left: AtomicUsize::new(deaths) };
        bench.promote_on(&dying, bench.input(&new, 1).await).await.unwrap_err();

        let there = candidate(&bench.store, &bench.policy, None, "acme", NOW).await.unwrap().unwrap();
        let is_old = there.digest() == first.release.digest();
        let is_new = there.release().previous.as_ref() == Some(first.release.digest());
        assert!(is_old || is_new, "after {deaths} writes");
        for tag in bench.store.tags(&releases, 100).await.unwrap() {
            if tag.as_str().starts_with("sha256-") {
                continue;
            }
            // Whatever a tag names is a whole release, all of whose images are verified.
            let reference = ManifestReference::Tag(tag);
            let release =
                super::store::read(&bench.store, &bench.policy, &releases, &reference, NOW).await.unwrap();
            super::publish::verify_all(&bench.store, &bench.policy, None, release, NOW).await.unwrap();
        }

        let second = bench.promote(bench.input(&new, 2).await).await.unwrap();
        let named = bench.named(&releases, &Channel::Candidate.tag()).await;
        assert_eq!(named.as_ref(), Some(second.release.digest()), "after {deaths} writes");
        assert_eq!(second.release.release().previous.as_ref(), Some(first.release.digest()));
        assert_eq!(bench.named(&repository(), &Channel::Candidate.tag()).await.as_ref(), Some(new.digest()));
    }
}

#[tokio::test]
async fn two_promotions_of_one_host_wait_for_each_other() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let input = bench.input(&image, 0).await;
    let turn =
        crate::delivery::lock::DeliveryLock::of_promotion(bench.directory.path(), "acme").await.unwrap();
    let mut promoting = std::pin::pin!(bench.promote(input));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), &mut promoting).await;
    assert!(waited.is_err(), "it did not wait for its turn");
    assert_eq!(bench.named(&repository(), &Channel::Candidate.tag()).await, None);
    drop(turn);
    promoting.await.unwrap();
    assert_eq!(bench.named(&repository(), &Channel::Candidate.tag()).await.as_ref(), Some(image.digest()));
}

#[tokio::test]
async fn a_run_that_began_from_another_candidate_is_refused_as_a_fork() {
    let bench = Bench::new();
    let (a, b, c) = (bench.staged("a").await, bench.staged("b").await, bench.staged("c").await);
    bench.promote(bench.input(&a, 0).await).await.unwrap();
    let late = bench.input(&c, 1).await;
    bench.promote(bench.input(&b, 2).await).await.unwrap();
    insta::assert_snapshot!(told(&bench.promote(late).await.unwrap_err()));
    assert_eq!(bench.named(&repository(), &Channel::Candidate.tag()).await.as_ref(), Some(b.digest()));
}

#[tokio::test]
async fn a_candidate_that_moves_in_the_last_moment_is_named_as_a_fork() {
    let bench = Bench::new();
    let (a, b, c) = (bench.staged("a").await, bench.staged("b").await, bench.staged("c").await);
    bench.promote(bench.input(&a, 0).await).await.unwrap();
    let present = candidate(&bench.store, &bench.policy, None, "acme", NOW).await.unwrap();
    bench.promote(bench.input(&b, 1).await).await.unwrap();
    let theirs = candidate(&bench.store, &bench.policy, None, "acme", NOW).await.unwrap().unwrap();
    // Another host's release of the same predecessor, ready to be pointed at.
    let mut ours = bench.input(&c, 2).await;
    ours.predecessor = present.clone();
    let releases: Repository = "acme/release".parse().unwrap();
    let composed = super::compose::compose(&bench.store, &releases, ours).await.unwrap();
    let result = PassedTestResult::new(TestResult { stage: TestStage::Integration, ..passed() }).unwrap();
    let evidence = super::evidence::PromotionEvidence {
        hub_test_result: &result,
        policy: &bench.policy,
        builder_id: "https://airlock.example/builder/gitlab/v1",
    };
    let signed = super::evidence::sign_release(
        &bench.store,
        composed,
        &evidence,
        &bench.release_key,
        &bench.keys.attestation,
    )
    .await
    .unwrap();
    let published = super::publish::publish(&bench.store, &signed, &|_| ()).await.unwrap();
    let promotable = published.verify(&bench.store, &bench.policy, None, NOW).await.unwrap();
    let fork = super::promote::point(&bench.store, &promotable, present.as_ref(), &|_| ()).await.unwrap_err();
    insta::assert_snapshot!(told(&fork));
    assert_eq!(bench.named(&releases, &Channel::Candidate.tag()).await.as_ref(), Some(theirs.digest()));
}

#[tokio::test]
async fn an_older_release_becomes_the_candidate_again_by_the_same_verb() {
    let bench = Bench::new();
    let (a, b) = (bench.staged("a").await, bench.staged("b").await);
    let first = bench.promote(bench.input(&a, 0).await).await.unwrap();
    bench.promote(bench.input(&b, 1).await).await.unwrap();
    let parts = Repointing {
        store: &bench.store,
        policy: &bench.policy,
        prefix: None,
        state_dir: bench.directory.path(),
        now: NOW,
    };
    let reference = ManifestReference::Tag("2.3.0-r1".parse().unwrap());
    let planned = plan(&parts, "acme", &reference).await.unwrap();
    assert!(planned.is_rollback());
    assert_eq!(
        bench.named(&repository(), &Channel::Candidate.tag()).await.as_ref(),
        Some(b.digest()),
        "a plan writes nothing"
    );
    let back = repoint(&parts, planned, &bench.log, &|_| ()).await.unwrap();
    assert_eq!(back.release.digest(), first.release.digest());
    assert_eq!(bench.named(&repository(), &Channel::Candidate.tag()).await.as_ref(), Some(a.digest()));
    // The next promotion follows what is the candidate then, with a number that was never used.
    let c = bench.staged("c").await;
    let next = bench.promote(bench.input(&c, 2).await).await.unwrap();
    assert_eq!(next.release.release().version, "2.3.0-r3");
    assert_eq!(next.release.release().previous.as_ref(), Some(first.release.digest()));
}

#[tokio::test]
async fn a_genuine_release_in_anothers_place_is_refused() {
    let bench = Bench::new();
    let (a, b) = (bench.staged("a").await, bench.staged("b").await);
    bench.promote(bench.input(&a, 0).await).await.unwrap();
    bench.promote(bench.input(&b, 1).await).await.unwrap();
    let releases: Repository = "acme/release".parse().unwrap();
    let second: Tag = "2.3.0-r2".parse().unwrap();
    let present =
        bench.store.manifest(&releases, &ManifestReference::Tag(second.clone())).await.unwrap().unwrap();

    // Copied whole into another platform's repository: document, manifest, signature.
    let copied = bench.directory.path().join("store");
    std::fs::create_dir_all(copied.join("other")).unwrap();
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(copied.join("acme/release"))
        .arg(copied.join("other/release"))
        .status()
        .unwrap();
    assert!(status.success());
    let other_platform = candidate(&bench.store, &bench.policy, None, "other", NOW).await.unwrap_err();

    // Another genuine version under a version's tag.
    let first: Tag = "2.3.0-r1".parse().unwrap();
    bench.store.put_manifest(&releases, &present.media_type, present.bytes, Some(&first)).await.unwrap();
    let read = |tag: Tag| {
        let (store, policy, releases) = (&bench.store, &bench.policy, releases.clone());
        async move { super::store::read(store, policy, &releases, &ManifestReference::Tag(tag), NOW).await }
    };
    let other_version = read(first).await.unwrap_err();
    read(second).await.unwrap();
    insta::assert_snapshot!([other_platform, other_version].map(|failure| told(&failure)).join("\n\n"));
}

#[tokio::test]
async fn only_a_release_key_makes_a_release() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let mut parts = bench.parts(&bench.store);
    parts.release_key = &bench.keys.image;
    let result = PassedTestResult::new(TestResult { stage: TestStage::Integration, ..passed() }).unwrap();
    let cancel = Cancel::listen().unwrap();
    let by_image_key =
        promote(&parts, bench.input(&image, 0).await, &result, &Always, &|_| (), &bench.log, &cancel)
            .await
            .unwrap_err();
    parts.release_key = &bench.keys.stranger;
    let by_a_stranger =
        promote(&parts, bench.input(&image, 0).await, &result, &Always, &|_| (), &bench.log, &cancel)
            .await
            .unwrap_err();
    parts.release_key = &bench.keys.attestation;
    let one_key =
        promote(&parts, bench.input(&image, 0).await, &result, &Always, &|_| (), &bench.log, &cancel)
            .await
            .unwrap_err();
    insta::assert_snapshot!(
        [by_image_key, by_a_stranger, one_key].map(|failure| told(&failure)).join("\n\n")
    );
    assert_eq!(bench.named(&repository(), &Channel::Candidate.tag()).await, None);
}

#[test]
fn the_repository_of_releases_is_below_the_prefix() {
    assert_eq!(releases().as_str(), "acme/acme/release");
    insta::assert_snapshot!(repository_of(None, "../x").unwrap_err().to_string());
}
