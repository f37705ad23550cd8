//! What GitLab Runner hands a stage in its environment (runner contract §1.2), unprefixed names only.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, FailureKind};

/// The environment of one stage.
#[derive(Debug, Clone)]
pub struct StageEnvironment {
    job_response_file: Option<PathBuf>,
    build_exit_code_file: Option<PathBuf>,
    build_failure_exit_code: u8,
    system_failure_exit_code: u8,
}

impl StageEnvironment {
    /// Reads the environment through `get`, so that the caller decides whose environment it is.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let path = |name: &str| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let code = |name: &str, default: u8| {
            get(name).and_then(|value| value.parse().ok()).filter(|code| *code != 0).unwrap_or(default)
        };
        Self {
            job_response_file: path("JOB_RESPONSE_FILE"),
            build_exit_code_file: path("BUILD_EXIT_CODE_FILE"),
            build_failure_exit_code: code("BUILD_FAILURE_EXIT_CODE", 1),
            system_failure_exit_code: code("SYSTEM_FAILURE_EXIT_CODE", 2),
        }
    }

    /// Returns the job response file.
    pub fn job_response_file(&self) -> Result<&Path, Failure> {
        self.job_response_file.as_deref().ok_or_else(|| {
            Failure::usage("cannot read the job: `JOB_RESPONSE_FILE` is not set")
                .because("GitLab Runner sets it from version 14.1 on")
                .hint("for the runner's administrator: run this command from GitLab Runner's custom executor, version 18.4 or later")
        })
    }

    /// Forgets what an earlier call left: the runner never truncates the file (runner contract §1.3).
    pub fn reset_exit_code(&self) {
        if let Some(file) = &self.build_exit_code_file {
            let _ = std::fs::remove_file(file);
        }
    }

    /// Writes the number for GitLab, where the kind has one, and returns the exit code of the stage.
    ///
    /// `run` phases pass `true_cancel`: a cancelled prepare must never exit with the build failure
    /// code, since the runner would then report a script failure (runner contract §10).
    pub fn exit_code(&self, kind: FailureKind, stage: StageKind) -> u8 {
        let number = match kind {
            FailureKind::Job { exit_code } => exit_code,
            FailureKind::Refused { stage, .. } => stage,
            FailureKind::Cancelled if stage == StageKind::Run => crate::failure::EXIT_CANCELLED,
            FailureKind::Cancelled | FailureKind::Usage | FailureKind::System | FailureKind::Internal => {
                return self.system_failure_exit_code;
            }
        };
        if let Some(file) = &self.build_exit_code_file
            && let Err(error) = std::fs::write(file, format!("{number}\n"))
        {
            // The stage's own exit code still says that the job failed; only the number is lost.
            tracing::warn!(%error, file = %file.display(), "cannot write the exit code file");
        }
        self.build_failure_exit_code
    }
}

/// Which of the four stages is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageKind {
    Config,
    Prepare,
    Run,
    Cleanup,
}
