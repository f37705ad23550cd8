//! What a promotion says about images, and what is asked of it when it is read back.

use super::bench::{Always, Bench, PROMOTED, policy, releases, told};
use super::meddling::Meddling;
use crate::cancel::Cancel;
use crate::delivery::push::publish;
use crate::delivery::sign::EvidenceInput;
use crate::delivery::sign::fixture::{NOW, image, input, passed, repository};
use crate::delivery::verify::{Completeness, VerifiedImage, verify};
use crate::domain::digest::Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::provenance::LOCAL_BUILDER_ID;
use crate::domain::evidence::test_result::{PassedTestResult, TestResult, TestStage};
use crate::domain::image::{Repository, Tag};
use crate::domain::trust::Channel;
use crate::registry::ManifestReference;

#[tokio::test]
async fn a_promotion_signs_a_release_and_the_images_keep_the_evidence_of_staging() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let promoted = bench.promote(bench.input(&image, 0).await).await.unwrap();
    let release = promoted.release.release();
    assert_eq!((release.version.as_str(), release.sequence, &release.previous), ("2.3.0-r1", 1, &None));
    assert_eq!(promoted.release.key(), "release-2026");
    for tag in ["2.3.0-r1", "candidate"] {
        assert_eq!(
            bench.named(&releases(), &tag.parse().unwrap()).await.as_ref(),
            Some(promoted.release.digest())
        );
    }
    assert_eq!(bench.component_candidate().await.as_ref(), Some(image.digest()));

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
    let evidence = EvidenceInput { test_result: PassedTestResult::new(integration).unwrap(), ..input() };
    let signed = bench.keys.signed(image("a"), &evidence).await;
    let published = publish(&bench.store, &signed, &|_| ()).await.unwrap();
    let refused = published.verify(&bench.store, &bench.policy, Channel::Staged, NOW).await.unwrap_err();
    insta::assert_snapshot!(told(&refused));
}

#[tokio::test]
async fn only_a_release_key_makes_a_release() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let mut parts = bench.parts(&bench.store);
    parts.release_key = &bench.keys.image;
    let (_tell, cancel) = Cancel::by_hand();
    let mut refused = Vec::new();
    for key in [&bench.keys.image, &bench.keys.stranger, &bench.keys.attestation] {
        parts.release_key = key;
        let input = bench.input(&image, 0).await;
        refused.push(bench.promote_as(&parts, input, &Always, &|_| (), &cancel).await.unwrap_err());
    }
    let refused: Vec<String> = refused.iter().map(told).collect();
    insta::assert_snapshot!(refused.join("\n\n"));
    assert_eq!(bench.component_candidate().await, None);
}

/// Loses what is attached to an image as attestations, in one form.
fn loses_attestations(repository: &Repository, tag: Option<&Tag>) -> bool {
    repository.as_str() == "acme/billing/api" && tag.is_some_and(|tag| tag.as_str().ends_with(".att"))
}

/// Loses the bundles that refer to an image.
fn loses_bundles(repository: &Repository, tag: Option<&Tag>) -> bool {
    repository.as_str() == "acme/billing/api" && tag.is_none()
}

#[tokio::test]
async fn what_was_just_signed_must_be_read_back_and_an_older_promotions_evidence_does_not_stand_in() {
    for loses in [loses_attestations, loses_bundles] {
        // Neither where the policy asks for the promotion's evidence nor where it does not.
        for promoted in [PROMOTED, ""] {
            let mut bench = Bench::new();
            bench.policy = policy(&bench.keys, &bench.release_key, promoted);
            let image = bench.staged("a").await;
            let first = bench.promote(bench.input(&image, 0).await).await.unwrap();
            // The same images in a hub of another version: a release of its own.
            let mut second = bench.input(&image, 1).await;
            second.hub_version = "2.4.0".into();
            let losing = Meddling::losing(&bench.store, loses);
            let lost = bench.promote_on(&losing, second).await.unwrap_err();
            insta::allow_duplicates! {
                insta::assert_snapshot!(told(&lost));
            }
            assert_eq!(bench.candidate().await.as_ref(), Some(first.release.digest()));
        }
    }
}

#[tokio::test]
async fn a_release_whose_signature_is_lost_in_one_form_is_not_tagged() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let losing = Meddling::losing(&bench.store, |repository, tag| {
        repository.as_str() == "acme/release" && tag.is_some_and(|tag| tag.as_str().ends_with(".sig"))
    });
    let lost = bench.promote_on(&losing, bench.input(&image, 0).await).await.unwrap_err();
    insta::assert_snapshot!(told(&lost));
    assert_eq!(bench.candidate().await, None);
}

#[tokio::test]
async fn a_release_that_does_not_describe_its_images_is_refused() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let mut wrong = bench.input(&image, 0).await;
    wrong.components[0].images[0].config = Digest::of(b"another config");
    wrong.components[0].images[0].platform = "linux/arm64".into();
    let description = bench.promote(wrong).await.unwrap_err();
    let mut gone = bench.input(&image, 0).await;
    gone.components[0].images[0].evidence.spdx = Digest::of(b"another document");
    let evidence = bench.promote(gone).await.unwrap_err();
    insta::assert_snapshot!([description, evidence].map(|failure| told(&failure)).join("\n\n"));
    assert_eq!(bench.candidate().await, None);
}

#[tokio::test]
async fn a_candidate_whose_evidence_went_away_is_replaced_by_a_run_of_the_same_content() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let first = bench.promote(bench.input(&image, 0).await).await.unwrap();
    // The evidence tags and referrers of the image go; a rerun of the staging job brings new ones.
    std::fs::remove_dir_all(bench.directory.path().join("store/acme/billing")).unwrap();
    let again = bench.staged("a").await;
    assert_eq!(again.digest(), image.digest());
    let fresh = bench.promote(bench.input(&again, 1).await).await.unwrap();
    assert!(!fresh.already);
    assert_eq!(fresh.release.release().previous.as_ref(), Some(first.release.digest()));
}

async fn levels(bench: &Bench, builder_id: &str) -> Vec<String> {
    let image: VerifiedImage = bench.staged("a").await;
    let (_tell, cancel) = Cancel::by_hand();
    let parts = crate::release::promote::PromotionParts { builder_id, ..bench.parts(&bench.store) };
    let input = bench.input(&image, 0).await;
    bench.promote_as(&parts, input, &Always, &|_| (), &cancel).await.unwrap();
    let evidence =
        crate::delivery::verify::collect(&bench.store, &repository(), image.digest()).await.unwrap();
    let found = evidence
        .statements
        .iter()
        .find(|found| found.statement.predicate_type() == EvidenceKind::Vsa.predicate_type())
        .unwrap();
    let statement: serde_json::Value = serde_json::from_slice(found.envelope.payload()).unwrap();
    serde_json::from_value(statement["predicate"]["verifiedLevels"].clone()).unwrap()
}

#[tokio::test]
async fn build_level_3_is_claimed_for_our_own_builder_alone() {
    let ours = levels(&Bench::new(), super::bench::BUILDER).await;
    assert_eq!(ours, ["SLSA_BUILD_LEVEL_3", "AIRLOCK_HERMETIC_1"]);
    for other in ["https://elsewhere.example/builder", LOCAL_BUILDER_ID] {
        assert_eq!(levels(&Bench::new(), other).await[0], "SLSA_BUILD_LEVEL_1");
    }
}
