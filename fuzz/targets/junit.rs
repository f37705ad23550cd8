//! JUnit reports: counts add up and a failure is never lost.
#![no_main]

use airlock::domain::test_report::TestReport;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut report = TestReport::default();
    let read = report.add("reports/unit.xml", bytes).is_ok();
    assert_eq!(report.add("reports/again.xml", bytes).is_ok(), read);
    assert_eq!(report.files().len(), if read { 2 } else { 0 });
    let failures = report.files().iter().any(|file| file.counts.has_failures());
    assert_eq!(report.has_failures(), failures);
    assert_eq!(report.totals().has_failures(), failures);
    // Another failure is never lost among what was read.
    let failed = b"<testsuite><testcase><failure/></testcase></testsuite>";
    report.add("reports/failed.xml", failed).expect("a report");
    assert!(report.has_failures() && report.totals().has_failures());
});
