//! The small runner of the tests, held to the contract's table of what a real GitLab Runner does.

#[path = "runner_contract/environment.rs"]
mod environment;
#[path = "runner_contract/interrupts.rs"]
mod interrupts;
mod support;

use std::time::Duration;

use support::gitlab::{FakeGitLab, JobPayload};
use support::logging_driver::LoggingDriver;
use support::runner::{JobOutcome, JobState, Runner};

const FULL: [&str; 11] = [
    "config",
    "prepare",
    "prepare_script",
    "get_sources",
    "restore_cache",
    "build_script",
    "after_script",
    "archive_cache",
    "upload_artifacts_on_success",
    "cleanup_file_variables",
    "cleanup",
];
const FULL_FAILED: [&str; 11] = [
    "config",
    "prepare",
    "prepare_script",
    "get_sources",
    "restore_cache",
    "build_script",
    "after_script",
    "archive_cache_on_failure",
    "upload_artifacts_on_failure",
    "cleanup_file_variables",
    "cleanup",
];
/// What runs when the sources or the inputs could not be had, after those.
const AFTER_FAILED_INPUT: [&str; 4] =
    ["archive_cache_on_failure", "upload_artifacts_on_failure", "cleanup_file_variables", "cleanup"];

/// A job with everything that makes a stage run: script, after_script, cache and artifacts.
fn full_job(gitlab: &FakeGitLab) -> JobPayload {
    gitlab
        .job()
        .script(&["echo from the script"])
        .after_script(&["echo from after_script"])
        .cache_paths("key", &["cached/"])
        .artifact_paths(&["out/"], "always")
}

fn run(driver: &LoggingDriver, gitlab: &FakeGitLab, job: &JobPayload) -> JobOutcome {
    gitlab.enqueue(job);
    let mut settings = driver.settings();
    settings.graceful_kill_timeout = Duration::from_secs(1);
    settings.force_kill_timeout = Duration::from_millis(500);
    Runner::new(gitlab, settings).run_one()
}

/// Runs the full job while the call `name` does `lines`.
fn run_full(name: &str, lines: &str) -> (LoggingDriver, JobOutcome) {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new().on(name, lines);
    let outcome = run(&driver, &gitlab, &full_job(&gitlab));
    (driver, outcome)
}

fn script_failure(exit_code: i64) -> JobState {
    JobState::Failed { reason: "script_failure".to_owned(), exit_code: Some(exit_code) }
}

fn failed(reason: &str) -> JobState {
    JobState::Failed { reason: reason.to_owned(), exit_code: None }
}

fn assert_ends(outcome: &JobOutcome, state: &JobState, sequence: &[&str]) {
    assert_eq!(&outcome.state, state, "{}", outcome.trace);
    assert_eq!(outcome.sequence(), sequence, "{}", outcome.trace);
}

#[test]
fn a_full_job_goes_through_all_stages_and_is_green_without_a_helper_binary() {
    let gitlab = FakeGitLab::start();
    let outcome = run(&LoggingDriver::new(), &gitlab, &full_job(&gitlab));
    assert_ends(&outcome, &JobState::Success, &FULL);
    for text in [
        "from the script",
        "from after_script",
        "Missing gitlab-runner. Uploading artifacts is disabled.",
        "WARNING: Starting with version 17.0 the 'build_script' stage",
        "section_start:",
        "Job succeeded",
    ] {
        assert!(outcome.trace.contains(text), "no `{text}` in\n{}", outcome.trace);
    }
    let record = gitlab.record(outcome.job);
    assert_eq!((record.state.as_deref(), record.accepted), (Some("success"), true));
}

#[test]
fn a_job_with_only_a_script_skips_the_other_stages() {
    let gitlab = FakeGitLab::start();
    let outcome = run(&LoggingDriver::new(), &gitlab, &gitlab.job());
    let sequence = [
        "config",
        "prepare",
        "prepare_script",
        "get_sources",
        "build_script",
        "cleanup_file_variables",
        "cleanup",
    ];
    assert_ends(&outcome, &JobState::Success, &sequence);
}

#[test]
fn a_script_that_exits_with_7_fails_the_job_with_7_and_runs_the_failure_stages() {
    let gitlab = FakeGitLab::start();
    let job = full_job(&gitlab).script(&["(exit 7)"]);
    let driver = LoggingDriver::new();
    let outcome = run(&driver, &gitlab, &job);
    assert_ends(&outcome, &script_failure(7), &FULL_FAILED);
    assert!(outcome.trace.contains("ERROR: Job failed: exit status 7"), "{}", outcome.trace);
    assert_eq!(gitlab.record(outcome.job).exit_code, Some(7));
    assert_eq!(driver.environment("cleanup")["CUSTOM_ENV_CI_JOB_STATUS"], "failed");
}

#[test]
fn the_first_line_of_the_code_file_is_the_jobs_exit_code() {
    for (content, state) in [
        ("7\\n9", script_failure(7)),
        ("300", script_failure(300)),
        ("0", failed("script_failure")),
        ("abc", failed("runner_system_failure")),
    ] {
        let lines = format!("printf '{content}' > \"$BUILD_EXIT_CODE_FILE\"; exit 1");
        let (_, outcome) = run_full("build_script", &lines);
        assert_ends(&outcome, &state, &FULL_FAILED);
    }
}

#[test]
fn exit_1_without_a_code_file_is_exit_code_1() {
    let (_, outcome) = run_full("build_script", "exit 1");
    assert_ends(&outcome, &script_failure(1), &FULL_FAILED);
}

#[test]
fn a_stale_code_file_of_an_earlier_stage_is_believed() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new()
        .on("get_sources", "run_script; echo 42 > \"$BUILD_EXIT_CODE_FILE\"")
        .on("build_script", "exit 1");
    let outcome = run(&driver, &gitlab, &full_job(&gitlab));
    assert_eq!(outcome.state, script_failure(42));
}

#[test]
fn other_ends_of_build_script_are_system_failures_and_run_the_failure_stages() {
    for (lines, text) in [
        ("exit 2", "exit status 2"),
        ("exit 3", "unknown Custom executor executable exit code 3"),
        ("kill -KILL $$", "exit code -1; executable execution terminated with: signal: killed"),
    ] {
        let (_, outcome) = run_full("build_script", lines);
        assert_ends(&outcome, &failed("runner_system_failure"), &FULL_FAILED);
        assert!(outcome.trace.contains(text), "{}", outcome.trace);
    }
}

#[test]
fn a_release_step_follows_the_script_and_not_a_failed_one() {
    let gitlab = FakeGitLab::start();
    let job = full_job(&gitlab).step("release", &["echo release"]);
    let outcome = run(&LoggingDriver::new(), &gitlab, &job);
    assert_eq!(outcome.sequence()[5..8], ["build_script", "step_release", "after_script"]);
    let job = full_job(&gitlab).step("release", &["echo release"]).script(&["false"]);
    assert_ends(&run(&LoggingDriver::new(), &gitlab, &job), &script_failure(1), &FULL_FAILED);
}

#[test]
fn prepare_that_exits_2_is_tried_three_times_with_cleanup_after_each() {
    let (driver, outcome) = run_full("prepare", "echo \"$TMPDIR\" >> \"$folder/attempts\"; exit 2");
    let attempt = ["config", "prepare", "cleanup"];
    assert_ends(&outcome, &failed("runner_system_failure"), &[attempt, attempt, attempt].concat());
    let attempts = std::fs::read_to_string(driver.path().join("attempts")).expect("three attempts");
    let mut folders: Vec<&str> = attempts.lines().collect();
    folders.dedup();
    assert_eq!(folders.len(), 3, "each attempt has a folder of its own");
}

#[test]
fn prepare_that_exits_1_is_not_tried_again() {
    let (_, outcome) = run_full("prepare", "exit 1");
    assert_ends(&outcome, &script_failure(1), &["config", "prepare", "cleanup"]);
}

#[test]
fn config_that_fails_or_prints_trailing_bytes_is_tried_three_times() {
    for lines in ["exit 2", "echo '{} trailing'"] {
        let (_, outcome) = run_full("config", lines);
        let attempt = ["config", "cleanup"];
        assert_ends(&outcome, &failed("runner_system_failure"), &[attempt, attempt, attempt].concat());
    }
}

#[test]
fn config_sets_folders_driver_and_job_environment() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new();
    let builds = driver.builds().join("elsewhere").display().to_string();
    let answer = format!(
        "echo '{{\"builds_dir\":\"{builds}\",\"builds_dir_is_shared\":true,\"hostname\":\"here\",\
         \"driver\":{{\"name\":\"logging\",\"version\":\"1\"}},\"job_env\":{{\"FOO\":\"driver\"}}}}'"
    );
    let driver = driver.on("config", &answer);
    let outcome = run(&driver, &gitlab, &gitlab.job().variable("FOO", "author")).expect_success();
    let environment = driver.environment("build_script");
    assert_eq!((environment["FOO"].as_str(), environment["CUSTOM_ENV_FOO"].as_str()), ("driver", "author"));
    assert_eq!(environment["CUSTOM_ENV_CI_PROJECT_DIR"], format!("{builds}/t1_airloc/0/grp/app"));
    assert!(!driver.environment("config").contains_key("FOO"));
    assert!(outcome.trace.contains("Using Custom executor with driver logging 1..."), "{}", outcome.trace);
    assert!(outcome.trace.contains("via here..."), "{}", outcome.trace);
}

#[test]
fn a_failed_prepare_script_is_followed_by_cleanup_alone() {
    let (_, outcome) = run_full("prepare_script", "exit 1");
    assert_ends(&outcome, &script_failure(1), &["config", "prepare", "prepare_script", "cleanup"]);
    assert!(outcome.trace.contains("prepare environment: exit status 1. Check"), "{}", outcome.trace);
}

#[test]
fn get_sources_is_tried_again_after_clear_worktree_and_its_failure_skips_the_script() {
    for (exit, state) in [(1, script_failure(1)), (2, failed("runner_system_failure"))] {
        let gitlab = FakeGitLab::start();
        let driver = LoggingDriver::new().on("get_sources", &format!("exit {exit}"));
        let job = full_job(&gitlab).variable("GET_SOURCES_ATTEMPTS", "2");
        let outcome = run(&driver, &gitlab, &job);
        let start = ["config", "prepare", "prepare_script", "get_sources", "clear_worktree", "get_sources"];
        assert_ends(&outcome, &state, &[&start[..], &AFTER_FAILED_INPUT[..]].concat());
    }
}

#[test]
fn failed_inputs_skip_script_and_after_script() {
    let (_, outcome) = run_full("restore_cache", "exit 1");
    let start = ["config", "prepare", "prepare_script", "get_sources", "restore_cache"];
    assert_ends(&outcome, &script_failure(1), &[&start[..], &AFTER_FAILED_INPUT[..]].concat());

    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new().on("download_artifacts", "exit 1");
    let job =
        full_job(&gitlab).dependency(90, "other", "compile").variable("ARTIFACT_DOWNLOAD_ATTEMPTS", "2");
    let outcome = run(&driver, &gitlab, &job);
    let start = [&start[..], &["download_artifacts", "download_artifacts"]].concat();
    assert_ends(&outcome, &script_failure(1), &[&start[..], &AFTER_FAILED_INPUT[..]].concat());
}

#[test]
fn a_failed_archive_or_upload_fails_the_job_and_the_later_stages_still_run() {
    for stage in ["archive_cache", "upload_artifacts_on_success"] {
        let (driver, outcome) = run_full(stage, "exit 1");
        assert_ends(&outcome, &script_failure(1), &FULL);
        assert_eq!(driver.environment("cleanup")["CUSTOM_ENV_CI_JOB_STATUS"], "success");
    }
}

#[test]
fn failures_after_the_script_that_nobody_counts() {
    for (stage, lines) in
        [("after_script", "exit 1"), ("after_script", "exit 2"), ("cleanup_file_variables", "exit 1")]
    {
        let (_, outcome) = run_full(stage, lines);
        assert_ends(&outcome, &JobState::Success, &FULL);
    }
    let (_, outcome) = run_full("cleanup", "echo seen; echo on stderr >&2; exit 1");
    assert_ends(&outcome, &JobState::Success, &FULL);
    assert!(outcome.trace.contains("WARNING: Cleanup script failed: exit status 1"), "{}", outcome.trace);
    assert!(!outcome.trace.contains("on stderr"), "cleanup's output never reaches the job's log");
    assert_eq!(
        (outcome.call("cleanup").stdout.as_str(), outcome.call("cleanup").stderr.as_str()),
        ("seen\n", "on stderr\n")
    );
}
