//! The hub's manifest `airlock-hub.toml`, its rule on the host, and the two inputs that a trusted user
//! may give a run.
//!
//! The manifest comes from the hub's repository: nothing in it is trusted, and a component in it must
//! also stand in one of the host's publish rules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::component::path::RelativePath;
use super::digest::Digest;
use super::image::{PinnedImage, Repository};

mod feedback;
mod inputs;
mod manifest;

pub use feedback::{CommitStatus, IntegrationVerdict, MAX_STATUS_BYTES, STATUS_NAME};
pub use inputs::{HubVariable, InputError, InputErrors, VARIABLES};
pub use manifest::{HubManifestError, HubManifestErrors};

/// The manifest's file at the root of the hub.
pub const HUB_MANIFEST: &str = "airlock-hub.toml";
/// Largest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;
/// Most components of one platform.
pub const MAX_COMPONENTS: usize = 64;
/// Most services of one component.
pub const MAX_SERVICES: usize = 64;
/// Most sidecars of one platform.
pub const MAX_SIDECARS: usize = 64;
/// Longest wait for the stack, in seconds.
pub const MAX_READY_TIMEOUT_S: u64 = 3600;

/// What a hub says about itself; every path in it is relative and stays inside the hub's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubManifest {
    /// The platform's name: a component name; the release's repository is `<prefix>/<platform>/release`.
    pub platform: String,
    /// The Compose file.
    pub compose: RelativePath,
    /// First line: SemVer; releases are `<version>-r<sequence>`.
    pub version_file: RelativePath,
    /// How long the stack may take to become ready, in seconds.
    pub ready_timeout_s: u64,
    /// The image of the tests, for `airlock try` alone; in GitLab the job's image counts.
    pub try_image: Option<PinnedImage>,
    /// By component name.
    pub components: BTreeMap<String, HubComponent>,
    /// The only third-party images, by Compose service.
    pub sidecars: BTreeMap<String, PinnedImage>,
}

/// One component of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubComponent {
    pub project_id: u64,
    /// Compose service to repository, the latter below the store's prefix.
    pub services: BTreeMap<String, Repository>,
}

impl HubManifest {
    /// Parses `airlock-hub.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with values at once; of a file that is not TOML, or has unknown or missing
    /// keys, the first mistake.
    pub fn parse(text: &str) -> Result<Self, HubManifestErrors> {
        manifest::parse(text)
    }

    /// Returns the component that has `repository`, below the store's prefix.
    pub fn owner_of(&self, repository: &Repository) -> Option<&str> {
        let has = |component: &HubComponent| component.services.values().any(|known| known == repository);
        self.components.iter().find(|(_, component)| has(component)).map(|(name, _)| name.as_str())
    }
}

/// Returns whether `name` is a service's name: what Compose takes and a host's name can be.
fn is_service_name(name: &str) -> bool {
    name.len() <= 63
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The host's `[hub]` table: which job of which project promotes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubRule {
    pub project_id: u64,
    pub project_path: String,
    pub ref_name: String,
    pub job: String,
    pub script: Vec<String>,
    /// GitLab user ids that may use `AIRLOCK_CHANGE_SET` and `AIRLOCK_OVERRIDE`.
    pub override_users: Vec<u64>,
}

/// What a trusted user asked this run to take instead of every component's `:staged`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubInputs {
    /// Components that come from `:staged` while the rest comes from the present candidate; empty: all do.
    pub change_set: Vec<String>,
    /// Images that are taken whatever `:staged` names, by repository below the store's prefix.
    pub overrides: BTreeMap<Repository, Digest>,
    /// Who started the job.
    pub user_id: Option<u64>,
}

#[cfg(test)]
mod tests;
