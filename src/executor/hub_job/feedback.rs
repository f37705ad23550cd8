//! The hub's word to the components that it tested.

use super::HubJob;
use crate::delivery::Confirmation;
use crate::delivery::heartbeat::beating;
use crate::domain::hub::IntegrationVerdict;
use crate::executor::test_job::TestJob;
use crate::failure::{Failure, FailureKind};
use crate::gitlab::status::{StatusPlace, report};
use crate::hub::snapshot::Snapshot;
use crate::release::promote::Promoted;

/// Tells the changed components how it ended; nothing here changes the verdict.
pub(super) async fn feedback(job: &HubJob<'_>, snapshot: &Snapshot, outcome: Result<&Promoted, &Failure>) {
    let TestJob { settings, log, .. } = job.test;
    let verdict = match outcome {
        Ok(promoted) => IntegrationVerdict::Green { release: promoted.release.release().version.clone() },
        // The runner's trouble is no word on a component.
        Err(failure) if !matches!(failure.kind(), FailureKind::Job { .. } | FailureKind::Refused { .. }) => {
            return;
        }
        Err(failure) => IntegrationVerdict::Red { reason: failure.what().to_owned() },
    };
    let Confirmation::GitLab(_) = job.confirmation else { return };
    let statuses = snapshot.statuses(&verdict, job.job_url);
    if statuses.is_empty() {
        return;
    }
    let _section = log.section("feedback", "Feedback: commit statuses of the changed components");
    let place = StatusPlace {
        url: &settings.gitlab.url,
        ca: settings.gitlab.ca.as_deref(),
        token_file: settings.gitlab.status_token_file.as_deref(),
    };
    let mask = |secret: &str| log.mask(secret);
    let owed = beating(log, "setting statuses", report(&place, &statuses, &mask)).await;
    for status in statuses.iter().filter(|status| !owed.iter().any(|owed| owed.status == **status)) {
        log.line(format!("status  {} {}: {}", status.component, status.state(), status.description));
    }
    for status in owed {
        log.line(status.to_string());
    }
}
