//! The publishing job: the rule's own lines on the commit, whatever the author sets.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;

use crate::gitlab_runner::configured;
use crate::script_failure;
use crate::secrets::watch;
use crate::support::git_repository::GitRepository;
use crate::support::lifecycle::{assert_nothing_left, key_of, said};
use crate::support::runner::JobState;
use crate::support::staging::{Host, Place, REPOSITORY, write_small_component};

const JUNIT: &str = "<testsuite name='unit' tests='2' failures='0' errors='0' skipped='1'>\
                     <testcase name='a'/><testcase name='b'><skipped/></testcase></testsuite>";

/// A component whose test shows its environment, writes a report and leaves a child that holds stdout.
fn talkative_component() -> GitRepository {
    let mut repository = GitRepository::create("staging");
    write_small_component(&repository);
    let makefile = format!(
        "stage-unit-test:\n\t@env | sort | sed 's/^/test sees /'\n\t@python3 -c 'import app; assert app.add(1, 2) == 3'\n\
         \t@mkdir -p reports; printf '%s' \"{JUNIT}\" > reports/unit.xml\n\
         \t@(trap '' TERM; exec python3 -c 'import time; time.sleep(1000)' keeps-stdout) &\n"
    );
    repository.write("Makefile", makefile);
    repository.write("airlock.toml", "schema = 1\njunit = [\"reports/*.xml\"]\n");
    // What an author would put in front of the tools that GitLab's scripts call.
    for program in ["make", "sh", "python3"] {
        repository.write_executable(&format!("bin/{program}"), "#!/bin/sh\necho hijacked; exit 0\n");
    }
    repository.commit("first version");
    repository
}

/// Variables by which an author would like to be somebody else, or to run something before Airlock.
const FORGED: [(&str, &str); 22] = [
    ("CI_COMMIT_REF_NAME", "main"),
    ("CI_COMMIT_SHA", "0000000000000000000000000000000000000000"),
    ("CI_COMMIT_REF_PROTECTED", "false"),
    ("CI_JOB_ID", "1"),
    ("CI_JOB_NAME", "forged-name"),
    ("CI_JOB_STATUS", "success"),
    ("CI_PROJECT_ID", "1"),
    ("CI_PROJECT_PATH", "forged/path"),
    ("CI_PROJECT_DIR", "/builds/acme/billing"),
    ("CI_JOB_IMAGE", "forged.test/image"),
    ("CI_SERVER_URL", "http://forged.test"),
    ("CI_API_V4_URL", "http://forged.test/api/v4"),
    ("JOB_RESPONSE_FILE", "/nonexistent/forged.json"),
    ("BUILD_EXIT_CODE_FILE", "/nonexistent/forged-code"),
    ("BUILD_FAILURE_EXIT_CODE", "0"),
    ("SYSTEM_FAILURE_EXIT_CODE", "0"),
    ("TMPDIR", "/nonexistent"),
    ("DOCKER_HOST", "tcp://forged.test:2375"),
    ("AIRLOCK_SETTINGS", "/nonexistent/forged.toml"),
    ("HTTPS_PROXY", "http://forged.test:3128"),
    ("LD_PRELOAD", "/builds/acme/billing/forged.so"),
    ("PATH", "/builds/acme/billing/bin:/usr/local/bin:/usr/bin:/bin"),
];

#[test]
fn forged_variables_change_nothing_reports_come_back_and_no_secret_is_seen_anywhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = Host::new(Place::Registry, |settings| configured(directory.path(), settings));
    let repository = talkative_component();
    let project = host.serve(&repository);
    let mut job = host
        .staging_job(&project, &repository)
        .after_script(&[
            "echo \"children left: $(cat /proc/[0-9]*/cmdline | grep -c 'keeps-stdou[t]')\"; exit 9",
        ])
        .junit_report("reports/unit.xml");
    for (name, value) in FORGED {
        job = job.variable(name, value);
    }
    let id = host.gitlab.enqueue(&job);
    let registry = host.registry.as_ref().expect("a registry");
    let pair = "airlock:correct horse battery";
    let secrets = [
        ("job token", job.token()),
        ("key password", fs::read_to_string(host.path("password")).expect("a file").trim().to_owned()),
        ("registry password", "correct horse battery".to_owned()),
        ("registry password in base64", base64::engine::general_purpose::STANDARD.encode(pair)),
    ];
    assert!(
        fs::read_to_string(registry.auth_file.as_ref().expect("a file"))
            .expect("text")
            .contains(&secrets[3].1)
    );
    let stop = AtomicBool::new(false);
    let key = key_of(&host, id);
    let (outcome, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&host, &key, &secrets, &stop));
        let outcome = host.runner().run_one();
        stop.store(true, Ordering::SeqCst);
        (outcome, watching.join().expect("the watch ends"))
    });
    assert_eq!(outcome.state, JobState::Success, "{}", outcome.trace);

    // The test saw the sandbox's own environment and nothing else; nothing of the author's ran.
    let run = &outcome.call("build_script").stdout;
    let environment: Vec<&str> = run.lines().filter_map(|line| line.strip_prefix("test sees ")).collect();
    insta::assert_snapshot!("what_the_unit_test_sees", environment.join("\n"));
    assert!(!run.contains("hijacked") && !run.contains("forged"), "{run}");
    assert!(outcome.trace.contains("children left: 0"), "{}", outcome.trace);
    assert!(outcome.trace.contains("WARNING: after_script failed"), "{}", outcome.trace);
    assert_eq!(host.image_tags().len(), 2);
    let verified = host.verify(&format!("{REPOSITORY}:staged"), &["--json"]);
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && text.contains(&repository.head()), "{text}");

    let artifacts = host.gitlab.record(id).artifacts;
    assert_eq!(artifacts.len(), 1, "{}", outcome.trace);
    assert_eq!(
        (artifacts[0].artifact_type.as_str(), String::from_utf8_lossy(&artifacts[0].bytes).as_ref()),
        ("junit", JUNIT)
    );

    let mut log = fs::read_to_string(host.path("state/airlock.log")).expect("the host's log");
    log += &outcome.trace;
    for call in &outcome.calls {
        log += &call.stdout;
        log += &call.stderr;
    }
    for (name, secret) in &secrets {
        // GitLab Runner masks the token in GitLab's own scripts; Airlock's raw output must not hold it at all.
        assert!(!log.contains(secret.as_str()), "the {name} is in a log");
    }
    assert_eq!(seen.found.iter().collect::<Vec<_>>(), Vec::<&String>::new());
    for part in ["helper", "job", "fetch"] {
        assert!(seen.containers.contains(part), "the watch never saw `{part}`: {:?}", seen.containers);
    }
    assert!(seen.drivers.contains("run"), "{:?}", seen.drivers);
    assert_nothing_left(&host, id);
}

#[test]
fn a_failing_test_keeps_its_code_but_for_the_numbers_that_are_airlocks_own() {
    let host = Host::with_layout();
    let line = regex::Regex::new("script = .*").expect("a pattern");
    for (status, shown) in [(7, 7), (103, 1)] {
        let mut repository = GitRepository::create("staging");
        write_small_component(&repository);
        // make turns a status into 2: the rule's line here is the program itself.
        repository.write_executable("test.sh", format!("#!/bin/sh\nexit {status}\n"));
        repository.commit("a failing test");
        let settings = fs::read_to_string(&host.settings).expect("settings");
        fs::write(&host.settings, line.replace(&settings, "script = [\"./test.sh\"]").as_ref())
            .expect("a file");
        let project = host.serve(&repository);
        let id = host.gitlab.enqueue(&host.staging_job(&project, &repository).script(&["./test.sh"]));
        let outcome = host.runner().run_one();
        assert_eq!(outcome.state, script_failure(shown), "{}", outcome.trace);
        let call = outcome.call("build_script");
        let note: String = call.stdout.lines().filter(|line| line.contains("reported as")).collect();
        insta::assert_snapshot!(
            format!("a_test_that_ends_with_{status}"),
            said(&format!("{note}\n{}", call.stderr))
        );
        assert_eq!(host.tags(), Vec::<String>::new());
        assert_nothing_left(&host, id);
    }
}
