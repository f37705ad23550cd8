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
