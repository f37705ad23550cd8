//! A green run of what is the candidate already: nothing new is said, unless the old word no longer holds.

use time::Duration;

use super::bench::Bench;
use crate::delivery::sign::fixture::{NOW, repository};
use crate::delivery::tag::follow_release;
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::layout::EvidenceTag;
use crate::domain::trust::Channel;
use crate::registry::{ImageStore as _, ManifestReference};

#[tokio::test]
async fn the_same_run_twice_makes_one_release_and_repairs_the_component_tags() {
    let bench = Bench::new();
    let (first, other) = (bench.staged("a").await, bench.staged("b").await);
    let promoted = bench.promote(bench.input(&first, 0).await).await.unwrap();
    follow_release(&bench.store, &other, Channel::Candidate).await.unwrap();
    let again = bench.promote(bench.input(&first, 5).await).await.unwrap();
    assert!(again.already);
    assert_eq!(again.release.digest(), promoted.release.digest());
    assert_eq!(bench.component_candidate().await.as_ref(), Some(first.digest()));
}

#[tokio::test]
async fn a_release_that_soon_is_no_longer_valid_is_renewed_by_a_run_of_the_same_content() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let first = bench.promote(bench.input(&image, 0).await).await.unwrap();
    let on_day = |days: i64| {
        let (bench, image) = (&bench, &image);
        async move {
            let mut input = bench.input(image, 0).await;
            input.now = NOW + Duration::days(days);
            bench.promote(input).await.unwrap()
        }
    };
    assert!(on_day(300).await.already);
    let renewed = on_day(340).await;
    assert!(!renewed.already);
    assert_eq!(renewed.release.release().previous.as_ref(), Some(first.release.digest()));
    assert_eq!(renewed.release.release().components, first.release.release().components);
    assert_eq!(bench.candidate().await.as_ref(), Some(renewed.release.digest()));
    // Also when it has expired in the meantime: it was the candidate, so it is what the new one follows.
    let late = on_day(340 + 380).await;
    assert_eq!(late.release.release().previous.as_ref(), Some(renewed.release.digest()));
}

#[tokio::test]
async fn an_image_that_stays_the_same_through_many_releases_keeps_what_staging_said_of_it() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    // Its tag of attestations, as full as after many promotions.
    let tag = EvidenceTag::Attestation.of(image.digest());
    let reference = ManifestReference::Tag(tag.clone());
    let layers = || async {
        let found = bench.store.manifest(&repository(), &reference).await.unwrap().unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&found.bytes).unwrap();
        (found.media_type, manifest)
    };
    let (media_type, mut manifest) = layers().await;
    let staged = manifest["layers"].as_array().unwrap().clone();
    let mut promotion = staged[0].clone();
    promotion["annotations"]["predicateType"] = EvidenceKind::Promotion.predicate_type().into();
    manifest["layers"].as_array_mut().unwrap().extend(vec![promotion; 96]);
    let bytes = manifest.to_string().into();
    bench.store.put_manifest(&repository(), &media_type, bytes, Some(&tag)).await.unwrap();

    bench.promote(bench.input(&image, 0).await).await.unwrap();
    let (_, after) = layers().await;
    let after = after["layers"].as_array().unwrap();
    assert_eq!(after.len(), 100, "old promotions go, and their bundles stay");
    assert_eq!(after[..staged.len()], staged);
}
