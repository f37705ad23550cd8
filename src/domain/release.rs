//! The release document (formats: "Release document"): the digests that make up one platform version.
//!
//! A release is canonical JSON (RFC 8785), integers only, lists sorted by name and then platform. It
//! never changes: what happens to it later is said by attestations.

mod canonical;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};

pub use canonical::NotARelease;

use super::digest::Digest;
use super::image::Repository;

/// Media type of the document, and artifact type of the manifest that carries it.
pub const RELEASE_MEDIA_TYPE: &str = "application/vnd.airlock.release.v1+json";
/// Largest release document that is read, in bytes.
pub const MAX_RELEASE_BYTES: u64 = 1024 * 1024;

/// One release of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    pub schema_version: u32,
    pub platform: String,
    /// `<hub VERSION>-r<sequence>`; also the tag.
    pub version: String,
    /// 1 for the first release; above the predecessor's and above every number that a version tag has. A
    /// promotion that died, or a rollback, leaves a gap.
    pub sequence: u64,
    /// Manifest digest of the release that `:candidate` named; null for the first.
    pub previous: Option<Digest>,
    /// RFC 3339 in UTC, whole seconds.
    pub created_at: String,
    pub expires_at: String,
    pub hub: ReleaseHub,
    pub components: Vec<ReleaseComponent>,
    pub sidecars: Vec<ReleaseSidecar>,
    pub inputs: ReleaseInputs,
}

/// The hub run that made the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseHub {
    pub project_id: u64,
    pub project: String,
    pub commit: String,
    pub pipeline_id: u64,
    pub job_id: u64,
    /// Digest of the compiled Compose file that ran.
    pub compose: Digest,
}

/// One component of the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseComponent {
    pub name: String,
    /// The version label of its images.
    pub version: String,
    pub origin: ComponentOrigin,
    pub source: ReleaseSource,
    pub images: Vec<ReleaseImage>,
}

/// Where a component's images were taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentOrigin {
    Staged,
    Candidate,
    Override,
}

/// The commit that a component's images were built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseSource {
    pub project_id: u64,
    pub project: String,
    pub commit: String,
}

/// One image of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseImage {
    /// Below the store's prefix, as the hub's manifest names it.
    pub repository: Repository,
    /// `os/architecture`.
    pub platform: String,
    pub manifest: Digest,
    pub config: Digest,
    pub evidence: ReleaseEvidence,
}

/// Digests of the DSSE envelopes that staging made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseEvidence {
    pub spdx: Digest,
    pub cyclonedx: Digest,
    pub provenance: Digest,
    pub test_result: Digest,
}

/// A third-party image of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseSidecar {
    /// The Compose service.
    pub name: String,
    /// The repository without the registry host.
    pub repository: Repository,
    pub manifest: Digest,
    pub config: Digest,
}

/// What a trusted user asked the run for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseInputs {
    /// Component names, sorted.
    pub change_set: Vec<String>,
    /// `repository@sha256:<64 hex>`, sorted.
    pub overrides: Vec<String>,
    pub user_id: Option<u64>,
}
