//! The life of a job with the built binary: GitLab Runner's contract, sub-stage by sub-stage (contract §10).

#[path = "job_lifecycle/cancel.rs"]
mod cancel;
#[path = "job_lifecycle/gitlab_runner.rs"]
mod gitlab_runner;
#[path = "job_lifecycle/plain.rs"]
mod plain;
#[path = "job_lifecycle/prepare.rs"]
mod prepare;
#[path = "job_lifecycle/publishing.rs"]
mod publishing;
#[path = "job_lifecycle/secrets.rs"]
mod secrets;
mod support;

use support::git_repository::GitRepository;
use support::gitlab::JobPayload;
use support::runner::JobState;
use support::staging::{Host, base_image, small_component};

/// A host, a served repository and a job of it that publishes nothing.
struct Plain {
    host: Host,
    repository: GitRepository,
}

impl Plain {
    fn new() -> Self {
        Self::with(|settings| settings)
    }

    fn with(change: impl FnOnce(String) -> String) -> Self {
        Self { host: Host::new(support::staging::Place::Layout, change), repository: small_component() }
    }

    fn job(&self, script: &[&str]) -> JobPayload {
        let project = self.host.serve(&self.repository);
        self.host
            .gitlab
            .job_of(&project, &self.repository)
            .name("lint")
            .image(&base_image("PYTHON"))
            .script(script)
    }
}

fn script_failure(exit_code: i64) -> JobState {
    JobState::Failed { reason: "script_failure".to_owned(), exit_code: Some(exit_code) }
}

fn system_failure() -> JobState {
    JobState::Failed { reason: "runner_system_failure".to_owned(), exit_code: None }
}
