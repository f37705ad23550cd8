//! `airlock promote`: rollback, repair, and what stands in its way.

use time::Duration;

use super::bench::{Bench, releases, told};
use super::meddling::{ALL_WRITES, Meddling};
use crate::delivery::lock::DeliveryLock;
use crate::delivery::sign::fixture::NOW;
use crate::domain::trust::Channel;
use crate::registry::{ImageStore as _, ManifestReference};
use crate::release::repoint::{Repointing, plan, repoint};
use crate::release::store::Standing;

#[tokio::test]
async fn an_older_release_becomes_the_candidate_again_by_the_same_verb() {
    let bench = Bench::new();
    let (a, b) = (bench.staged("a").await, bench.staged("b").await);
    let first = bench.promote(bench.input(&a, 0).await).await.unwrap();
    bench.promote(bench.input(&b, 1).await).await.unwrap();
    let planned = bench.plan("2.3.0-r1").await.unwrap();
    assert!(planned.is_rollback());
    assert_eq!(bench.component_candidate().await.as_ref(), Some(b.digest()), "a plan writes nothing");
    let back = repoint(&bench.repointing(), planned, &bench.log, &|_| ()).await.unwrap();
    assert_eq!(back.release.digest(), first.release.digest());
    assert_eq!(bench.component_candidate().await.as_ref(), Some(a.digest()));
    // The next promotion follows what is the candidate then, with a number that was never used.
    let c = bench.staged("c").await;
    let next = bench.promote(bench.input(&c, 2).await).await.unwrap();
    assert_eq!(next.release.release().version, "2.3.0-r3");
    assert_eq!(next.release.release().previous.as_ref(), Some(first.release.digest()));
}

#[tokio::test]
async fn bytes_that_nobody_signed_under_candidate_stop_a_hub_and_are_replaced_by_a_person() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let first = bench.promote(bench.input(&image, 0).await).await.unwrap();
    let other = bench.staged("b").await;
    let waiting = bench.input(&other, 1).await;
    let junk = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}"#;
    let tag = Channel::Candidate.tag();
    let media_type = first.release.manifest().media_type.clone();
    let bytes = junk.as_slice().into();
    let stored = bench.store.put_manifest(&releases(), &media_type, bytes, Some(&tag)).await.unwrap();

    let refused = bench.promote(waiting).await.unwrap_err();
    assert_eq!(
        bench.candidate().await.as_ref(),
        Some(&stored),
        "a hub does not write over what it cannot judge"
    );
    let named_by_itself = bench.plan("candidate").await.unwrap_err();
    insta::assert_snapshot!([refused, named_by_itself].map(|failure| told(&failure)).join("\n\n"));

    let planned = bench.plan("2.3.0-r1").await.unwrap();
    assert!(planned.moves_candidate() && !planned.is_rollback());
    assert!(matches!(&planned.present, Standing::Untrusted { digest, .. } if *digest == stored));
    repoint(&bench.repointing(), planned, &bench.log, &|_| ()).await.unwrap();
    assert_eq!(bench.candidate().await.as_ref(), Some(first.release.digest()));
}

#[tokio::test]
async fn a_release_that_is_no_longer_valid_or_not_there_cannot_be_pointed_at() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    bench.promote(bench.input(&image, 0).await).await.unwrap();
    let later = Repointing { now: NOW + Duration::days(366), ..bench.repointing() };
    let reference = ManifestReference::Tag("2.3.0-r1".parse().unwrap());
    let expired = plan(&later, "acme", &reference).await.unwrap_err();
    let absent = bench.plan("2.3.0-r9").await.unwrap_err();
    insta::assert_snapshot!([expired, absent].map(|failure| told(&failure)).join("\n\n"));
}

#[tokio::test]
async fn candidate_that_moved_since_the_plan_is_not_written_over() {
    let bench = Bench::new();
    let (a, b, c) = (bench.staged("a").await, bench.staged("b").await, bench.staged("c").await);
    bench.promote(bench.input(&a, 0).await).await.unwrap();
    bench.promote(bench.input(&b, 1).await).await.unwrap();
    let planned = bench.plan("2.3.0-r1").await.unwrap();
    let third = bench.promote(bench.input(&c, 2).await).await.unwrap();
    let refused = repoint(&bench.repointing(), planned, &bench.log, &|_| ()).await.unwrap_err();
    assert!(told(&refused).contains("a fork"), "{refused}");
    assert_eq!(bench.candidate().await.as_ref(), Some(third.release.digest()));
    assert_eq!(bench.component_candidate().await.as_ref(), Some(c.digest()));
}

#[tokio::test]
async fn after_a_death_at_any_write_of_a_rollback_the_same_command_completes_it() {
    let set_up = || async {
        let bench = Bench::new();
        let (a, b) = (bench.staged("a").await, bench.staged("b").await);
        let first = bench.promote(bench.input(&a, 0).await).await.unwrap();
        let second = bench.promote(bench.input(&b, 1).await).await.unwrap();
        (bench, a, first, second)
    };
    let whole = {
        let (bench, ..) = set_up().await;
        let counting = Meddling::dying(&bench.store, ALL_WRITES);
        let planned = bench.plan("2.3.0-r1").await.unwrap();
        repoint(&bench.repointing_on(&counting), planned, &bench.log, &|_| ()).await.unwrap();
        counting.writes()
    };
    assert_eq!(whole, 2, "the release's tag, then the component's");
    for deaths in 0..whole {
        let (bench, a, first, second) = set_up().await;
        let dying = Meddling::dying(&bench.store, deaths);
        let planned = bench.plan("2.3.0-r1").await.unwrap();
        repoint(&bench.repointing_on(&dying), planned, &bench.log, &|_| ()).await.unwrap_err();
        let expected = if deaths == 0 { &second } else { &first };
        assert_eq!(bench.candidate().await.as_ref(), Some(expected.release.digest()));

        let planned = bench.plan("2.3.0-r1").await.unwrap();
        assert_eq!(planned.component_tags.len(), 1, "what is owed is in the plan");
        repoint(&bench.repointing(), planned, &bench.log, &|_| ()).await.unwrap();
        assert_eq!(bench.candidate().await.as_ref(), Some(first.release.digest()));
        assert_eq!(bench.component_candidate().await.as_ref(), Some(a.digest()));
    }
}

#[tokio::test]
async fn a_rollback_waits_for_a_delivery_of_its_components() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    bench.promote(bench.input(&image, 0).await).await.unwrap();
    let planned = bench.plan("2.3.0-r1").await.unwrap();
    let project = planned.target.release().release().components[0].source.project_id;
    let turn = DeliveryLock::acquire(bench.directory.path(), project).await.unwrap();
    let parts = bench.repointing();
    let mut pointing = std::pin::pin!(repoint(&parts, planned, &bench.log, &|_| ()));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), &mut pointing).await;
    assert!(waited.is_err(), "it did not wait for its turn");
    drop(turn);
    pointing.await.unwrap();
}
