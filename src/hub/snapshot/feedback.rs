//! Which components a run has news for.

use url::Url;

use super::{Snapshot, SnapshotComponent};
use crate::domain::hub::{CommitStatus, IntegrationVerdict};

impl Snapshot {
    /// Returns the components whose commit the predecessor does not have; for the first release, all.
    pub fn changed(&self) -> Vec<&SnapshotComponent> {
        let known = |component: &SnapshotComponent| {
            self.predecessor.as_ref().is_some_and(|release| {
                release.release().components.iter().any(|old| {
                    old.name == component.name
                        && old.source.project_id == component.project_id
                        && old.source.commit == component.commit
                })
            })
        };
        self.components.iter().filter(|component| !known(component)).collect()
    }

    /// Returns the commit status of every changed component; `job` is the hub job's page. Components that
    /// were built by hand have no project in GitLab to tell.
    pub fn statuses(&self, verdict: &IntegrationVerdict, job: Option<&Url>) -> Vec<CommitStatus> {
        self.changed()
            .into_iter()
            .filter(|component| component.pipeline_id > 0)
            .map(|c| CommitStatus::new(&c.name, c.project_id, &c.commit, verdict, job))
            .collect()
    }
}
