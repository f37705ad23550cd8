//! The cleanup stage: removes everything that carries the job's label, and its state.
//!
//! It runs after every failed prepare and at the end of each job, may run several times, needs nothing
//! that prepare left, never stops at its first error and never publishes.

use crate::domain::job::JobFacts;
use crate::engine::Engine;
use crate::executor::JOB_LABEL;
use crate::executor::job_record::{JobDirectory, JobKey};
use crate::failure::{Failure, Outcome};
use crate::settings::Settings;

/// Removes all that one job left; without a job there is nothing that could be named safely.
pub async fn cleanup(settings: &Settings, facts: Option<&JobFacts>) -> Outcome<()> {
    let Some(facts) = facts else {
        tracing::info!("cleanup without a job response: nothing is named; the sweep removes what is left");
        return Ok(());
    };
    let key = JobKey::of(facts);
    remove_job(settings, &key).await
}

/// Removes all that carries the label of `key`, then its directory.
pub async fn remove_job(settings: &Settings, key: &JobKey) -> Outcome<()> {
    let mut left = Vec::new();
    match Engine::connect(&settings.engine_socket).await {
        Ok(engine) => {
            let report = engine.remove_by_label(JOB_LABEL, key.as_str()).await;
            tracing::info!(job = key.as_str(), removed = report.removed.len(), "cleanup");
            left.extend(report.failures.into_iter().map(|(_, error)| {
                // The engine's own words name what holds the thing.
                let failure = Failure::from(error);
                [&[failure.what().to_owned()], failure.causes()].concat().join(": ")
            }));
        }
        Err(error) => left.push(error.to_string()),
    }
    if let Err(error) = JobDirectory::new(&settings.state_dir, key).remove() {
        left.push(format!("state of job `{}`: {error}", key.as_str()));
    }
    if left.is_empty() {
        return Ok(());
    }
    let failure = Failure::system(format!("cannot remove all that job `{}` left", key.as_str()));
    Err(left
        .iter()
        .fold(failure, |failure, item| failure.because(item))
        .hint("for the runner's administrator: `airlock host sweep` removes it once the cause is gone"))
}
