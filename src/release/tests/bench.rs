//! A platform with one component on a real layout directory, and what its tests ask of it.

use async_trait::async_trait;
use time::Duration;

use crate::cancel::Cancel;
use crate::delivery::push::{AfterWrite, publish};
use crate::delivery::sign::fixture::{Keys, NOW, image, input, passed, repository};
use crate::delivery::verify::VerifiedImage;
use crate::domain::digest::Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::test_result::{PassedTestResult, TestResult, TestStage};
use crate::domain::image::{Repository, Tag};
use crate::domain::release::tests::sample;
use crate::domain::release::{ReleaseComponent, ReleaseEvidence, ReleaseImage};
use crate::domain::trust::{Channel, TrustPolicy};
use crate::failure::{Failure, Outcome};
use crate::job_log::{JobLog, LogStyle};
use crate::keys::Signer as _;
use crate::keys::file::FileSigner;
use crate::registry::layout::LayoutDirectory;
use crate::registry::{ImageStore, ManifestReference};
use crate::release::compose::{ReleaseInput, compose};
use crate::release::evidence::{PromotionEvidence, sign_release};
use crate::release::promote::{Promoted, PromotionParts, StillTheJob, promote};
use crate::release::publish::PromotableRelease;
use crate::release::repoint::{Plan, Repointing, plan};
use crate::release::store::{candidate, repository_of};

pub(super) struct Bench {
    pub(super) keys: Keys,
    pub(super) release_key: FileSigner,
    pub(super) store: LayoutDirectory,
    pub(super) directory: tempfile::TempDir,
    pub(super) policy: TrustPolicy,
    pub(super) log: JobLog,
}

/// The builder that the fixture's provenance names.
pub(super) const BUILDER: &str = "https://airlock.example/builder/gitlab/v1";

/// A job that is still what it says, however often one asks.
pub(super) struct Always;

#[async_trait]
impl StillTheJob for Always {
    async fn confirm(&self) -> Outcome<()> {
        Ok(())
    }
}

/// The repository of the platform's releases.
pub(super) fn releases() -> Repository {
    repository_of(None, "acme").unwrap()
}

/// The hub's own test result.
pub(super) fn hub_result() -> PassedTestResult {
    PassedTestResult::new(TestResult { stage: TestStage::Integration, ..passed() }).unwrap()
}

/// What a policy demands of a candidate beyond what it demands of a staged image.
pub(super) const PROMOTED: &str = r#", "hub-test-result", "promotion", "vsa""#;

impl Bench {
    pub(super) fn new() -> Self {
        let (keys, release_key) = (Keys::new(), FileSigner::ephemeral().unwrap());
        let policy = policy(&keys, &release_key, PROMOTED);
        let directory = tempfile::tempdir().unwrap();
        let store = LayoutDirectory::open(directory.path().join("store")).unwrap();
        let log = JobLog::new(Box::new(std::io::sink()), LogStyle::Terminal);
        Self { keys, release_key, store, directory, policy, log }
    }

    pub(super) fn parts<'a>(&'a self, store: &'a dyn ImageStore) -> PromotionParts<'a> {
        PromotionParts {
            store,
            release_key: &self.release_key,
            attestation_key: &self.keys.attestation,
            policy: &self.policy,
            prefix: None,
            state_dir: self.directory.path(),
            builder_id: BUILDER,
        }
    }

    /// A component's image as staging leaves it.
    pub(super) async fn staged(&self, seed: &str) -> VerifiedImage {
        let signed = self.keys.signed(image(seed), &input()).await;
        let published = publish(&self.store, &signed, &|_| ()).await.unwrap();
        published.verify(&self.store, &self.policy, Channel::Staged, NOW).await.unwrap()
    }

    /// What a green hub run hands over.
    pub(super) async fn input(&self, image: &VerifiedImage, minutes: i64) -> ReleaseInput {
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

    pub(super) async fn promote_as(
        &self,
        parts: &PromotionParts<'_>,
        input: ReleaseInput,
        job: &dyn StillTheJob,
        after_write: AfterWrite<'_>,
        cancel: &Cancel,
    ) -> Outcome<Promoted> {
        promote(parts, input, &hub_result(), job, after_write, &self.log, cancel).await
    }

    pub(super) async fn promote_on(&self, store: &dyn ImageStore, input: ReleaseInput) -> Outcome<Promoted> {
        let (_signals, cancel) = Cancel::by_hand();
        self.promote_as(&self.parts(store), input, &Always, &|_| (), &cancel).await
    }

    pub(super) async fn promote(&self, input: ReleaseInput) -> Outcome<Promoted> {
        self.promote_on(&self.store, input).await
    }

    /// A release that another host made of `input` and published, with no tag on it yet.
    pub(super) async fn untagged(&self, input: ReleaseInput) -> PromotableRelease {
        let composed = compose(&self.store, &releases(), input).await.unwrap();
        let result = hub_result();
        let evidence =
            PromotionEvidence { hub_test_result: &result, policy: &self.policy, builder_id: BUILDER };
        let keys = (&self.release_key, &self.keys.attestation);
        let signed = sign_release(&self.store, composed, &evidence, keys.0, keys.1).await.unwrap();
        let published = super::super::publish::publish(&self.store, &signed, &|_| ()).await.unwrap();
        published.verify(&self.store, &self.policy, None, NOW).await.unwrap()
    }

    pub(super) fn repointing(&self) -> Repointing<'_> {
        self.repointing_on(&self.store)
    }

    pub(super) fn repointing_on<'a>(&'a self, store: &'a dyn ImageStore) -> Repointing<'a> {
        let (policy, state_dir) = (&self.policy, self.directory.path());
        Repointing { store, policy, prefix: None, state_dir, now: NOW }
    }

    pub(super) async fn plan(&self, version: &str) -> Outcome<Plan> {
        plan(&self.repointing(), "acme", &ManifestReference::Tag(version.parse().unwrap())).await
    }

    /// What the platform's `:candidate` names.
    pub(super) async fn candidate(&self) -> Option<Digest> {
        self.named(&releases(), &Channel::Candidate.tag()).await
    }

    /// What the component's `:candidate` names.
    pub(super) async fn component_candidate(&self) -> Option<Digest> {
        self.named(&repository(), &Channel::Candidate.tag()).await
    }

    pub(super) async fn named(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        let found = self.store.manifest(repository, &ManifestReference::Tag(tag.clone())).await.unwrap();
        found.map(|found| found.digest)
    }
}

/// Trusts the three keys; `promoted` is what a candidate must have beyond a staged image's evidence.
pub(super) fn policy(keys: &Keys, release_key: &FileSigner, promoted: &str) -> TrustPolicy {
    let staged = r#""spdx", "cyclonedx", "provenance", "test-result""#;
    let rule = |channel: &str, evidence: String| {
        format!(
            "[[require]]\nrepositories = [\"acme/**\"]\nchannel = \"{channel}\"\nevidence = [{evidence}]\n"
        )
    };
    let text = format!(
        "schema = 1\n{}{}{}{}{}",
        key("image"),
        key("attestation"),
        key("release"),
        rule("staged", staged.to_owned()),
        rule("candidate", format!("{staged}{promoted}")),
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
         not_before = 2026-01-01T00:00:00Z\nnot_after = 2030-01-01T00:00:00Z\n"
    )
}

pub(super) fn told(failure: &Failure) -> String {
    let digests = regex::Regex::new("SHA256:[A-Za-z0-9+/]{43}|[0-9a-f]{64}|[0-9a-f]{12}").unwrap();
    let place = regex::Regex::new("`/[^`]*/store`").unwrap();
    place.replace_all(&digests.replace_all(&failure.to_string(), "DIGEST"), "`STORE`").into_owned()
}
