//! Reports are the tenant's own words: they can turn a green test red, and nothing else.

use crate::attack::Attack;

/// A component that declares reports and whose test runs these lines.
fn reporting(pattern: &str, lines: &[&str]) -> Attack {
    Attack::with(|repository| {
        repository.write("airlock.toml", format!("schema = 1\njunit = [\"{pattern}\"]\n"));
        repository
            .write("Makefile", format!("stage-unit-test:\n\tmkdir -p reports\n\t{}\n", lines.join("\n\t")));
    })
}

#[test]
fn failures_in_a_report_turn_a_green_script_red() {
    let report = "echo '<testsuite><testcase name=\"a\"/><testcase name=\"b\"><failure/></testcase></testsuite>' > reports/a.xml";
    let attack = reporting("reports/*.xml", &[report]);
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_green_report_turns_no_red_script_green() {
    let report = "echo '<testsuite tests=\"1\"><testcase name=\"a\"/></testsuite>' > reports/a.xml";
    let attack = reporting("reports/*.xml", &[report, "exit 3"]);
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_malformed_report_is_refused() {
    let attack = reporting("reports/*.xml", &["echo '<testsuite><testcase>' > reports/a.xml"]);
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_report_with_entities_that_unfold_is_refused() {
    let bomb = "echo '<!DOCTYPE b [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><testsuite>&b;</testsuite>' > reports/a.xml";
    let attack = reporting("reports/*.xml", &[bomb]);
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_huge_report_is_refused() {
    let attack = reporting("reports/*.xml", &["truncate -s 40M reports/a.xml"]);
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn more_reports_than_any_archive_may_hold_are_refused() {
    let attack = reporting("reports/*.xml", &["truncate -s 100M reports/a.xml"]);
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn reports_that_are_links_pipes_or_devices_are_not_read() {
    let lines = [
        "ln -s /etc/shadow reports/a.xml",
        "ln -s /proc/self/environ reports/b.xml",
        "mkfifo reports/c.xml",
        "ln -s /dev/zero reports/d.xml",
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"reports/e.xml\")'",
        "mkdir reports/f.xml",
        "! mknod reports/g.xml c 1 5 2>/dev/null",
    ];
    let attack = reporting("reports/*.xml", &lines);
    let ended = attack.published(&attack.job());
    assert!(ended.outcome.trace.contains("no report is declared or written"), "{}", ended.outcome.trace);
}

#[test]
fn a_report_directory_that_is_a_link_is_not_followed() {
    let attack = reporting("reports/*.xml", &["rmdir reports", "ln -s /etc reports"]);
    let ended = attack.published(&attack.job());
    assert!(ended.outcome.trace.contains("no report is declared or written"), "{}", ended.outcome.trace);
}
