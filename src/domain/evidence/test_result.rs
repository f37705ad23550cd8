//! Test results (in-toto attestation test-result v0.1) with Airlock's own facts beside.
//!
//! The verdict is the exit status of the lines that Airlock ran. Counts and names come from a report
//! that the tests wrote: they are marked as the tenant's and decide nothing alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NotEvidence;
use super::provenance::Resource;
use super::statement::parse_predicate;

/// Most test names that a result lists for each outcome.
pub const MAX_LISTED_TESTS: usize = 1000;

/// How the tests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TestOutcome {
    Passed,
    /// Passed with warnings; Airlock never writes it and never accepts it.
    Warned,
    Failed,
}

impl fmt::Display for TestOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "PASSED",
            Self::Warned => "WARNED",
            Self::Failed => "FAILED",
        })
    }
}

/// Which test of the pipeline a result is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestStage {
    /// A component's own unit test; what a result says that doesn't say otherwise.
    #[default]
    Unit,
    /// The hub's, of all components together.
    Integration,
}

/// What the tests of a commit gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    pub stage: TestStage,
    /// The hub's closed-world report; null for a unit test.
    pub closed_world: serde_json::Value,
    pub outcome: TestOutcome,
    /// What the tests ran with: commit, image, script.
    pub configuration: Vec<Resource>,
    /// Where a person can read more.
    pub url: Option<String>,
    pub passed_tests: Vec<String>,
    pub failed_tests: Vec<String>,
    /// The lines that ran.
    pub script: Vec<String>,
    /// Their exit status.
    pub exit_status: u8,
    /// What the tenant's own report counts.
    pub counts: Option<AssertedCounts>,
}

/// Counts of a report that the tests themselves wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssertedCounts {
    pub passed: u64,
    pub failed: u64,
    pub errored: u64,
    pub skipped: u64,
}

/// A test result that is known to say passed: the only one that lets an image be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedTestResult(TestResult);

/// Why a test result does not let an image be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tests did not pass: result {outcome}, exit status {exit_status}, {failed} failed")]
pub struct NotPassed {
    outcome: TestOutcome,
    exit_status: u8,
    failed: u64,
}

impl PassedTestResult {
    /// Checks that verdict, exit status, names and counts all say passed.
    pub fn new(result: TestResult) -> Result<Self, NotPassed> {
        let counted = result.counts.map_or(0, |counts| counts.failed.saturating_add(counts.errored));
        let failed = counted.max(result.failed_tests.len() as u64);
        if result.outcome == TestOutcome::Passed && result.exit_status == 0 && failed == 0 {
            Ok(Self(result))
        } else {
            Err(NotPassed { outcome: result.outcome, exit_status: result.exit_status, failed })
        }
    }

    /// Returns the result.
    pub fn result(&self) -> &TestResult {
        &self.0
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    result: TestOutcome,
    configuration: Vec<Resource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default)]
    passed_tests: Vec<String>,
    #[serde(default)]
    failed_tests: Vec<String>,
    airlock: Extension,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extension {
    #[serde(default, skip_serializing_if = "is_unit")]
    stage: TestStage,
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    closed_world: serde_json::Value,
    script: Vec<String>,
    exit_status: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asserted_by_tenant: Option<AssertedCounts>,
}

fn is_unit(stage: &TestStage) -> bool {
    *stage == TestStage::Unit
}

impl TestResult {
    /// Returns the predicate as JSON; each list of names is cut after [`MAX_LISTED_TESTS`].
    pub fn to_predicate(&self) -> Vec<u8> {
        let listed = |names: &[String]| names.iter().take(MAX_LISTED_TESTS).cloned().collect();
        let predicate = Predicate {
            result: self.outcome,
            configuration: self.configuration.clone(),
            url: self.url.clone(),
            passed_tests: listed(&self.passed_tests),
            failed_tests: listed(&self.failed_tests),
            airlock: Extension {
                stage: self.stage,
                closed_world: self.closed_world.clone(),
                script: self.script.clone(),
                exit_status: self.exit_status,
                asserted_by_tenant: self.counts,
            },
        };
        serde_json::to_vec(&predicate).expect("strings and numbers are JSON")
    }

    /// Parses the predicate of a statement's payload; unknown fields are read over.
    pub fn parse(payload: &[u8]) -> Result<Self, NotEvidence> {
        let predicate: Predicate = parse_predicate(payload)?;
        let lists = [&predicate.passed_tests, &predicate.failed_tests, &predicate.airlock.script];
        if lists.iter().any(|list| list.len() > MAX_LISTED_TESTS) {
            return Err(NotEvidence::new(
                "a test result",
                format!("a list has more than {MAX_LISTED_TESTS} entries"),
            ));
        }
        Ok(Self {
            stage: predicate.airlock.stage,
            closed_world: predicate.airlock.closed_world,
            outcome: predicate.result,
            configuration: predicate.configuration,
            url: predicate.url,
            passed_tests: predicate.passed_tests,
            failed_tests: predicate.failed_tests,
            script: predicate.airlock.script,
            exit_status: predicate.airlock.exit_status,
            counts: predicate.airlock.asserted_by_tenant,
        })
    }
}

/// Returns the outcome that a payload states, even where the rest of the predicate is not Airlock's.
///
/// A statement that says `FAILED` counts against an image whoever's tool wrote it.
pub fn stated_outcome(payload: &[u8]) -> Option<TestOutcome> {
    #[derive(Deserialize)]
    struct Stated {
        result: TestOutcome,
    }
    parse_predicate::<Stated>(payload).ok().map(|stated| stated.result)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::evidence::{EvidenceKind, statement};

    /// Returns a passed result.
    pub(crate) fn sample() -> TestResult {
        TestResult {
            stage: TestStage::Unit,
            closed_world: serde_json::Value::Null,
            outcome: TestOutcome::Passed,
            configuration: vec![Resource {
                name: None,
                uri: Some("git+https://gitlab.example/acme/billing".into()),
                digest: [("gitCommit".to_owned(), "1a2b3c4d5e".repeat(4))].into(),
                media_type: None,
            }],
            url: Some("https://gitlab.example/acme/billing/-/jobs/9001".into()),
            passed_tests: vec!["adds".into()],
            failed_tests: vec![],
            script: vec!["make stage-unit-test".into()],
            exit_status: 0,
            counts: Some(AssertedCounts { passed: 1, failed: 0, errored: 0, skipped: 2 }),
        }
    }

    fn payload(predicate: &[u8]) -> Vec<u8> {
        statement::compose(EvidenceKind::TestResult, "r/a", &Digest::of(b"image"), predicate).unwrap()
    }

    #[test]
    fn the_predicate_is_in_totos() {
        let value: serde_json::Value = serde_json::from_slice(&sample().to_predicate()).unwrap();
        insta::assert_json_snapshot!(value);
        assert_eq!(TestResult::parse(&payload(&sample().to_predicate())).unwrap(), sample());
    }

    #[test]
    fn nothing_but_passed_passes() {
        assert!(PassedTestResult::new(sample()).is_ok());
        let counts = |failed, errored| Some(AssertedCounts { passed: 9, failed, errored, skipped: 0 });
        let refusals = [
            TestResult { outcome: TestOutcome::Failed, ..sample() },
            TestResult { outcome: TestOutcome::Warned, ..sample() },
            TestResult { exit_status: 2, ..sample() },
            TestResult { failed_tests: vec!["adds".into()], ..sample() },
            TestResult { counts: counts(1, 0), ..sample() },
            TestResult { counts: counts(u64::MAX, 1), ..sample() },
        ]
        .map(|result| PassedTestResult::new(result).unwrap_err().to_string());
        insta::assert_debug_snapshot!(refusals);
    }

    #[test]
    fn refuses_long_lists_and_hears_a_stranger_say_failed() {
        let mut value: serde_json::Value = serde_json::from_slice(&sample().to_predicate()).unwrap();
        value["failedTests"] = serde_json::json!(vec!["x"; MAX_LISTED_TESTS + 1]);
        assert!(TestResult::parse(&payload(value.to_string().as_bytes())).is_err());
        let stranger = payload(br#"{"result":"FAILED","configuration":[]}"#);
        assert!(TestResult::parse(&stranger).is_err());
        assert_eq!(stated_outcome(&stranger), Some(TestOutcome::Failed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_result_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = TestResult::parse(&bytes);
            let _ = stated_outcome(&bytes);
        }

        #[test]
        fn what_is_written_is_read_back(names in proptest::collection::vec("\\PC{0,20}", 0..5), exit_status in any::<u8>()) {
            let result = TestResult { failed_tests: names, exit_status, ..sample() };
            prop_assert_eq!(TestResult::parse(&payload(&result.to_predicate())).unwrap(), result);
        }
    }
}
