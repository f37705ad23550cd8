//! Jobs that publish nothing: GitLab's own script, in a sandbox, on GitLab's workspace.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::lifecycle::{Stages, assert_nothing_left, said, shown};
use crate::support::runner::JobState;
use crate::support::staging::base_image;
use crate::{Plain, script_failure, system_failure};

#[test]
fn a_full_job_runs_every_step_in_the_sandbox_and_ends_green() {
    let plain = Plain::new();
    let host = &plain.host;
    let job = plain
        .job(&[
            "echo \"file variable: $(cat \"$SETTINGS\") at $SETTINGS\"",
            "echo \"masked variable: $PASSWORD\"",
            "echo \"airlock says: $(hostname), uid $(id -u), interfaces $(ls /sys/class/net | tr '\\n' ' ')\"",
            "test -f app.py",
            "(trap '' TERM; exec python3 -c 'import time; time.sleep(1000)' keeps-stdout) &",
            "setsid python3 -c 'import time; time.sleep(1000)' stays-silent >/dev/null 2>&1 </dev/null &",
        ])
        .step("release", &["echo \"children left: $(cat /proc/[0-9]*/cmdline | grep -c -e 'keeps-stdou[t]' -e 'stays-silen[t]')\""])
        .after_script(&["echo after; exit 9"])
        .file_variable("SETTINGS", "a file's content")
        .masked_variable("PASSWORD", "s3cret-of-the-author");
    let id = host.gitlab.enqueue(&job);
    // A phase of a GitLab Runner yet to come is called by hand while the job stands.
    let unknown: PathBuf = host.path("unknown-phase");
    let (by_hand, note) = (Stages::new(host, &job), unknown.clone());
    let outcome = std::thread::scope(|scope| {
        let (call, order) = std::sync::mpsc::channel();
        let (answer, done) = std::sync::mpsc::channel();
        scope.spawn(move || {
            let script = "command -v python3; command -v git || echo no git here; exit 5";
            if order.recv().is_ok() {
                fs::write(
                    &note,
                    shown(&by_hand.run("step_back_and_look", script))
                        + &shown(&by_hand.run("verify_2031", script)),
                )
                .expect("a note");
                let _ = answer.send(());
            }
        });
        let mut runner = host.runner().on_substage("after_script", move |_| {
            let _ = call.send(());
            let _ = done.recv();
        });
        runner.run_one()
    });
    assert_eq!(outcome.state, JobState::Success, "{}", outcome.trace);
    assert_eq!(
        outcome.sequence(),
        [
            "config",
            "prepare",
            "prepare_script",
            "get_sources",
            "build_script",
            "step_release",
            "after_script",
            "cleanup_file_variables",
            "cleanup"
        ]
    );
    for text in [
        "file variable: a file's content at /builds/acme/billing.tmp/SETTINGS",
        "masked variable: [MASKED]",
        "airlock says: airlock, uid 1000, interfaces lo",
        "children left: 0",
        "WARNING: after_script failed, but job will continue unaffected: exit status 9",
        "Using Custom executor with driver airlock ",
        "via airlock...",
    ] {
        assert!(outcome.trace.contains(text), "no `{text}` in\n{}", outcome.trace);
    }
    assert!(!outcome.trace.contains("s3cret"), "{}", outcome.trace);
    insta::assert_snapshot!("a_plain_jobs_prepare", said(&outcome.call("prepare").stdout));
    insta::assert_snapshot!("an_unknown_phase", said(&fs::read_to_string(unknown).expect("the phase ran")));
    assert_nothing_left(host, id);
}

#[test]
fn a_job_without_image_takes_the_hosts_default_and_only_a_script_is_enough() {
    let plain = Plain::with(|settings| {
        settings.replace("[images]\n", &format!("[images]\ndefault = \"{}\"\n", base_image("PYTHON")))
    });
    let id = plain.host.gitlab.enqueue(&plain.job(&["command -v python3"]).no_image());
    let outcome = plain.host.runner().run_one().expect_success();
    let sequence = [
        "config",
        "prepare",
        "prepare_script",
        "get_sources",
        "build_script",
        "cleanup_file_variables",
        "cleanup",
    ];
    assert_eq!(outcome.sequence(), sequence);
    assert!(outcome.trace.contains("/usr/bin/python3"), "{}", outcome.trace);
    assert_nothing_left(&plain.host, id);
}

#[test]
fn a_script_that_fails_gives_the_job_its_code_and_after_script_still_runs() {
    let plain = Plain::new();
    let id =
        plain.host.gitlab.enqueue(&plain.job(&["(exit 7)"]).after_script(&["echo status $CI_JOB_STATUS"]));
    let outcome = plain.host.runner().run_one();
    assert_eq!(outcome.state, script_failure(7), "{}", outcome.trace);
    assert_eq!(plain.host.gitlab.record(id).exit_code, Some(7));
    assert!(outcome.trace.contains("status failed"), "{}", outcome.trace);
    insta::assert_snapshot!(said(&outcome.call("build_script").stderr));
    assert_nothing_left(&plain.host, id);
}

#[test]
fn each_call_writes_the_exit_code_anew_and_believes_no_stale_one() {
    let plain = Plain::new();
    let stages = Stages::new(&plain.host, &plain.job(&["unused"]));
    let prepared = stages.call(&["prepare"], &[]);
    assert!(prepared.status.success(), "{}", shown(&prepared));
    let stale = || fs::write(stages.code_file(), "42\n").expect("a file");
    for (script, exit, code) in [
        ("exit 7", 1, Some("7")),
        ("exit 103", 1, Some("103")),
        ("kill -9 $$", 1, Some("137")),
        ("exit 0", 0, None),
    ] {
        stale();
        let output = stages.run("build_script", script);
        assert_eq!((output.status.code(), stages.code().as_deref()), (Some(exit), code), "{script}");
    }
    // A failure that is not the script's has no number.
    fs::remove_dir_all(plain.host.path("state/jobs")).expect("the job's state");
    stale();
    let output = stages.run("build_script", "exit 7");
    assert_eq!((output.status.code(), stages.code()), (Some(2), None));
    insta::assert_snapshot!(said(&shown(&output)));
    let cleaned = stages.call(&["cleanup"], &[]);
    assert!(cleaned.status.success(), "{}", shown(&cleaned));
}

#[test]
fn sources_that_cannot_be_had_fail_the_job_before_the_script() {
    let plain = Plain::new();
    let id = plain
        .host
        .gitlab
        .enqueue(&plain.job(&["echo never"]).sha(&"1".repeat(40)).variable("GET_SOURCES_ATTEMPTS", "2"));
    let outcome = plain.host.runner().run_one();
    assert!(
        matches!(&outcome.state, state if *state == script_failure(1) || *state == script_failure(128)),
        "{:?}",
        outcome.state
    );
    assert_eq!(
        outcome.sequence(),
        [
            "config",
            "prepare",
            "prepare_script",
            "get_sources",
            "clear_worktree",
            "get_sources",
            "cleanup_file_variables",
            "cleanup"
        ]
    );
    let stderr = &outcome.call("get_sources").stderr;
    insta::assert_snapshot!(said(&stderr[stderr.find("error: GitLab").expect("Airlock's words")..]));
    assert_nothing_left(&plain.host, id);
}

#[test]
fn a_stage_without_a_job_response_says_who_must_act() {
    let plain = Plain::new();
    let stages = Stages::new(&plain.host, &plain.job(&["unused"]));
    let malformed = plain.host.path("response.json");
    fs::write(&malformed, "{\"id\": ").expect("a file");
    let mut texts = String::new();
    for (name, value) in [
        ("absent", ""),
        ("missing", "/nonexistent/response.json"),
        ("malformed", malformed.to_str().expect("UTF-8")),
    ] {
        let output = stages.call(&["prepare"], &[("JOB_RESPONSE_FILE", value)]);
        assert_eq!(output.status.code(), Some(2), "a retry of the runner may mend it");
        texts += &format!("── {name}\n{}\n", shown(&output));
    }
    insta::assert_snapshot!(said(&texts));
    assert_ne!(system_failure(), script_failure(1));
    let unknown = Command::new(crate::support::staging::AIRLOCK)
        .args(["executor", "prepare", "--settings", "/nonexistent"])
        .output();
    insta::assert_snapshot!("settings_that_are_not_there", shown(&unknown.expect("the built binary runs")));
}
