//! What an image contains: the answer of the fold and the input of both document writers.

use super::licence::Licence;
use crate::domain::digest::Digest;

/// The operating system that an image says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distro {
    pub(super) id: String,
    pub(super) id_like: Vec<String>,
    pub(super) name: String,
    pub(super) version: Option<String>,
}

impl Distro {
    /// Returns `ID`, for example `debian`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the version, with the point release where the image tells it, for example `12.11`.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Reports whether it is `id` or derived from it.
    pub fn is_like(&self, id: &str) -> bool {
        self.id == id || self.id_like.iter().any(|like| like == id)
    }
}

/// Who supplies a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplier {
    pub name: String,
    pub email: Option<String>,
}

/// The source that a binary package was built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub version: String,
}

/// An installed package; equal name, version and architecture is the same package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Unique in the inventory and stable over builds.
    pub id: String,
    /// The package URL type, for example `deb`.
    pub ecosystem: &'static str,
    pub name: String,
    pub version: String,
    pub architecture: Option<String>,
    /// Absent where the distribution is unknown, because the URL would be wrong.
    pub purl: Option<String>,
    pub source: Option<Source>,
    pub supplier: Option<Supplier>,
    pub licences: Vec<Licence>,
    /// The files that tell of it, as paths in the image.
    pub locations: Vec<String>,
    /// The first layer that has it.
    pub layer: Digest,
    /// The [`Package::id`]s of what it needs, sorted.
    pub depends_on: Vec<String>,
}

/// A file that no package owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    pub path: String,
    pub size: u64,
    pub digest: Digest,
    pub layer: Digest,
}

/// The image's own files: in layers above the base, owned by no package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnFiles {
    pub(super) listed: Vec<OwnFile>,
    pub(super) total: u64,
    pub(super) bytes: u64,
    pub(super) uncounted: u64,
}

impl OwnFiles {
    /// Returns the listed files, by path.
    pub fn listed(&self) -> &[OwnFile] {
        &self.listed
    }

    /// Returns how many own files were found.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the size of all own files that were found, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns how many files were beyond the scanner's bounds, own or not.
    pub fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// Returns the truth in a sentence: how many there are, and how many are listed.
    pub(super) fn summary(&self) -> String {
        let mut summary = format!(
            "Files above the base image that no package owns: {} with {} bytes",
            self.total, self.bytes
        );
        if self.listed.len() as u64 != self.total {
            summary.push_str(&format!(", the first {} by path are listed", self.listed.len()));
        }
        if self.uncounted > 0 {
            summary.push_str(&format!("; {} more files were not looked at", self.uncounted));
        }
        summary
    }

    /// Reports whether each own file is listed.
    pub fn is_complete(&self) -> bool {
        self.uncounted == 0 && self.listed.len() as u64 == self.total
    }
}

/// What an image contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    pub(super) distro: Option<Distro>,
    pub(super) packages: Vec<Package>,
    pub(super) own_files: OwnFiles,
    pub(super) gaps: Vec<String>,
}

impl Inventory {
    /// Returns the number of packages.
    pub fn package_count(&self) -> usize {
        self.packages.len()
    }

    /// Returns the packages, sorted by package URL and version.
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// Returns the operating system, where the image tells it.
    pub fn distro(&self) -> Option<&Distro> {
        self.distro.as_ref()
    }

    /// Returns the files above the base that no package owns.
    pub fn own_files(&self) -> &OwnFiles {
        &self.own_files
    }

    /// Returns what should have been read and was not, as sentences; empty is the normal case.
    pub fn gaps(&self) -> &[String] {
        &self.gaps
    }
}
