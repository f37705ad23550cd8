//! SLSA provenance v1 of a staging job, build type `urn:airlock:build-type:staging-job:v1`.
//!
//! Every field comes from the control plane; none from the job. `externalParameters` is complete: what
//! is not listed there cannot change the build.

mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::NotEvidence;
use super::statement::parse_predicate;
use crate::domain::image::PinnedImage;

/// The build type, whose schema is this module.
pub const BUILD_TYPE: &str = "urn:airlock:build-type:staging-job:v1";
/// The builder of whatever no GitLab job stands behind: different trust has a different builder.
pub const LOCAL_BUILDER_ID: &str = "urn:airlock:builder:local-try";
/// The highest hermetic level that there is.
pub const MAX_HERMETIC_LEVEL: u8 = 4;

/// What is known about the making of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The repository's URL, without credentials.
    pub source: String,
    /// The branch that was built.
    pub reference: String,
    /// The job's name.
    pub entry_point: String,
    /// The lines that tested the commit.
    pub script: Vec<String>,
    /// The image that the tests ran in.
    pub image: Option<PinnedImage>,
    /// The GitLab project.
    pub project: Project,
    /// Where the build ran.
    pub origin: Origin,
    /// The machine's architecture as GitLab names it, for example `amd64`.
    pub architecture: String,
    /// The versions that took part: `airlock`, `gitlab-runner`, `engine`, …
    pub versions: BTreeMap<String, String>,
    /// The hermetic level that was measured.
    pub hermetic: Hermetic,
    /// The commit and its tree as lower-case hexadecimal git object ids.
    pub commit: Commit,
    /// The images that the build started from, all pinned.
    pub base_images: Vec<PinnedImage>,
    /// Whatever else went into the build.
    pub other_dependencies: Vec<Resource>,
    /// The builder: a URI that differs for each mode of trust.
    pub builder_id: String,
    /// The job's URL, or another globally unique name of this run.
    pub invocation_id: String,
    pub started_on: OffsetDateTime,
    pub finished_on: OffsetDateTime,
    /// What else the run made, for example the image's config.
    pub byproducts: Vec<Resource>,
}

/// A GitLab project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub id: u64,
    pub path: String,
}

/// The commit that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub id: String,
    pub tree: Option<String>,
}

/// Where a build ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a job of GitLab.
    GitLab { pipeline: u64, job: u64, runner: u64 },
    /// By hand, on somebody's machine.
    Local,
}

/// The hermetic level that was measured, 0 to 4, and what it was measured by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hermetic {
    pub level: u8,
    #[serde(default)]
    pub checks: Vec<HermeticCheck>,
}

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HermeticCheck {
    pub name: String,
    pub result: CheckResult,
}

/// How a measurement ended; what was not measured counts as not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    Held,
    NotHeld,
    NotMeasured,
}

/// An in-toto ResourceDescriptor, the fields that are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

impl Provenance {
    /// Returns the predicate as JSON.
    pub fn to_predicate(&self) -> Vec<u8> {
        serde_json::to_vec(&wire::Predicate::from(self)).expect("strings and numbers are JSON")
    }

    /// Parses the predicate of a statement's payload; unknown fields are read over.
    pub fn parse(payload: &[u8]) -> Result<Self, NotEvidence> {
        parse_predicate::<wire::Predicate>(payload)?.try_into()
    }

    /// Returns whether `repository` belongs to the project: equal to its path, or below it.
    pub fn project_covers(&self, repository: &str) -> bool {
        let path = self.project.path.as_str();
        !path.is_empty()
            && repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
pub(crate) mod tests;
