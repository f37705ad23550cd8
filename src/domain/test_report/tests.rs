//! What the counts are, and what is no report.

use proptest::prelude::*;

use super::*;

fn counts(xml: &str) -> (u64, u64, u64, u64) {
    let mut report = TestReport::default();
    report.add("r.xml", xml.as_bytes()).expect("a report");
    let sum = report.totals();
    (sum.tests, sum.failures, sum.errors, sum.skipped)
}

fn message(bytes: &[u8]) -> String {
    let error = TestReport::default().add("reports/unit.xml", bytes).expect_err("refused");
    Failure::from(error).to_string()
}

#[test]
fn counts_test_cases_and_not_what_the_suite_says() {
    let xml = r#"<?xml version="1.0"?><testsuites tests="99"><testsuite tests="99" failures="7">
        <testcase name="a"/><testcase name="b"><failure>x &lt; y &#38; z</failure></testcase>
        <testsuite><testcase><error/><failure/><failure/></testcase><testcase><skipped/></testcase></testsuite>
        <testcase><system-out><![CDATA[<failure/>]]></system-out><flakyFailure/></testcase>
        <!-- <testcase/> --></testsuite></testsuites>"#;
    assert_eq!(counts(xml), (5, 2, 1, 1));
}

#[test]
fn takes_the_attributes_where_there_are_no_test_cases() {
    assert_eq!(counts(r#"<testsuite tests="3" failures="1" errors="" skipped=" 2 "/>"#), (3, 1, 0, 2));
    let nested = r#"<testsuites tests="9"><testsuite tests="2"><testsuite tests="1"/></testsuite>
        <testsuite tests="3" errors="1"/></testsuites>"#;
    assert_eq!(counts(nested), (5, 0, 1, 0));
    assert_eq!(counts(r#"<testsuites tests="9" failures="1"/>"#), (9, 1, 0, 0));
    assert_eq!(counts("<testsuites/>"), (0, 0, 0, 0));
}

#[test]
fn one_failure_in_one_file_is_a_failure() {
    let mut report = TestReport::default();
    report.add("a.xml", b"<testsuite><testcase/></testsuite>").expect("a report");
    assert!(!report.has_failures());
    report.add("b.xml", b"<testsuite><testcase><error/></testcase></testsuite>").expect("a report");
    assert!(report.has_failures());
    assert_eq!(report.files()[1].digest, Digest::of(b"<testsuite><testcase><error/></testcase></testsuite>"));
}

#[test]
fn an_enormous_count_does_not_wrap() {
    let many = format!(
        r#"<testsuites><testsuite failures="{0}"/><testsuite failures="{0}"/></testsuites>"#,
        u64::MAX
    );
    assert_eq!(counts(&many).1, u64::MAX);
}

#[test]
fn names_the_file_and_the_line_of_what_is_no_report() {
    let deep = "<testsuite>".repeat(65);
    let wide = format!("<testsuite {}/>", (0..65).map(|n| format!("a{n}='' ")).collect::<String>());
    let messages = [
        message(b""),
        message(b"OK (12 tests)"),
        message(b"<html/>"),
        message(b"<testsuite>\n<testcase>\n</testsuite>"),
        message(b"<testsuite>\n<testcase>"),
        message(b"<testsuite/><testsuite/>"),
        message(b"<testsuite tests='many'/>"),
        message(b"<testsuite tests='1' tests='0'/>"),
        message(b"<!DOCTYPE x [<!ENTITY a 'b'>]>\n<testsuite>&a;</testsuite>"),
        message(b"<testsuite>\n&xxe;</testsuite>"),
        message(b"<testsuite><testcase><testcase/></testcase></testsuite>"),
        message(b"<testsuite>\xff</testsuite>"),
        message(deep.as_bytes()),
        message(wide.as_bytes()),
        message(&vec![b' '; MAX_REPORT_BYTES + 1]),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}

proptest! {
    #[test]
    fn reads_any_bytes_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = TestReport::default().add("r.xml", &bytes);
    }

    #[test]
    fn reads_any_mixture_of_pieces_without_a_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "<testsuites>", "</testsuites>", "<testsuite ", "tests='3'", ">", "/>", "<testcase>", "</testcase>", "<failure/>",
        "&", "amp;", "&#0;", "<![CDATA[", "]]>", "<!--", "-->", "<?xml ", "?>", "<!DOCTYPE ", "\"", "<", "é", "\n",
    ]), 0..30)) {
        let _ = TestReport::default().add("r.xml", pieces.concat().as_bytes());
    }

    #[test]
    fn counts_as_many_cases_as_were_written(outcomes in prop::collection::vec(0_usize..4, 0..50)) {
        let cases: String = outcomes
            .iter()
            .map(|outcome| ["<testcase/>", "<testcase><failure/></testcase>", "<testcase><error/></testcase>",
                "<testcase><skipped/></testcase>"][*outcome])
            .collect();
        let count = |kind| outcomes.iter().filter(|outcome| **outcome == kind).count() as u64;
        let expected = (outcomes.len() as u64, count(1), count(2), count(3));
        prop_assert_eq!(counts(&format!("<testsuite>{cases}</testsuite>")), expected);
    }
}
