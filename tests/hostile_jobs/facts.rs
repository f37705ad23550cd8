//! Facts of the job that are not the rule's: ref, protection, project, job name, script.

use serde_json::json;

use crate::attack::Attack;
use crate::support::runner::JobState;
use crate::support::staging::{PROJECT_ID, SCRIPT, redact};

#[test]
fn another_ref_publishes_nothing() {
    let attack = Attack::with(|repository| {
        repository.new_branch("feature");
    });
    insta::assert_snapshot!(attack.publishes_nothing(&attack.job().branch("feature")));
}

#[test]
fn an_unprotected_ref_publishes_nothing() {
    let attack = Attack::new();
    insta::assert_snapshot!(attack.publishes_nothing(&attack.job().protected(Some(false))));
}

#[test]
fn a_ref_that_nobody_calls_protected_publishes_nothing() {
    let attack = Attack::new();
    insta::assert_snapshot!(attack.publishes_nothing(&attack.job().protected(None)));
}

#[test]
fn a_job_response_without_the_word_protected_publishes_nothing() {
    let attack = Attack::new();
    let mut job = attack.job().unset("/git_info/protected");
    job = job.variable("CI_COMMIT_REF_PROTECTED", "true");
    insta::assert_snapshot!(attack.publishes_nothing(&job));
}

#[test]
fn another_project_id_publishes_nothing() {
    let attack = Attack::new();
    let job = attack.job().set("/job_info/project_id", PROJECT_ID + 1);
    insta::assert_snapshot!(attack.publishes_nothing(&job));
}

#[test]
fn another_project_path_publishes_nothing() {
    let attack = Attack::new();
    let project = attack.host.gitlab.serve(PROJECT_ID, "mallory/billing", &attack.repository);
    let job = attack.host.staging_job(&project, &attack.repository);
    insta::assert_snapshot!(attack.publishes_nothing(&job));
}

#[test]
fn another_job_name_publishes_nothing() {
    let attack = Attack::new();
    insta::assert_snapshot!(attack.publishes_nothing(&attack.job().name("stage-unit-test ")));
}

#[test]
fn a_tag_pipeline_publishes_nothing_even_when_the_tag_is_called_staging() {
    let attack = Attack::new();
    attack.repository.tag("staging");
    insta::assert_snapshot!(attack.publishes_nothing(&attack.job().tag("staging")));
}

#[test]
fn a_merge_request_pipeline_publishes_nothing_even_when_its_ref_is_called_staging() {
    let attack = Attack::new();
    let refspec = ["+refs/heads/staging:refs/remotes/origin/staging"];
    insta::assert_snapshot!(attack.publishes_nothing(&attack.job().reference(
        "staging",
        "merge_request",
        &refspec
    )));
}

#[test]
fn another_script_with_a_planted_green_report_is_refused() {
    let attack = Attack::with(|repository| {
        repository.write("airlock.toml", "schema = 1\njunit = [\"report.xml\"]\n");
        repository.write("report.xml", "<testsuite tests=\"1\"><testcase name=\"ok\"/></testsuite>\n");
        repository.write("Makefile", "stage-unit-test:\n\tfalse\n");
    });
    insta::assert_snapshot!(attack.refused(&attack.job().script(&["true"])));
}

#[test]
fn a_line_before_the_rules_script_is_refused() {
    let attack = Attack::new();
    insta::assert_snapshot!(attack.refused(&attack.job().script(&["alias make=true", SCRIPT])));
}

#[test]
fn a_line_after_the_rules_script_is_refused() {
    let attack = Attack::new();
    insta::assert_snapshot!(attack.refused(&attack.job().script(&[SCRIPT, "true"])));
}

#[test]
fn a_script_that_differs_by_a_blank_is_refused() {
    let attack = Attack::new();
    insta::assert_snapshot!(attack.refused(&attack.job().script(&["make stage-unit-test "])));
}

#[test]
fn a_before_script_which_gitlab_merges_into_the_script_is_refused() {
    let attack = Attack::new();
    let lines = ["make() { return 0; }", "export -f make", SCRIPT];
    insta::assert_snapshot!(attack.refused(&attack.job().script(&lines)));
}

#[test]
fn a_release_step_behind_the_script_is_refused() {
    let attack = Attack::new();
    insta::assert_snapshot!(attack.refused(&attack.job().step("release", &["echo release"])));
}

#[test]
fn two_steps_that_are_both_called_script_are_refused() {
    let attack = Attack::new();
    let step = |line: &str| json!({"name": "script", "script": [line], "timeout": 600, "when": "on_success", "allow_failure": false});
    insta::assert_snapshot!(attack.refused(&attack.job().set("/steps", json!([step(SCRIPT), step("true")]))));
}

#[test]
fn forged_variables_publish_nothing_on_a_job_that_may_not() {
    let attack = Attack::with(|repository| {
        repository.new_branch("feature");
    });
    let job = forged(attack.job().branch("feature").protected(Some(false)));
    insta::assert_snapshot!(attack.publishes_nothing(&job));
}

#[test]
fn forged_variables_change_nothing_in_a_job_that_publishes_and_reach_no_test() {
    let attack = Attack::with(|repository| {
        let test = "stage-unit-test:\n\t@echo '<<<'; env | cut -d= -f1 | grep -E '^(CI|GIT|FORGED|LD_|PYTHON|AIRLOCK|GITLAB|BUILD|JOB|CUSTOM)' ; echo '>>>'\n";
        repository.write("Makefile", test);
    });
    let ended = attack.published(&forged(attack.job()));
    assert_eq!(ended.said(), "");
    let shown = attack.host.verify("acme/billing:staged", &["--json"]);
    let shown = String::from_utf8_lossy(&shown.stdout);
    for forged in ["mallory", "forged", "ffffffff"] {
        assert!(!shown.contains(forged), "{shown}");
    }
}

#[test]
fn a_job_status_that_the_author_sets_to_success_turns_no_red_test_green() {
    let attack = Attack::with(|repository| {
        repository.write("Makefile", "stage-unit-test:\n\tfalse\n");
    });
    insta::assert_snapshot!(attack.refused(&forged(attack.job())));
}

#[test]
fn a_test_that_ends_with_one_of_airlocks_own_numbers_is_reported_as_1() {
    let attack = Attack::on(
        crate::support::staging::Host::new(crate::support::staging::Place::Layout, |settings| {
            settings.replace("[\"make stage-unit-test\"]", "[\"sh test.sh\"]")
        }),
        |repository| {
            repository.write("test.sh", "exit 101\n");
        },
    );
    let ended = attack.run(&attack.job().script(&["sh test.sh"]));
    attack.nothing_is_published();
    assert!(matches!(ended.outcome.state, JobState::Failed { .. }));
    insta::assert_snapshot!(redact(&ended.message()));
}

/// Every variable of GitLab's that an author can set over.
fn forged(job: crate::support::gitlab::JobPayload) -> crate::support::gitlab::JobPayload {
    let project = PROJECT_ID.to_string();
    [
        ("CI_JOB_STATUS", "success"),
        ("CI_JOB_NAME", "stage-unit-test"),
        ("CI_JOB_ID", "1"),
        ("CI_PROJECT_ID", project.as_str()),
        ("CI_PROJECT_PATH", "acme/billing"),
        ("CI_PROJECT_DIR", "/etc"),
        ("CI_BUILDS_DIR", "/etc"),
        ("CI_COMMIT_REF_NAME", "staging"),
        ("CI_COMMIT_BRANCH", "staging"),
        ("CI_COMMIT_REF_PROTECTED", "true"),
        ("CI_COMMIT_SHA", "ffffffffffffffffffffffffffffffffffffffff"),
        ("CI_SERVER_URL", "http://mallory.test"),
        ("CI_API_V4_URL", "http://mallory.test/api/v4"),
        ("JOB_RESPONSE_FILE", "/tmp/forged.json"),
        ("BUILD_EXIT_CODE_FILE", "/tmp/forged"),
        ("BUILD_FAILURE_EXIT_CODE", "0"),
        ("SYSTEM_FAILURE_EXIT_CODE", "0"),
        ("AIRLOCK_SETTINGS", "/tmp/forged.toml"),
        ("DOCKER_HOST", "tcp://mallory.test:2375"),
        ("FORGED", "forged"),
        ("LD_PRELOAD", "/builds/forged.so"),
        ("PYTHONPATH", "/builds/forged"),
        ("SOURCE_DATE_EPOCH", "1"),
    ]
    .into_iter()
    .fold(job, |job, (key, value)| job.variable(key, value))
}
