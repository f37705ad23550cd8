//! Provenance and test result: what is read can be written and read again, and only passed is passed.
#![no_main]

use airlock::domain::digest::Digest;
use airlock::domain::evidence::EvidenceKind;
use airlock::domain::evidence::provenance::Provenance;
use airlock::domain::evidence::statement::compose;
use airlock::domain::evidence::test_result::{PassedTestResult, TestOutcome, TestResult, stated_outcome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The input is the predicate; a whole statement is tried as it stands.
    let wrap = |kind, predicate: &[u8]| compose(kind, "r/a", &Digest::of(b"image"), predicate).ok();
    let provenance = wrap(EvidenceKind::Provenance, bytes).unwrap_or_else(|| bytes.to_vec());
    if let Ok(provenance) = Provenance::parse(&provenance) {
        let again = wrap(EvidenceKind::Provenance, &provenance.to_predicate()).expect("an object");
        let mut again = Provenance::parse(&again).expect("provenance");
        // Fractions of a second and time zones are not written.
        (again.started_on, again.finished_on) = (provenance.started_on, provenance.finished_on);
        assert_eq!(again, provenance);
        assert!(
            !provenance.project_covers("strange/place") || provenance.project.path.starts_with("strange")
        );
    }
    let result = wrap(EvidenceKind::TestResult, bytes).unwrap_or_else(|| bytes.to_vec());
    if let Ok(result) = TestResult::parse(&result) {
        let again = wrap(EvidenceKind::TestResult, &result.to_predicate()).expect("an object");
        assert_eq!(TestResult::parse(&again).expect("a result"), result);
        assert_eq!(stated_outcome(&again), Some(result.outcome));
        if let Ok(passed) = PassedTestResult::new(result) {
            let result = passed.result();
            assert_eq!((result.outcome, result.exit_status), (TestOutcome::Passed, 0));
            assert!(result.failed_tests.is_empty());
        }
    }
});
