//! Cancel, forced cancel, timeouts, crashes: who gets SIGTERM and what still runs.

use std::time::{Duration, Instant};

use crate::support::gitlab::{FakeGitLab, JobPayload, JobStatus};
use crate::support::logging_driver::LoggingDriver;
use crate::support::runner::{CallEnd, JobOutcome, JobState, Runner};
use crate::{FULL, FULL_FAILED, assert_ends, failed, full_job, run, script_failure};

/// A call that says `ready`, waits, and at SIGTERM leaves a mark and exits with `code`.
fn waits(code: i32) -> String {
    format!(
        "trap 'echo got TERM; exit {code}' TERM; echo ready; for i in $(seq 100); do sleep 0.1; done; exit 9"
    )
}

const READY: &str = "\nready\n";

fn cancel(
    driver: &LoggingDriver,
    job: impl Fn(&FakeGitLab) -> JobPayload,
    status: JobStatus,
) -> (FakeGitLab, JobOutcome) {
    let gitlab = FakeGitLab::start();
    let job = job(&gitlab);
    gitlab.enqueue(&job);
    gitlab.cancel_when(job.id(), READY, status);
    let mut settings = driver.settings();
    settings.graceful_kill_timeout = Duration::from_secs(1);
    settings.force_kill_timeout = Duration::from_millis(500);
    let outcome = Runner::new(&gitlab, settings).run_one();
    (gitlab, outcome)
}

#[test]
fn a_cancel_in_the_script_runs_the_failure_stages_whatever_the_driver_answers() {
    for code in [0, 1] {
        let driver = LoggingDriver::new().on("build_script", &waits(code));
        let (gitlab, outcome) = cancel(&driver, full_job, JobStatus::Canceling);
        assert_ends(&outcome, &JobState::Canceled, &FULL_FAILED);
        assert!(outcome.trace.contains("got TERM"), "{}", outcome.trace);
        assert!(outcome.trace.contains("ERROR: Job failed: canceled"), "{}", outcome.trace);
        assert_eq!(driver.environment("cleanup")["CUSTOM_ENV_CI_JOB_STATUS"], "canceled");
        assert_eq!(gitlab.final_status(outcome.job), "canceled");
    }
}

#[test]
fn a_driver_that_ignores_sigterm_is_killed_after_the_grace() {
    let lines = "trap '' TERM; echo ready; sleep 30";
    let driver = LoggingDriver::new().on("build_script", lines);
    let (_, outcome) = cancel(&driver, full_job, JobStatus::Canceling);
    assert_ends(&outcome, &JobState::Canceled, &FULL_FAILED);
    let call = outcome.call("build_script");
    assert_eq!(call.end, CallEnd::Signaled(9));
    assert!(call.duration >= Duration::from_secs(1), "{:?}", call.duration);
}

#[test]
fn a_cancel_after_the_script_changes_nothing() {
    for stage in ["after_script", "upload_artifacts_on_success"] {
        let lines = "trap 'exit 9' TERM; echo ready; sleep 1";
        let driver = LoggingDriver::new().on(stage, lines);
        let (_, outcome) = cancel(&driver, full_job, JobStatus::Canceling);
        assert_ends(&outcome, &JobState::Success, &FULL);
    }
}

#[test]
fn a_cancel_in_get_sources_goes_straight_to_cleanup() {
    let driver = LoggingDriver::new().on("get_sources", &waits(1));
    let (_, outcome) = cancel(&driver, full_job, JobStatus::Canceling);
    let sequence = ["config", "prepare", "prepare_script", "get_sources", "cleanup"];
    assert_ends(&outcome, &JobState::Canceled, &sequence);
}

#[test]
fn a_cancel_in_prepare_is_lost_when_the_driver_exits_1() {
    for status in [JobStatus::Canceling, JobStatus::Canceled] {
        for (code, state) in [(0, JobState::Canceled), (2, JobState::Canceled), (1, script_failure(1))] {
            let driver = LoggingDriver::new().on("prepare", &waits(code));
            let (_, outcome) = cancel(&driver, full_job, status);
            assert_ends(&outcome, &state, &["config", "prepare", "cleanup"]);
        }
    }
}

#[test]
fn a_forced_cancel_in_the_script_goes_straight_to_cleanup() {
    let driver = LoggingDriver::new().on("build_script", &waits(1));
    let (gitlab, outcome) = cancel(&driver, full_job, JobStatus::Canceled);
    assert_ends(&outcome, &JobState::Canceled, &[&FULL[..6], &["cleanup"]].concat());
    assert_eq!(driver.environment("cleanup")["CUSTOM_ENV_CI_JOB_STATUS"], "failed");
    assert!(!gitlab.record(outcome.job).accepted);
}

#[test]
fn the_jobs_timeout_goes_straight_to_cleanup() {
    for (stage, code, before, status) in [
        ("prepare", 2, 2, "running"),
        ("build_script", 1, 6, "failed"),
        ("build_script", 0, 6, "success"),
        ("archive_cache", 1, 8, "success"),
    ] {
        let gitlab = FakeGitLab::start();
        let driver = LoggingDriver::new().on(stage, &waits(code));
        let outcome = run(&driver, &gitlab, &full_job(&gitlab).timeout(2));
        assert_ends(&outcome, &failed("job_execution_timeout"), &[&FULL[..before], &["cleanup"]].concat());
        assert_eq!(driver.environment("cleanup")["CUSTOM_ENV_CI_JOB_STATUS"], status);
    }
}

#[test]
fn the_authors_script_timeout_stops_the_script_and_runs_the_failure_stages() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new().on("build_script", &waits(1));
    let outcome = run(&driver, &gitlab, &full_job(&gitlab).variable("RUNNER_SCRIPT_TIMEOUT", "1s"));
    assert_ends(&outcome, &failed("job_execution_timeout"), &FULL_FAILED);
    assert_eq!(driver.environment("cleanup")["CUSTOM_ENV_CI_JOB_STATUS"], "timedout");
}

#[test]
fn a_background_child_that_keeps_stdout_prolongs_the_call() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new().on("build_script", "sleep 1 & echo left; exit 0");
    let outcome = run(&driver, &gitlab, &gitlab.job()).expect_success();
    assert!(outcome.call("build_script").duration >= Duration::from_secs(1));
}

#[test]
fn sigterm_reaches_the_drivers_group_and_not_another_session() {
    let lines = "trap 'wait; exit 1' TERM; \
        bash -c 'trap \"echo child got TERM; exit\" TERM; sleep 9 & wait' & \
        setsid bash -c 'echo $$ > \"$0/detached\"; exec sleep 60' \"$folder\" >/dev/null 2>&1 & \
        disown; until [ -e \"$folder/detached\" ]; do sleep 0.05; done; sleep 0.2; echo ready; sleep 9 & wait";
    let driver = LoggingDriver::new().on("build_script", lines);
    let (_, outcome) = cancel(&driver, full_job, JobStatus::Canceling);
    assert!(outcome.trace.contains("child got TERM"), "{}", outcome.trace);
    let pid = std::fs::read_to_string(driver.path().join("detached")).expect("the child left its pid");
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().expect("a pid")).expect("a pid is not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("the detached child survived");
}

#[test]
fn a_test_kills_the_driver_or_stops_it_at_the_moment_it_wants() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new()
        .on("build_script", "trap 'exit 5' TERM; echo ready; sleep 0.5; sleep 0.5; echo end");
    gitlab.enqueue(&gitlab.job());
    let mut runner = Runner::new(&gitlab, driver.settings())
        .kill_driver_when("build_script", |moment| moment.trace.contains(READY));
    let outcome = runner.run_one();
    assert_eq!(outcome.call("build_script").end, CallEnd::Signaled(9));
    assert_eq!(outcome.state, failed("runner_system_failure"));

    gitlab.enqueue(&gitlab.job());
    let mut runner = Runner::new(&gitlab, driver.settings())
        .stop_driver_when("build_script", |moment| moment.trace.contains(READY));
    assert_eq!(runner.run_one().call("build_script").end, CallEnd::Exited(5));
}

#[test]
fn hooks_see_each_start_and_a_script_can_be_made_to_fail() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new();
    gitlab.enqueue(&gitlab.job());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
    let noted = std::sync::Arc::clone(&seen);
    let started = Instant::now();
    let outcome = Runner::new(&gitlab, driver.settings())
        .on_substage("build_script", move |moment| *noted.lock().expect("unpoisoned") = Some(moment.job))
        .append_to_script("get_sources", "exit 3")
        .run_one_with_the_small_runner();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(outcome.state, script_failure(3));
    assert_eq!(*seen.lock().expect("unpoisoned"), None);
}
