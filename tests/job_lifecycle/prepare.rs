//! Prepare that refuses, prepare that fails, prepare that is stopped.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::support::gitlab::{JobPayload, JobStatus};
use crate::support::lifecycle::{Caught, EngineProxy, assert_nothing_left, key_of, left, said, wait_until};
use crate::support::runner::{CallEnd, JobState};
use crate::support::staging::{Host, base_image, small_component};
use crate::{Plain, script_failure, system_failure};

#[test]
fn a_refused_job_is_not_tried_again_and_names_the_thing_and_the_next_step() {
    let plain = Plain::new();
    let host = &plain.host;
    let project = host.serve(&plain.repository);
    let base = || plain.job(&["true"]);
    let staging = || host.staging_job(&project, &plain.repository);
    let digest = &base_image("PYTHON")[base_image("PYTHON").find("@sha256:").expect("a digest")..];
    let cases: Vec<(&str, i64, JobPayload)> = vec![
        ("services", 100, base().service(json!({"name": "postgres:16", "alias": "db"}))),
        (
            "artifacts, cache and dependencies",
            100,
            base().artifact_paths(&["out/"], "always").cache_paths("k", &["c/"]).dependency(9, "t", "d"),
        ),
        ("no image", 100, base().no_image()),
        ("an image by tag", 100, base().image("registry.test/base/python:3.11")),
        ("an image that is not allowed", 100, base().image(&format!("registry.test/evil{digest}"))),
        ("another script", 101, staging().script(&["true"])),
        ("before_script", 101, staging().script(&["pip install x", "make stage-unit-test"])),
        ("a further step", 101, staging().step("release", &["release-cli"])),
    ];
    let mut texts = String::new();
    for (name, code, job) in cases {
        let id = host.gitlab.enqueue(&job);
        let outcome = host.runner().run_one();
        assert_eq!(outcome.state, script_failure(code), "{name}: {}", outcome.trace);
        assert_eq!(outcome.sequence(), ["config", "prepare", "cleanup"], "{name}");
        assert_eq!(outcome.call("cleanup").end, CallEnd::Exited(0), "{name}");
        texts += &format!("── {name}\n{}\n", outcome.call("prepare").stderr);
        assert!(!host.jobs_in_state().contains(&key_of(host, id)));
    }
    let port = regex::Regex::new(r"127\.0\.0\.1:<port>/base/[a-z]+").expect("a pattern");
    insta::assert_snapshot!(port.replace_all(&said(&texts), "<base image>"));
}

#[test]
fn an_engine_that_is_not_there_is_tried_three_times_with_cleanup_between() {
    let plain =
        Plain::with(|settings| settings + "\n[engine]\nsocket = \"unix:///nonexistent/docker.sock\"\n");
    plain.host.gitlab.enqueue(&plain.job(&["true"]));
    let outcome = plain.host.runner().run_one();
    assert_eq!(outcome.state, system_failure(), "{}", outcome.trace);
    let attempt = ["config", "prepare", "cleanup"];
    assert_eq!(outcome.sequence(), [attempt, attempt, attempt].concat());
    let ends: Vec<&CallEnd> =
        outcome.calls.iter().filter(|call| call.name() == "prepare").map(|call| &call.end).collect();
    assert_eq!(ends, [&CallEnd::Exited(2); 3]);
    insta::assert_snapshot!(said(&outcome.call("prepare").stderr));
    insta::assert_snapshot!("cleanup_without_an_engine", said(&outcome.call("cleanup").stderr));
    assert_eq!(plain.host.jobs_in_state(), Vec::<String>::new(), "the state goes even without an engine");
}

#[test]
fn what_a_failed_prepare_made_is_removed_before_the_next_attempt() {
    let directory = tempfile::tempdir().expect("a directory");
    let proxy = EngineProxy::start(&directory.path().join("engine.sock"), "-job&", Caught::HangUp);
    let plain = Plain::with(|settings| format!("{settings}\n[engine]\nsocket = \"{}\"\n", proxy.socket));
    let host = &plain.host;
    let id = host.gitlab.enqueue(&plain.job(&["true"]));
    let key = key_of(host, id);
    let seen: Arc<Mutex<Vec<(&str, usize)>>> = Arc::default();
    let look = |when: &'static str| {
        let (seen, key) = (seen.clone(), key.clone());
        move |_: &crate::support::runner::Moment<'_>| {
            seen.lock().expect("not poisoned").push((when, left(&key).len()))
        }
    };
    let outcome =
        host.runner().on_substage("config", look("before")).on_substage("cleanup", look("failed")).run_one();
    assert_eq!(outcome.state, system_failure(), "{}", outcome.trace);
    let attempt = ["config", "prepare", "cleanup"];
    assert_eq!(outcome.sequence(), [attempt, attempt, attempt].concat());
    let seen = seen.lock().expect("not poisoned").clone();
    for pair in seen.chunks(2) {
        assert_eq!(pair[0], ("before", 0), "{seen:?}");
        assert!(pair[1].1 >= 3, "the attempt had made a helper and volumes: {seen:?}");
    }
    insta::assert_snapshot!(said(&outcome.call("prepare").stderr));
    assert_nothing_left(host, id);
}

#[test]
fn a_stop_in_prepare_never_counts_as_the_scripts_fault() {
    let directory = tempfile::tempdir().expect("a directory");
    let proxy = EngineProxy::start(&directory.path().join("engine.sock"), "-helper&", Caught::Stall);
    let host = Host::new(crate::support::staging::Place::Layout, |settings| {
        format!("{settings}\n[engine]\nsocket = \"{}\"\n", proxy.socket)
    });
    let repository = small_component();
    let project = host.serve(&repository);
    let id = host.gitlab.enqueue(&host.staging_job(&project, &repository));
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_until("prepare creates the helper", || proxy.has_caught());
            host.gitlab.set_status(id, JobStatus::Canceling);
        });
        host.runner().run_one()
    });
    assert_eq!(outcome.state, JobState::Canceled, "{}", outcome.trace);
    assert_eq!(outcome.sequence(), ["config", "prepare", "cleanup"]);
    assert_eq!(outcome.call("prepare").end, CallEnd::Exited(2));
    insta::assert_snapshot!(said(&outcome.call("prepare").stderr));
    assert_nothing_left(&host, id);
}
