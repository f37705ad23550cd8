//! The job response file: missing, cut, something else, too large.

use std::fs;

use super::bench::Job;
use crate::support::staging::{Host, text};

#[test]
fn a_response_file_that_cannot_be_used_is_the_runners_fault_in_prepare_and_run() {
    let host = Host::with_layout();
    let job = Job::new(&host);
    let good = job.document.to_string();
    let mut golden = String::new();
    let mut case = |name: &str| {
        let called = job.prepare().expect_system_failure();
        assert_eq!(job.run("build_script").expect_system_failure().stderr, called.stderr, "{name}");
        golden.push_str(&format!("── {name}\n{}\n", called.golden()));
        // After a failed prepare the runner calls cleanup, which names nothing and fails nothing.
        assert_eq!(job.cleanup().expect_success().stderr, "", "{name}");
    };
    fs::remove_file(job.response()).expect("a file");
    case("missing");
    fs::create_dir(job.response()).expect("a directory");
    case("a directory");
    fs::remove_dir(job.response()).expect("a directory");
    job.write_response(b"");
    case("empty");
    job.write_response(&good.as_bytes()[..good.len() / 2]);
    case("cut");
    job.write_response(b"<html>502 Bad Gateway</html>");
    case("another document");
    job.write_response(good.replace("\"git_info\"", "\"gone\"").as_bytes());
    case("without git_info");
    let mut large = good.clone().into_bytes();
    large.resize(17 << 20, b' ');
    job.write_response(&large);
    case("too large");
    assert!(!golden.contains("job-token"), "no token in a message");
    insta::assert_snapshot!(golden);
    job.write_response(good.as_bytes());
    job.expect_nothing_published_and_nothing_left();
}

#[test]
fn a_script_file_that_is_missing_and_a_job_that_was_not_prepared_are_the_runners_fault() {
    let host = Host::with_layout();
    let job = Job::new(&host);
    let not_prepared = job.run("build_script").expect_system_failure().golden();
    fs::remove_file(job.script()).expect("a file");
    let no_script = job.run("build_script").expect_system_failure().golden();
    insta::assert_snapshot!(format!("── no record\n{not_prepared}\n── no script\n{no_script}"));
}

#[test]
fn a_wrong_number_of_arguments_is_told_with_the_usage() {
    let host = Host::with_layout();
    let job = Job::new(&host);
    let settings = ["--settings", text(&host.settings)];
    let mut golden = String::new();
    for words in [
        &["executor", "run"][..],
        &["executor", "run", "/script"],
        &["executor", "run", "/script", "build_script", "more"],
        &["executor", "prepare", "more"],
        &["executor", "stage"],
        &["executor"],
        &["verify"],
        &["try", "--layout"],
        &["publish"],
    ] {
        let mut arguments = words.to_vec();
        if words.len() > 1 && words[0] == "executor" && words[1] != "stage" {
            arguments.splice(2..2, settings);
        }
        let called = job.call(&arguments).expect_system_failure();
        golden.push_str(&format!("── airlock {}\n{}\n", words.join(" "), called.golden()));
    }
    insta::assert_snapshot!(golden);
}
