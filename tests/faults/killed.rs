//! `kill -9` at each write to a registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::components::component;
use crate::proxy::{FaultySite, Side, Write};
use crate::support::runner::{CallEnd, JobOutcome};
use crate::support::staging::REPOSITORY;

/// Where a component's second image is kept.
const SECOND: &str = "acme/billing/worker";

/// Returns one write of each kind that a delivery makes, in order, and the tags on both sides.
fn kinds(writes: &[Write]) -> Vec<(Write, Side)> {
    let kind = |write: &Write| match write {
        Write::Bundle(_) => Write::Bundle(0),
        Write::Referrers(_) => Write::Referrers(0),
        other => other.clone(),
    };
    let mut seen: Vec<Write> = Vec::new();
    let mut points = Vec::new();
    for write in writes {
        if seen.contains(&kind(write)) {
            continue;
        }
        seen.push(kind(write));
        points.push((write.clone(), Side::Before));
        if matches!(write, Write::VersionTag | Write::Staged) {
            points.push((write.clone(), Side::After));
        }
    }
    points
}

/// Runs a job that dies at the held write, then checks what stands in the registry and on the host.
fn killed(faulty: &FaultySite, point: &str, flag: Arc<AtomicBool>) -> JobOutcome {
    let site = &faulty.site;
    let id = site.host.gitlab.enqueue(&site.job(7));
    let told = Arc::clone(&flag);
    let outcome = site
        .host
        .runner()
        .kill_driver_when("build_script", move |_| told.load(Ordering::SeqCst))
        .run_one_with_the_small_runner();
    assert!(flag.load(Ordering::SeqCst), "{point}: the write never came\n{}", outcome.trace);
    assert_eq!(outcome.call("build_script").end, CallEnd::Signaled(9), "{point}\n{}", outcome.trace);
    faulty.behave_well();
    site.assert_nothing_left(id);
    for repository in [REPOSITORY, SECOND] {
        for tag in faulty.image_tags_in(repository) {
            site.complete_digest_in(repository, &tag);
        }
    }
    outcome
}

/// Runs the job again and checks that both tags are complete and agree.
fn retried(faulty: &FaultySite, point: &str) {
    let outcome = faulty.site.run(7);
    assert_eq!(outcome.state, crate::support::runner::JobState::Success, "{point}\n{}", outcome.trace);
    let tags = faulty.image_tags();
    assert_eq!(tags.len(), 2, "{point}: {tags:?}");
    let digests: Vec<String> = tags.iter().map(|tag| faulty.site.complete_digest(tag)).collect();
    assert_eq!(digests[0], digests[1], "{point}: {tags:?}");
}

/// One delivery is killed at each kind of write, one after the other, and each retry meets all that
/// the ones before it left. The long matrix below kills at every single write with a retry of its own.
#[test]
fn a_delivery_killed_at_each_kind_of_write_leaves_no_tag_without_evidence() {
    let faulty = FaultySite::new();
    faulty.site.run(7).expect_success();
    let writes = faulty.writes();
    faulty.wipe();
    let points = kinds(&writes);
    for (write, side) in &points {
        let point = format!("{side:?} {write:?}");
        let target = write.clone();
        killed(&faulty, &point, faulty.hold(*side, move |seen| *seen == target));
    }
    retried(&faulty, "after all of them");
    let writes: Vec<String> = writes.iter().map(|write| format!("{write:?}")).collect();
    insta::assert_snapshot!("writes_of_a_delivery", writes.join("\n"));
}

#[test]
#[ignore = "long matrix: make fault-matrix"]
fn every_single_write_may_be_the_last() {
    let faulty = FaultySite::new();
    faulty.site.run(7).expect_success();
    let writes = faulty.writes();
    for (number, write) in writes.iter().enumerate() {
        for side in [Side::Before, Side::After] {
            let point = format!("{side:?} write {} of {}: {write:?}", number + 1, writes.len());
            eprintln!("{point}");
            faulty.wipe();
            let mut seen = 0;
            let flag = faulty.hold(side, move |_| {
                seen += 1;
                seen == number + 1
            });
            killed(&faulty, &point, flag);
            retried(&faulty, &point);
        }
    }
}

#[test]
fn all_images_of_a_component_are_published_before_the_first_staged_moves() {
    let manifest = "schema = 1\n[[image]]\nrepository = \"billing\"\n[[image]]\nrepository = \"billing/worker\"\n\
                    dockerfile = \"worker.Dockerfile\"\n";
    let two = component(&[
        ("airlock.toml", manifest),
        ("Dockerfile", "FROM scratch\nCOPY VERSION /service\n"),
        ("worker.Dockerfile", "FROM scratch\nCOPY VERSION /worker\n"),
    ]);
    let listed = "repositories = [\"billing\", \"billing/worker\"]";
    let faulty = FaultySite::with(two, |settings| settings.replace("repositories = [\"billing\"]", listed));
    let tags = |faulty: &FaultySite| [REPOSITORY, SECOND].map(|repository| faulty.image_tags_in(repository));

    // Between the two version tags: the second image is as complete as the first, only unnamed.
    let mut versions = 0;
    let flag = faulty.hold(Side::Before, move |write| {
        versions += usize::from(*write == Write::VersionTag);
        versions == 2
    });
    killed(&faulty, "before the second version tag", flag);
    let [first, second] = tags(&faulty);
    assert_eq!((first.len(), second.len()), (1, 0), "{first:?} {second:?}");

    let flag = faulty.hold(Side::Before, |write| *write == Write::Staged);
    killed(&faulty, "before the first `:staged`", flag);
    let [first, second] = tags(&faulty);
    assert_eq!(first, second, "one version for both");
    assert!(first.len() == 1 && !first.contains(&"staged".to_owned()), "{first:?}");

    let flag = faulty.hold(Side::After, |write| *write == Write::Staged);
    killed(&faulty, "after the first `:staged`", flag);
    let [first, second] = tags(&faulty);
    assert_eq!((first.len(), second.len()), (2, 1), "{first:?} {second:?}");

    faulty.site.run(7).expect_success();
    let [first, second] = tags(&faulty);
    assert_eq!((first.len(), &first), (2, &second));
    for repository in [REPOSITORY, SECOND] {
        let named: Vec<String> =
            first.iter().map(|tag| faulty.site.complete_digest_in(repository, tag)).collect();
        assert_eq!(named[0], named[1], "{repository}");
    }
}
