//! The component manifest `airlock.toml` and the version tag.
//!
//! The manifest comes from the job's repository: nothing in it is trusted, and nothing in it can widen what
//! the host's publish rule allows.

use super::image::{NamePattern, PinnedImage, Repository};
use path::RelativePath;

mod manifest;
pub mod path;
pub mod version;

pub(super) use manifest::NAME_RULE;
pub use manifest::{ManifestError, ManifestErrors};

/// Largest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;
/// Most images of one component.
pub const MAX_IMAGES: usize = 64;
/// Most report patterns of one component.
pub const MAX_REPORT_PATTERNS: usize = 64;

/// What a component says about itself; every path in it is relative and stays inside the component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentManifest {
    name: String,
    version_file: RelativePath,
    junit: Vec<NamePattern>,
    images: Vec<ImageBuild>,
    try_image: Option<PinnedImage>,
}

/// One image that a component builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageBuild {
    /// Below the store's prefix; must stand in the host's publish rule.
    pub repository: Repository,
    pub dockerfile: RelativePath,
    pub context: RelativePath,
    /// The Dockerfile's stage to build; the last one where it is absent.
    pub target: Option<String>,
}

impl ComponentManifest {
    /// Parses `airlock.toml`; `project_path` gives the name where the file has none.
    ///
    /// # Errors
    /// Everything that is wrong with values at once; of a file that is not TOML, or has unknown or missing
    /// keys, the first mistake.
    pub fn parse(text: &str, project_path: &str) -> Result<Self, ManifestErrors> {
        manifest::parse(text, project_path)
    }

    /// Returns what holds for a component without `airlock.toml`.
    ///
    /// # Errors
    /// The last part of the project's path is not a component name.
    pub fn absent(project_path: &str) -> Result<Self, ManifestErrors> {
        manifest::parse("schema = 1", project_path)
    }

    /// Returns the name: `^[a-z0-9]+(-[a-z0-9]+)*$`, at most 63 characters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file whose first line is the version; the file may be absent.
    pub fn version_file(&self) -> &RelativePath {
        &self.version_file
    }

    /// Returns the patterns of JUnit reports.
    pub fn junit(&self) -> &[NamePattern] {
        &self.junit
    }

    /// Returns whether the file `path`, relative to the component, is a JUnit report.
    pub fn is_report(&self, path: &str) -> bool {
        self.junit.iter().any(|pattern| pattern.matches(path))
    }

    /// Returns the images to build, at least one.
    pub fn images(&self) -> &[ImageBuild] {
        &self.images
    }

    /// Returns the image for `airlock try`; in GitLab the job's image counts.
    pub fn try_image(&self) -> Option<&PinnedImage> {
        self.try_image.as_ref()
    }
}

/// Returns whether `name` is a component name.
pub(super) fn is_component_name(name: &str) -> bool {
    let word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 63 && name.split('-').all(word)
}

#[cfg(test)]
mod tests;
