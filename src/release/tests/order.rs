//! The order of writes: deaths between them, stops, forks, and who waits for whom.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::bench::{Always, Bench, releases, told};
use super::meddling::{ALL_WRITES, Meddling};
use crate::cancel::Cancel;
use crate::delivery::lock::DeliveryLock;
use crate::delivery::sign::fixture::NOW;
use crate::failure::{Failure, FailureKind, Outcome};
use crate::registry::{ImageStore as _, ManifestReference};
use crate::release::promote::StillTheJob;
use crate::release::publish::verify_all;
use crate::release::store::{VerifiedRelease, candidate, read};
use crate::release::tags::{point, put_version};

#[tokio::test]
async fn after_a_death_at_any_write_candidate_names_the_old_or_the_new_release_and_a_second_run_completes_it()
{
    // How many writes a whole promotion has.
    let whole = {
        let bench = Bench::new();
        let old = bench.staged("old").await;
        bench.promote(bench.input(&old, 0).await).await.unwrap();
        let new = bench.staged("new").await;
        let counting = Meddling::dying(&bench.store, ALL_WRITES);
        bench.promote_on(&counting, bench.input(&new, 1).await).await.unwrap();
        counting.writes()
    };
    assert!(whole > 10, "{whole}");
    for deaths in 0..whole {
        let bench = Bench::new();
        let old = bench.staged("old").await;
        let first = bench.promote(bench.input(&old, 0).await).await.unwrap();
        let new = bench.staged("new").await;
        let dying = Meddling::dying(&bench.store, deaths);
        bench.promote_on(&dying, bench.input(&new, 1).await).await.unwrap_err();

        let there = candidate(&bench.store, &bench.policy, None, "acme", NOW).await.unwrap().unwrap();
        let is_old = there.digest() == first.release.digest();
        let is_new = there.release().previous.as_ref() == Some(first.release.digest());
        assert!(is_old || is_new, "after {deaths} writes");
        for tag in bench.store.tags(&releases(), 100).await.unwrap() {
            if tag.as_str().starts_with("sha256-") {
                continue;
            }
            // Whatever a tag names is a whole release, all of whose images are verified.
            let reference = ManifestReference::Tag(tag);
            let release = read(&bench.store, &bench.policy, &releases(), &reference, NOW).await.unwrap();
            verify_all(&bench.store, &bench.policy, None, release, NOW).await.unwrap();
        }

        let second = bench.promote(bench.input(&new, 2).await).await.unwrap();
        let named = bench.candidate().await;
        assert_eq!(named.as_ref(), Some(second.release.digest()), "after {deaths} writes");
        assert_eq!(second.release.release().previous.as_ref(), Some(first.release.digest()));
        assert_eq!(bench.component_candidate().await.as_ref(), Some(new.digest()));
    }
}

#[tokio::test]
async fn two_promotions_of_one_host_wait_for_each_other() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let input = bench.input(&image, 0).await;
    let turn = DeliveryLock::of_promotion(bench.directory.path(), "acme").await.unwrap();
    let mut promoting = std::pin::pin!(bench.promote(input));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), &mut promoting).await;
    assert!(waited.is_err(), "it did not wait for its turn");
    assert_eq!(bench.component_candidate().await, None);
    drop(turn);
    promoting.await.unwrap();
    assert_eq!(bench.component_candidate().await.as_ref(), Some(image.digest()));
}

#[tokio::test]
async fn a_run_that_began_from_another_candidate_is_refused_as_a_fork() {
    let bench = Bench::new();
    let (a, b, c) = (bench.staged("a").await, bench.staged("b").await, bench.staged("c").await);
    bench.promote(bench.input(&a, 0).await).await.unwrap();
    let late = bench.input(&c, 1).await;
    bench.promote(bench.input(&b, 2).await).await.unwrap();
    insta::assert_snapshot!(told(&bench.promote(late).await.unwrap_err()));
    assert_eq!(bench.component_candidate().await.as_ref(), Some(b.digest()));
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
    let promotable = bench.untagged(ours).await;
    let before = present.as_ref().map(VerifiedRelease::digest);
    let fork = point(&bench.store, &promotable, before, &|_| ()).await.unwrap_err();
    insta::assert_snapshot!(told(&fork));
    assert_eq!(bench.candidate().await.as_ref(), Some(theirs.digest()));
}

#[tokio::test]
async fn a_version_tag_that_another_host_took_is_told_as_such_before_and_after_the_write() {
    let bench = Bench::new();
    let (a, b) = (bench.staged("a").await, bench.staged("b").await);
    // Two hosts take the same number, and the other one is first.
    let (ours, theirs) = (bench.input(&a, 0).await, bench.input(&b, 1).await);
    let (ours, theirs) = (bench.untagged(ours).await, bench.untagged(theirs).await);
    let tag = ours.release().release().tag().unwrap();
    assert_eq!(theirs.release().release().tag().as_ref(), Some(&tag));
    let overtaking = Meddling::overtaken(&bench.store, tag.clone(), theirs.release().manifest().clone());
    let after = put_version(&overtaking, &ours, &tag, &|_| ()).await.unwrap_err();
    assert_eq!(bench.named(&releases(), &tag).await.as_ref(), Some(theirs.release().digest()));
    let before = put_version(&bench.store, &ours, &tag, &|_| ()).await.unwrap_err();
    assert_eq!(told(&before), told(&after));
    insta::assert_snapshot!(told(&before));
    assert_eq!(bench.candidate().await, None);
}

#[tokio::test]
async fn candidate_that_another_host_takes_while_we_write_it_is_named_as_a_fork() {
    let bench = Bench::new();
    let (a, b) = (bench.staged("a").await, bench.staged("b").await);
    let theirs = bench.input(&b, 1).await;
    let theirs = bench.untagged(theirs).await;
    let tag = "candidate".parse().unwrap();
    let overtaking = Meddling::overtaken(&bench.store, tag, theirs.release().manifest().clone());
    let fork = bench.promote_on(&overtaking, bench.input(&a, 0).await).await.unwrap_err();
    assert!(matches!(fork.kind(), FailureKind::Refused { .. }));
    assert!(told(&fork).contains("a fork"), "{fork}");
    assert_eq!(bench.component_candidate().await, None, "a component's tag never leads");
}

/// A job that GitLab stops confirming from the n-th question on.
struct ConfirmedTimes(AtomicUsize);

#[async_trait]
impl StillTheJob for ConfirmedTimes {
    async fn confirm(&self) -> Outcome<()> {
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::refused_to_publish("GitLab says that the job no longer runs")),
        }
    }
}

#[tokio::test]
async fn a_job_that_gitlab_no_longer_confirms_writes_no_tag() {
    let bench = Bench::new();
    let (_tell, cancel) = Cancel::by_hand();
    let image = bench.staged("a").await;
    for confirmed in [0, 1] {
        let job = ConfirmedTimes(AtomicUsize::new(confirmed));
        let parts = bench.parts(&bench.store);
        let input = bench.input(&image, 0).await;
        let refused = bench.promote_as(&parts, input, &job, &|_| (), &cancel).await.unwrap_err();
        assert_eq!(refused.what(), "GitLab says that the job no longer runs");
        let tags = bench.store.tags(&releases(), 100).await.unwrap();
        let ours = tags.iter().filter(|tag| !tag.as_str().starts_with("sha256-"));
        assert_eq!(ours.count(), 0, "after {confirmed} confirmations");
    }
    // What is the candidate already is not written to either: not even the component's tag.
    bench.promote(bench.input(&image, 1).await).await.unwrap();
    let other = bench.staged("b").await;
    crate::delivery::tag::follow_release(&bench.store, &other, crate::domain::trust::Channel::Candidate)
        .await
        .unwrap();
    let job = ConfirmedTimes(AtomicUsize::new(0));
    let input = bench.input(&image, 2).await;
    bench.promote_as(&bench.parts(&bench.store), input, &job, &|_| (), &cancel).await.unwrap_err();
    assert_eq!(bench.component_candidate().await.as_ref(), Some(other.digest()));
}

#[tokio::test]
async fn a_cancel_at_any_write_leaves_the_old_candidate_or_the_whole_new_one_and_says_which() {
    let writes = {
        let bench = Bench::new();
        let image = bench.staged("a").await;
        let (_tell, cancel) = Cancel::by_hand();
        let seen = Mutex::new(Vec::new());
        let note = |write: &str| seen.lock().unwrap().push(write.to_owned());
        let input = bench.input(&image, 0).await;
        bench.promote_as(&bench.parts(&bench.store), input, &Always, &note, &cancel).await.unwrap();
        seen.into_inner().unwrap()
    };
    let commit = writes.iter().position(|write| write == "release-candidate").unwrap();
    let mut outcomes = std::collections::BTreeSet::new();
    for (stop, write) in writes.iter().enumerate() {
        let bench = Bench::new();
        let image = bench.staged("a").await;
        let (tell, cancel) = Cancel::by_hand();
        let count = AtomicUsize::new(0);
        let pull = |_: &str| {
            if count.fetch_add(1, Ordering::SeqCst) == stop {
                tell.send_replace(true);
            }
        };
        let input = bench.input(&image, 0).await;
        let outcome = bench.promote_as(&bench.parts(&bench.store), input, &Always, &pull, &cancel).await;
        let named = bench.candidate().await;
        match outcome {
            Ok(promoted) => {
                assert!(stop >= commit, "{write}");
                assert_eq!(named.as_ref(), Some(promoted.release.digest()));
                assert_eq!(bench.component_candidate().await.as_ref(), Some(image.digest()));
            }
            Err(failure) => {
                assert!(stop < commit, "{write}");
                assert_eq!(failure.kind(), FailureKind::Cancelled, "{failure}");
                assert_eq!((named, bench.component_candidate().await), (None, None), "{write}");
                let stands = bench.named(&releases(), &"2.3.0-r1".parse().unwrap()).await.is_some();
                assert_eq!(failure.what().contains("2.3.0-r1` stands"), stands, "{failure}");
                outcomes.insert(told(&failure));
            }
        }
    }
    insta::assert_snapshot!(outcomes.into_iter().collect::<Vec<_>>().join("\n\n"));
}
