//! What the driver finds: variables, files, modes, folders; and what the log hides.

use std::path::PathBuf;

use crate::support::git_repository::GitRepository;
use crate::support::gitlab::{FakeGitLab, JobLookup};
use crate::support::logging_driver::LoggingDriver;
use crate::support::runner::{JobState, Runner};
use crate::{assert_ends, failed, full_job, run};

#[test]
fn forged_variables_win_with_the_prefix_and_never_without() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new();
    let mut job = full_job(&gitlab).script(&["exit 7"]);
    let forged = [
        "CI_JOB_STATUS",
        "CI_JOB_IMAGE",
        "CI_COMMIT_REF_NAME",
        "CI_JOB_TOKEN",
        "CI_SERVER",
        "TMPDIR",
        "JOB_RESPONSE_FILE",
        "BUILD_EXIT_CODE_FILE",
        "CI_RUNNER_VERSION",
    ];
    for key in forged {
        job = job.variable(key, "forged");
    }
    run(&driver, &gitlab, &job);
    for call in ["prepare", "build_script", "cleanup"] {
        let environment = driver.environment(call);
        for key in &forged[..8] {
            assert_eq!(environment[&format!("CUSTOM_ENV_{key}")], "forged");
        }
        assert_eq!(environment["CUSTOM_ENV_CI_RUNNER_VERSION"], "19.4.0");
        for key in ["TMPDIR", "JOB_RESPONSE_FILE", "BUILD_EXIT_CODE_FILE"] {
            assert_ne!(environment[key], "forged");
        }
        assert!(!environment.contains_key("CI_JOB_STATUS"));
        assert_eq!(
            (&*environment["BUILD_FAILURE_EXIT_CODE"], &*environment["SYSTEM_FAILURE_EXIT_CODE"]),
            ("1", "2")
        );
    }
}

#[test]
fn a_masked_value_is_hidden_even_over_two_writes_but_not_from_cleanups_output() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new()
        .on("prepare", "echo prepare s3cretvalue")
        .on("build_script", "printf 'one s3cret'; sleep 0.2; echo 'value two'; echo s3cretother")
        .on("cleanup", "echo s3cretvalue >&2");
    let job = gitlab.job().masked_variable("PASSWORD", "s3cretvalue");
    let outcome = run(&driver, &gitlab, &job).expect_success();
    assert!(outcome.trace.contains("prepare [MASKED]\n"), "{}", outcome.trace);
    assert!(outcome.trace.contains("one [MASKED] two\ns3cretother\n"), "{}", outcome.trace);
    assert!(!outcome.trace.contains("s3cretvalue"), "{}", outcome.trace);
    assert_eq!(outcome.call("cleanup").stderr, "s3cretvalue\n");
}

#[test]
fn a_file_variable_is_content_for_the_driver_and_a_path_for_the_script() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new();
    let job = gitlab
        .job()
        .file_variable("SETTINGS", "line one\nit's two\n")
        .variable("COPY", "$SETTINGS")
        .script(&["echo \"at $SETTINGS\"", "cat \"$SETTINGS\"", "test \"$COPY\" = \"$SETTINGS\""]);
    let outcome = run(&driver, &gitlab, &job).expect_success();
    assert_eq!(driver.environment("prepare")["CUSTOM_ENV_SETTINGS"], "line one\nit's two\n");
    let path = driver.builds().join("grp/app.tmp/SETTINGS");
    assert!(
        outcome.trace.contains(&format!("at {}\nit", path.display()))
            || outcome.trace.contains(&format!("at {}\n", path.display()))
    );
    assert!(outcome.trace.contains("line one\nit's two\n"), "{}", outcome.trace);
    assert!(!path.exists(), "cleanup_file_variables removes the file");
}

#[test]
fn files_have_the_runners_modes_and_are_gone_after_the_job() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new()
        .on("config", "stat -c %a \"$JOB_RESPONSE_FILE\" \"$TMPDIR\" >&2; test \"$PWD\" = \"$TMPDIR\" || exit 2")
        .on("build_script", "stat -c %a \"$script\"; cat \"$JOB_RESPONSE_FILE\"; [ -e \"$BUILD_EXIT_CODE_FILE\" ] && exit 2; read -r && exit 2; exit 0");
    let job = gitlab.job().image("$CI_PROJECT_NAME:1").set("/unknown", "dropped");
    let outcome = run(&driver, &gitlab, &job).expect_success();
    assert!(outcome.trace.contains("600\n700\n"), "{}", outcome.trace);
    let stdout = outcome.call("build_script").stdout.clone();
    let (mode, response) = stdout.split_once('\n').expect("mode and response");
    let response: serde_json::Value = serde_json::from_str(response).expect("the response file is JSON");
    assert_eq!(mode, "700");
    assert_eq!(response["inputs"], serde_json::json!({}));
    assert_eq!(response["image"]["name"], "app:1");
    assert_eq!(response.get("unknown"), None);
    assert!(!PathBuf::from(&driver.environment("cleanup")["TMPDIR"]).exists());
}

#[test]
fn a_variable_that_no_process_can_be_given_means_no_call_at_all() {
    for value in ["x".repeat(128 * 1024), "nul\0byte".to_owned()] {
        let gitlab = FakeGitLab::start();
        let outcome = run(&LoggingDriver::new(), &gitlab, &gitlab.job().variable("BIG", &value));
        assert_ends(&outcome, &failed("runner_system_failure"), &[]);
        assert!(outcome.trace.contains("failed to start command"), "{}", outcome.trace);
    }
}

#[test]
fn a_relative_driver_is_looked_for_in_the_attempts_folder() {
    let gitlab = FakeGitLab::start();
    let mut settings = LoggingDriver::new().settings();
    settings.driver = "./driver.sh".into();
    gitlab.enqueue(&gitlab.job());
    let outcome = Runner::new(&gitlab, settings).run_one();
    assert_ends(&outcome, &failed("runner_system_failure"), &[]);
    assert!(outcome.trace.contains("No such file or directory") || outcome.trace.contains("no such file"));
}

#[test]
fn a_log_over_the_limit_is_cut_and_nothing_later_is_seen() {
    let gitlab = FakeGitLab::start();
    let driver = LoggingDriver::new()
        .on("build_script", "head -c 5000 /dev/zero | tr '\\0' x; echo afterwards; exit 1");
    let mut settings = driver.settings();
    settings.output_limit = 4096;
    gitlab.enqueue(&gitlab.job());
    let outcome = Runner::new(&gitlab, settings).run_one();
    assert!(outcome.trace.contains("Job's log exceeded limit of 4096 bytes."));
    assert!(!outcome.trace.contains("afterwards") && !outcome.trace.contains("Job failed"));
}

#[test]
fn get_sources_fetches_the_commit_over_http_with_the_jobs_token() {
    let mut repository = GitRepository::create("staging");
    repository
        .write("Makefile", "all:\n")
        .symlink("link", "Makefile")
        .write_executable("run.sh", "#!/bin/sh\n");
    repository.gitlink("vendor/lib", "1111111111111111111111111111111111111111");
    let first = repository.commit("first");
    repository.write("later", "");
    repository.commit("second");
    let gitlab = FakeGitLab::start();
    let project = gitlab.serve(7, "group/component", &repository);
    let job =
        gitlab.job_of(&project, &repository).sha(&first).script(&["git rev-parse HEAD", "test ! -e later"]);
    let outcome = run(&LoggingDriver::new(), &gitlab, &job).expect_success();
    assert!(outcome.trace.contains(&first), "{}", outcome.trace);
    assert!(outcome.trace.contains("Checking out"), "{}", outcome.trace);

    let other = gitlab.job().set("/git_info/repo_url", job.document()["git_info"]["repo_url"].clone());
    let stranger = other.document().to_string().replace(&job.token(), &other.token());
    let stranger: serde_json::Value = serde_json::from_str(&stranger).expect("still JSON");
    let other = other.set("/git_info", stranger["git_info"].clone()).with_repository();
    let outcome = run(&LoggingDriver::new(), &gitlab, &other);
    assert_ne!(outcome.state, JobState::Success, "another project's token must not fetch");
}

#[test]
fn the_job_is_found_by_its_token_only_while_it_runs() {
    let gitlab = FakeGitLab::start();
    let job = gitlab.job();
    let ask = format!(
        "curl -s -o - -w '%{{http_code}}\\n' -H 'JOB-TOKEN: {}' {}/api/v4/job",
        job.token(),
        gitlab.url()
    );
    let driver = LoggingDriver::new().on("build_script", &ask).on("after_script", &ask);
    let job = job.after_script(&["true"]);
    gitlab.enqueue(&job);
    let changed = serde_json::json!({"status": "canceling", "commit": {"id": "other"}});
    gitlab.set_lookups(job.id(), vec![JobLookup::Genuine, JobLookup::Merged(changed)]);
    let outcome = Runner::new(&gitlab, driver.settings()).run_one().expect_success();
    let genuine = &outcome.call("build_script").stdout;
    assert!(genuine.contains("\"status\":\"running\"") && genuine.ends_with("200\n"), "{genuine}");
    let merged = &outcome.call("after_script").stdout;
    assert!(merged.contains("\"status\":\"canceling\"") && merged.contains("\"id\":\"other\""), "{merged}");
    assert_eq!(gitlab.requests_to("/api/v4/job"), 2);
    gitlab.set_lookup(job.id(), JobLookup::Genuine);
    let output = std::process::Command::new("bash").arg("-c").arg(&ask).output().expect("run curl");
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("401\n"));
}
