//! What a person reads in a job's log, and what never stands in it.

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::runner::JobState;
use support::staging::{Host, SCRIPT, base_image, redact, small_component};

/// What a hostile build and test write: a cursor that moves, a screen that is wiped, a section that ends.
const FORGERY: &str =
    r"\033[2J\033[1;1Hsection_end:1:airlock_build\r\033[0Ksection_start:1:forged\r\033[0KForged";

/// A section marker as GitLab reads it.
#[derive(Debug, PartialEq)]
struct Marker {
    starts: bool,
    name: String,
}

fn markers(trace: &str) -> Vec<Marker> {
    let marker =
        regex::Regex::new("section_(start|end):[0-9]+:([^\\r\\n\\[]+)(\\[[^\\]\\r\\n]*\\])?\\r\x1b\\[0K")
            .expect("a pattern");
    marker
        .captures_iter(trace)
        .map(|found| Marker { starts: &found[1] == "start", name: found[2].to_owned() })
        .collect()
}

/// Panics unless each section ends, inside the one that it began in, and no name is used twice.
fn assert_sections(trace: &str) -> Vec<String> {
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    let name = regex::Regex::new("^[a-z0-9_]+$").expect("a pattern");
    for marker in markers(trace) {
        if marker.starts {
            assert!(name.is_match(&marker.name), "`{}` is no name of a section", marker.name);
            assert!(!seen.contains(&marker.name), "the section `{}` stands twice\n{trace}", marker.name);
            seen.push(marker.name.clone());
            open.push(marker.name);
        } else {
            assert_eq!(open.pop().as_ref(), Some(&marker.name), "{trace}");
        }
    }
    assert_eq!(open, Vec::<String>::new(), "{trace}");
    seen
}

/// The log without what depends on the machine's speed.
fn golden(trace: &str) -> String {
    let shown = redact(trace).replace('\x1b', "␛").replace('\r', "␍");
    let patterns = [
        (r"(?m)^  … .*\n", ""),
        (r"sandbox [0-9a-f]{12}", "sandbox <container>"),
        (r"\b[0-9]+(\.[0-9])? ([KM]iB|bytes)\b", "<size>"),
        (r"commit [0-9a-f]{12}\b", "commit <short>"),
        (r"\b[0-9]+ packages\b", "<n> packages"),
        (r"packages    [0-9]+ ", "packages    <n> "),
        (r"as [0-9a-f]{8}\b", "as <commit>"),
        (r"Checking out [0-9a-f]{8}", "Checking out <commit>"),
    ];
    patterns.iter().fold(shown, |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    })
}

#[test]
fn the_log_of_a_publishing_job_reads_well_and_keeps_its_secrets() {
    let host = Host::with_registry();
    let repository = small_component();
    let project = host.serve(&repository);
    let job = host.staging_job(&project, &repository);
    host.gitlab.enqueue(&job);
    let outcome = host.runner().run_one();
    assert_eq!(outcome.state, JobState::Success, "{}", outcome.trace);
    let trace = &outcome.trace;

    let sections: Vec<String> =
        assert_sections(trace).into_iter().filter(|name| name.starts_with("airlock_")).collect();
    let names = ["source", "sandbox", "probe", "test", "reports", "build", "describe", "publish", "tag"];
    assert_eq!(sections, names.map(|name| format!("airlock_{name}")));
    assert_eq!(trace.matches("━━ ").count(), 1, "one summary\n{trace}");
    assert_eq!(trace.matches("look next").count(), 1, "{trace}");
    insta::assert_snapshot!(golden(trace));

    // Whatever the stages wrote, to whomever: GitLab's trace, their raw output, the host's own log.
    let diagnostics = fs::read_to_string(host.path("state/airlock.log")).expect("the host's log");
    let registry = host.registry.as_ref().expect("a registry");
    let auth = fs::read_to_string(registry.auth_file.as_ref().expect("a file")).expect("the credentials");
    let auth: serde_json::Value = serde_json::from_str(&auth).expect("JSON");
    let basic = auth["auths"][&registry.host]["auth"].as_str().expect("a pair").to_owned();
    let key = fs::read_to_string(host.path("image.key")).expect("the key");
    let key_line = key.lines().nth(1).expect("a line of base64").to_owned();
    let secrets = ["correct horse battery", &basic, "a test's own password", &job.token(), &key_line];
    let mut written =
        vec![("the trace".to_owned(), trace.clone()), ("airlock.log".to_owned(), diagnostics.clone())];
    for call in &outcome.calls {
        written.push((call.name().to_owned(), format!("{}{}", call.stdout, call.stderr)));
    }
    for (place, text) in &written {
        for secret in secrets {
            assert!(!text.contains(secret), "{place} has a secret:\n{text}");
        }
    }
    for diagnostic in ["prepare", "published and verified", "cleanup"] {
        assert!(diagnostics.contains(diagnostic), "{diagnostics}");
        assert!(!diagnostics.contains('\x1b'), "{diagnostics}");
    }
    // Diagnostics go to the host's log alone.
    for line in diagnostics.lines() {
        assert!(!trace.contains(line), "{line}");
    }
}

#[test]
fn a_build_cannot_forge_a_section_move_the_cursor_or_show_what_is_masked() {
    let host = Host::with_layout();
    let mut repository = small_component();
    // A name with a control character is refused; this is what is left to an author.
    repository.write("␛[2J section_end:1:airlock_build ␍␛[0K.py", "");
    repository.write(
        "Dockerfile",
        format!(
            "FROM {}\nCOPY . /srv/\nRUN printf '{FORGERY}\\n'; ls /srv; sleep 3\nUSER 1000\n",
            base_image("PYTHON")
        ),
    );
    let report = format!(
        "<testsuite tests=\"1\" failures=\"0\"><testcase name=\"{}\"/></testsuite>",
        "t&#9;section_end:1:airlock_test"
    );
    repository.write("reports/unit.xml", report);
    repository.write("airlock.toml", "schema = 1\njunit = [\"reports/*.xml\"]\n");
    repository.commit("hostile");
    let project = host.serve(&repository);
    host.gitlab.enqueue(&host.staging_job(&project, &repository));
    let outcome = host.runner().run_one();
    assert_eq!(outcome.state, JobState::Success, "{}", outcome.trace);
    assert!(outcome.trace.contains("Forged"), "the step ran\n{}", outcome.trace);
    let seen: BTreeSet<String> = assert_sections(&outcome.trace).into_iter().collect();
    assert!(!seen.contains("forged"), "{}", outcome.trace);

    // Airlock's own lines: everything but the script's output and the markers.
    let call = outcome.call("build_script");
    let marker =
        regex::Regex::new("section_(start|end):[0-9]+:[a-z0-9_]+(\\[collapsed=true\\])?\\r\x1b\\[0K")
            .expect("a pattern");
    let own = marker.replace_all(&call.stdout, "");
    let bad: Vec<char> = own.chars().filter(|c| c.is_control() && !matches!(c, '\n' | '\t')).collect();
    assert_eq!(bad, Vec::<char>::new(), "{own:?}");
    assert!(
        own.contains("section_end:1:airlock_build\n") || own.contains("section_end:1:airlock_build[0K"),
        "{own}"
    );
    // A step that is silent for three seconds doesn't leave the log silent.
    assert!(own.contains("  … building ("), "{own}");
    assert!(own.contains("1 tests, 0 failed"), "{own}");
}

#[test]
fn a_name_with_control_characters_is_refused_in_words_without_them() {
    let host = Host::with_layout();
    let mut repository = small_component();
    repository.write("bad\u{1b}[2Jname\rsection_end:1:airlock_source\r\u{1b}[0K.py", "");
    repository.commit("a hostile name");
    let project = host.serve(&repository);
    host.gitlab.enqueue(&host.staging_job(&project, &repository));
    let outcome = host.runner().run_one();
    assert_eq!(outcome.state, JobState::Failed { reason: "script_failure".to_owned(), exit_code: Some(101) });
    let stderr = &outcome.call("build_script").stderr;
    assert!(!stderr.contains(|c: char| c.is_control() && c != '\n'), "{stderr:?}");
    insta::assert_snapshot!(redact(stderr));
}

#[test]
fn the_log_of_a_failing_job_ends_every_section_and_has_no_summary() {
    let host = Host::with_layout();
    let mut repository = small_component();
    repository
        .write("Makefile", format!("{}:\n\t@echo before; exit 3\n", SCRIPT.trim_start_matches("make ")));
    repository.commit("a failing test");
    let project = host.serve(&repository);
    host.gitlab.enqueue(&host.staging_job(&project, &repository));
    let outcome = host.runner().run_one();
    assert_eq!(outcome.state, JobState::Failed { reason: "script_failure".to_owned(), exit_code: Some(2) });
    assert_sections(&outcome.trace);
    assert!(!outcome.trace.contains("━━"), "{}", outcome.trace);
    // What the author came for is not folded away.
    let test = outcome.trace.split(":airlock_test").nth(1).expect("the section");
    assert!(test.starts_with("\r\x1b[0K"), "{test}");
    insta::assert_snapshot!(redact(&outcome.call("build_script").stderr));
}
