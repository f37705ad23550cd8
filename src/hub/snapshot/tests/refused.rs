//! Snapshots that are refused, each attack and accident by its name.

use super::bench::{Bench, FIRST, Image, SECOND, candidate, full, rules};
use crate::domain::digest::Digest;
use crate::domain::evidence::layout::EvidenceTag;
use crate::domain::evidence::provenance::{Origin, Project};
use crate::domain::hub::{HubInputs, HubManifest};
use crate::domain::image::NamePattern;
use crate::hub::snapshot::{Projects, refuse_sidecars};
use crate::registry::{ImageStore as _, ManifestReference};
use crate::settings::ImageSettings;

#[tokio::test]
async fn nothing_staged() {
    Bench::empty().refused("nothing_staged").await;
}

#[tokio::test]
async fn unsigned() {
    let bench = Bench::staged().await;
    let digest = bench.push_unsigned(&Image::of("ledger", FIRST, 503)).await;
    bench.tag("ledger", &digest).await;
    bench.refused("unsigned").await;
}

#[tokio::test]
async fn wrong_key() {
    let bench = Bench::staged().await;
    let digest = bench.publish_as_stranger(&Image::of("ledger", FIRST, 503)).await;
    bench.tag("ledger", &digest).await;
    bench.refused("wrong_key").await;
}

#[tokio::test]
async fn evidence_of_another_digest() {
    let bench = Bench::staged().await;
    let theirs = bench.publish(&Image::of("ledger", SECOND, 502)).await;
    let bare = bench.push_unsigned(&Image::of("ledger", FIRST, 503)).await;
    carry_over(&bench, &theirs, &bare, &[EvidenceTag::Signature, EvidenceTag::Attestation]).await;
    bench.tag("ledger", &bare).await;
    bench.refused("evidence_of_another_digest").await;
}

#[tokio::test]
async fn only_the_legacy_form() {
    let bench = Bench::staged().await;
    let whole = bench.publish(&Image::of("ledger", FIRST, 503)).await;
    // The list of referrers is a tag of the layout: emptied by somebody who can write there.
    let list = whole.as_str().replace(':', "-").parse().unwrap();
    let empty = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let media_type = "application/vnd.oci.image.index.v1+json";
    bench.store.inner.put_manifest(&full("ledger"), media_type, empty.into(), Some(&list)).await.unwrap();
    bench.tag("ledger", &whole).await;
    bench.refused("only_the_legacy_form").await;
}

#[tokio::test]
async fn missing_kinds() {
    let bench = Bench::staged().await;
    // A signature of this very image, and attestations of none.
    let whole = bench.publish(&Image::of("ledger", FIRST, 503)).await;
    let elsewhere = Bench::empty();
    let bare = elsewhere.push_unsigned(&Image::of("ledger", FIRST, 503)).await;
    assert_eq!(whole, bare);
    let list = whole.as_str().replace(':', "-").parse().unwrap();
    let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
    for tag in [list, EvidenceTag::Attestation.of(&whole)] {
        let media_type = "application/vnd.oci.image.index.v1+json";
        bench.store.inner.put_manifest(&full("ledger"), media_type, empty.into(), Some(&tag)).await.unwrap();
    }
    bench.tag("ledger", &whole).await;
    bench.refused("missing_kinds").await;
}

#[tokio::test]
async fn a_policy_that_demands_too_little() {
    let bench = Bench::staged().await;
    let policy = bench.keys.policy_with(|text| text.replace("\"spdx\", \"cyclonedx\", ", ""));
    let outcome =
        bench.snapshot_with(HubInputs::default(), None, &policy, Projects::Published(&rules())).await;
    let failure = outcome.expect_err("no SBOM is demanded");
    insta::assert_snapshot!("refused_a_policy_that_demands_too_little", bench.told(Some(&failure)));
}

#[tokio::test]
async fn wrong_project_and_ref_and_hand() {
    let mut told = String::new();
    let cases: [(&str, fn(&mut Image), &str); 5] = [
        // The policy finds that `acme` owns `acme/ledger`; the host's rule knows better.
        (
            "another project",
            |image| image.project = Project { id: 99, path: "acme".into() },
            "expected project 18",
        ),
        ("another id", |image| image.project.id = 17, "expected project 18"),
        ("another path", |image| image.project.path = "acme".into(), "expected project 18"),
        ("another ref", |image| image.reference = "staging-2", "from the ref `staging-2`"),
        ("built by hand", |image| image.origin = Origin::Local, "built by hand"),
    ];
    for (name, change, expected) in cases {
        // A bench of its own: these images have one digest, and its provenances would add up.
        let bench = Bench::staged().await;
        let mut image = Image::of("ledger", FIRST, 503);
        change(&mut image);
        bench.stage(&image).await;
        let failure = bench.snapshot().await.expect_err(name);
        assert!(failure.to_string().contains(expected), "{name}: {failure}");
        told.push_str(&format!("── {name}\n{failure}\n\n"));
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn labels_and_platforms_that_say_something_else() {
    let mut told = String::new();
    let cases: [(&str, fn(&mut Image)); 4] = [
        ("no version", |image| image.version = None),
        ("a version that is no tag", |image| image.version = Some("1.0 \u{1b}[2J")),
        ("another revision", |image| image.revision = SECOND),
        ("a strange platform", |image| image.platform = ("Linux", "amd64/../x")),
    ];
    for (name, change) in cases {
        let bench = Bench::staged().await;
        let mut image = Image::of("ledger", FIRST, 503);
        change(&mut image);
        bench.stage(&image).await;
        let failure = bench.snapshot().await.expect_err(name);
        told.push_str(&format!("── {name}\n{failure}\n\n"));
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn repositories_that_no_publish_rule_lists() {
    let bench = Bench::staged().await;
    let mut fewer = rules();
    fewer[0].repositories.pop();
    fewer[1].project_id = 180;
    let policy = bench.keys.policy();
    let outcome = bench.snapshot_with(HubInputs::default(), None, &policy, Projects::Published(&fewer)).await;
    insta::assert_snapshot!("refused_repositories_without_a_rule", bench.told(outcome.err().as_ref()));
}

#[tokio::test]
async fn two_commits() {
    let bench = Bench::staged().await;
    bench.stage(&Image::of("billing/api", SECOND, 503)).await;
    let failure = bench.snapshot().await.expect_err("two commits");
    let told = bench.told(Some(&failure));
    let again =
        "billing: its images are of the commits 111111111111 and 222222222222; resolving them again\n";
    assert!(told.matches(again).count() > 1, "{told}");
    insta::assert_snapshot!("refused_two_commits", told.replace(again, ""));
}

#[tokio::test]
async fn superseded() {
    let bench = Bench::staged().await;
    let present = candidate(&bench.snapshot().await.unwrap());
    bench.stage(&Image::of("ledger", FIRST, 480)).await;
    let policy = bench.keys.policy();
    let outcome = bench
        .snapshot_with(HubInputs::default(), Some(present), &policy, Projects::Published(&rules()))
        .await;
    let failure = outcome.expect_err("superseded");
    insta::assert_snapshot!("refused_superseded", failure.to_string());
}

#[tokio::test]
async fn a_candidate_that_cannot_be_verified_any_more_holds_the_component_back() {
    let bench = Bench::staged().await;
    let mut present = bench.snapshot().await.unwrap();
    let strange = bench.publish_as_stranger(&Image::of("ledger", FIRST, 900)).await;
    let newer = bench.snapshot().await.unwrap();
    present.components = newer.components;
    let mut release = candidate(&present).release().clone();
    release.components[1].images[0].manifest = strange;
    let repository = "acme/acme/release".parse().unwrap();
    let present = crate::release::store::VerifiedRelease::unchecked(repository, release);
    let policy = bench.keys.policy();
    let outcome = bench
        .snapshot_with(HubInputs::default(), Some(present), &policy, Projects::Published(&rules()))
        .await;
    let failure = outcome.expect_err("the candidate's image is a stranger's");
    let text = failure.to_string();
    assert!(
        text.contains("ledger: cannot tell whether it is older than in the present candidate `2.3.0-r42`"),
        "{text}"
    );
    assert!(text.contains("AIRLOCK_OVERRIDE"), "{text}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let bench = Bench::empty();
    let bare = bench.push_unsigned(&Image::of("billing/api", FIRST, 501)).await;
    bench.tag("billing/api", &bare).await;
    let mut image = Image::of("ledger", FIRST, 503);
    image.reference = "main";
    bench.stage(&image).await;
    bench.refused("everything_at_once").await;
}

/// Gives the evidence of one digest to another, as somebody could who can write to the repository.
async fn carry_over(bench: &Bench, from: &Digest, to: &Digest, kinds: &[EvidenceTag]) {
    let (store, repository) = (&bench.store.inner, full("ledger"));
    for kind in kinds {
        let theirs = ManifestReference::Tag(kind.of(from));
        let found = store.manifest(&repository, &theirs).await.unwrap().unwrap();
        store.put_manifest(&repository, &found.media_type, found.bytes, Some(&kind.of(to))).await.unwrap();
    }
}

#[tokio::test]
async fn sidecars_that_the_host_does_not_allow() {
    let bench = Bench::empty();
    let hash = "0123456789abcdef".repeat(4);
    let text = format!(
        "schema = 1\nplatform = \"acme\"\n[components.ledger]\nproject_id = 18\nservices = {{ ledger = \"ledger\" }}\n\
         [sidecars.cache]\nimage = \"registry.test/base/cache@sha256:{hash}\"\n\
         [sidecars.elsewhere]\nimage = \"registry.other/base/cache@sha256:{hash}\"\n\
         [sidecars.unproven]\nimage = \"localhost/acme/ledger@sha256:{hash}\"\n"
    );
    let manifest = HubManifest::parse(&text).unwrap();
    let allow = ["registry.test/base/*", "localhost/**"].into_iter().map(NamePattern::new).collect();
    let images = ImageSettings { allow, default: None };
    let prefix = "acme".parse().unwrap();
    let failure = refuse_sidecars(&manifest, &images, &bench.store, Some(&prefix)).unwrap_err();
    insta::assert_snapshot!(failure.to_string());
}
