//! What stands under a version tag stays, and `:staged` moves only forward.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::components::clockwork;
use crate::site::{Site, failure_in};
use crate::support::runner::{JobOutcome, JobState};
use crate::support::staging::{Place, REPOSITORY, redact};

/// Returns the lines of a job's log that speak of tags and of what was kept.
fn verdict_in(trace: &str) -> String {
    let spoken = ["not reproducible", "kept ", "tag ", "the image and its", "  staged", "  version"];
    let lines = trace.lines().filter(|line| spoken.iter().any(|word| line.starts_with(word)));
    redact(&lines.collect::<Vec<_>>().join("\n"))
}

fn refused(outcome: &JobOutcome) -> String {
    let refused = JobState::Failed { reason: "script_failure".to_owned(), exit_code: Some(101) };
    assert_eq!(outcome.state, refused, "{}", outcome.trace);
    redact(&failure_in(&outcome.trace))
}

/// Returns the version tag of the head, as its job writes it.
fn version_of_head(site: &Site) -> String {
    let (head, time) = (site.repository.head(), site.repository.git(&["log", "-1", "--format=%ct"]));
    let time = time::OffsetDateTime::from_unix_timestamp(time.parse().expect("a time")).expect("a time");
    let (date, clock) = (time.date(), time.time());
    format!(
        "1.4.0-{:04}{:02}{:02}{:02}{:02}{:02}.g{}",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second(),
        &head[..12]
    )
}

/// Gives the manifest behind `tag` another tag, as somebody with write access to the store can.
fn plant(site: &Site, tag: impl Fn(&str) -> bool, planted: &str) {
    let path = site.host.path("store").join(REPOSITORY).join("index.json");
    let name = "org.opencontainers.image.ref.name";
    let mut index: Value = serde_json::from_slice(&std::fs::read(&path).expect("an index")).expect("JSON");
    let entries = index["manifests"].as_array_mut().expect("manifests");
    entries.retain(|entry| entry["annotations"][name] != planted);
    let found = entries.iter().find(|entry| entry["annotations"][name].as_str().is_some_and(&tag));
    let mut entry = found.expect("a tag").clone();
    entry["annotations"][name] = planted.into();
    entries.push(entry);
    std::fs::write(&path, index.to_string()).expect("write the index");
}

#[test]
fn the_first_image_of_a_commit_stays_and_staged_moves_only_forward() {
    let mut site = Site::with(Place::Layout, clockwork(), |settings| settings);

    site.run(9).expect_success();
    let (first, first_version) = (site.complete_digest("staged"), version_of_head(&site));
    assert_eq!(site.complete_digest(&first_version), first);

    let retried = site.run(9).expect_success();
    insta::assert_snapshot!("a_retry_keeps_the_first_image", verdict_in(&retried.trace));
    assert_eq!(site.complete_digest("staged"), first);
    assert_eq!(site.complete_digest(&first_version), first);

    let old_head = site.repository.head();
    site.repository.write("notes", "second\n");
    site.repository.commit("second version");
    site.run(10).expect_success();
    let second = site.complete_digest("staged");
    assert_ne!(second, first);

    let late = site.job(9).sha(&old_head);
    let id = site.host.gitlab.enqueue(&late);
    let outcome = site.host.runner().run_one().expect_success();
    site.assert_nothing_left(id);
    insta::assert_snapshot!("an_earlier_pipeline_does_not_move_staged_back", verdict_in(&outcome.trace));
    assert_eq!(site.complete_digest("staged"), second);
    assert_eq!(site.complete_digest(&first_version), first);

    site.repository.write("notes", "third\n");
    site.repository.commit("third version");
    let planted = version_of_head(&site);
    plant(&site, |tag| tag == "staged", &planted);
    insta::assert_snapshot!("the_image_of_another_commit_under_our_version", refused(&site.run(11)));
    plant(&site, |tag| tag.ends_with(".att"), &planted);
    insta::assert_snapshot!("an_image_without_evidence_under_our_version", refused(&site.run(11)));
    assert_eq!(site.complete_digest("staged"), second);
}

#[test]
fn two_jobs_of_one_commit_at_once_end_with_one_image() {
    let site = Site::with(Place::Layout, clockwork(), |settings| settings);
    let outcomes: Vec<JobOutcome> = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..2)
            .map(|_| {
                site.host.gitlab.enqueue(&site.job(9));
                scope.spawn(|| site.host.runner().run_one())
            })
            .collect();
        jobs.into_iter().map(|job| job.join().expect("a job")).collect()
    });
    let mut kept = 0;
    for outcome in outcomes {
        site.assert_nothing_left(outcome.job);
        kept += usize::from(outcome.trace.contains("not reproducible"));
        outcome.expect_success();
    }
    let tags = site.host.image_tags();
    let digests: BTreeSet<String> = tags.iter().map(|tag| site.complete_digest(tag)).collect();
    assert_eq!((tags.len(), digests.len()), (2, 1), "{tags:?}");
    assert_eq!(kept, 1, "one of the two builds is discarded, and its log says so");
}
