//! JUnit reports: counts asserted by the tenant.
//!
//! The tests wrote these files themselves, so they prove nothing: the script's exit code decides, and a report
//! can only make a green job red, never a red one green. No document type is read, no entity expanded.

use super::digest::Digest;
use super::evidence::test_result::AssertedCounts;
use crate::failure::{CLI_REFUSED, EXIT_TESTS_FAILED, Failure, FailureKind};

mod junit;

/// Largest report that is read, in bytes.
pub const MAX_REPORT_BYTES: usize = 32 * 1024 * 1024;
/// Most reports of one job.
pub const MAX_REPORTS: usize = 1000;

/// How many tests there were and how they ended; a test that is both failed and in error counts in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TestCounts {
    pub tests: u64,
    pub failures: u64,
    pub errors: u64,
    pub skipped: u64,
}

impl TestCounts {
    /// Returns the sum of both; it stops at the largest number.
    pub fn plus(self, other: Self) -> Self {
        Self {
            tests: self.tests.saturating_add(other.tests),
            failures: self.failures.saturating_add(other.failures),
            errors: self.errors.saturating_add(other.errors),
            skipped: self.skipped.saturating_add(other.skipped),
        }
    }

    /// Returns whether a test failed or was in error.
    pub fn has_failures(self) -> bool {
        self.failures > 0 || self.errors > 0
    }
}

/// One report as the tests left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    /// Relative to the component.
    pub path: String,
    pub digest: Digest,
    pub counts: TestCounts,
}

/// All reports of a job, as asserted by the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestReport {
    files: Vec<ReportFile>,
}

/// Why a file is not a usable report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    #[error("`{path}` has {found} bytes, at most {limit} are read")]
    TooLarge { path: String, found: usize, limit: usize },
    #[error("there are more than {0} reports")]
    TooMany(usize),
    #[error("`{path}` is not a JUnit report: line {line}: {why}")]
    Malformed { path: String, line: usize, why: String },
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        let kind = FailureKind::Refused { stage: EXIT_TESTS_FAILED, cli: CLI_REFUSED };
        Failure::new(kind, "cannot read the test reports that the component declares")
            .because_of(&error)
            .hint("look at `junit` in `airlock.toml` and at what the test runner writes there")
    }
}

impl TestReport {
    /// Reads one more report; `path` is relative to the component.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> Result<(), ReportError> {
        let shown: String = path.chars().filter(|c| !c.is_control()).take(200).collect();
        if self.files.len() >= MAX_REPORTS {
            return Err(ReportError::TooMany(MAX_REPORTS));
        }
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLarge { path: shown, found: bytes.len(), limit: MAX_REPORT_BYTES });
        }
        let counts = junit::counts(bytes).map_err(|fault| {
            let line = 1 + bytes.iter().take(fault.at).filter(|b| **b == b'\n').count();
            ReportError::Malformed { path: shown, line, why: fault.why }
        })?;
        self.files.push(ReportFile { path: path.to_owned(), digest: Digest::of(bytes), counts });
        Ok(())
    }

    /// Returns the reports in the order they were read.
    pub fn files(&self) -> &[ReportFile] {
        &self.files
    }

    /// Returns the sum over all reports.
    pub fn totals(&self) -> TestCounts {
        self.files.iter().fold(TestCounts::default(), |sum, file| sum.plus(file.counts))
    }

    /// Returns the counts as a test result carries them; `None` where no test was counted.
    pub fn asserted(&self) -> Option<AssertedCounts> {
        let counts = self.totals();
        (counts.tests > 0).then(|| AssertedCounts {
            passed: counts.tests.saturating_sub(counts.failures + counts.errors + counts.skipped),
            failed: counts.failures,
            errored: counts.errors,
            skipped: counts.skipped,
        })
    }

    /// Returns whether any report tells of a failure or an error.
    pub fn has_failures(&self) -> bool {
        self.files.iter().any(|file| file.counts.has_failures())
    }
}

#[cfg(test)]
mod tests;
