//! Releases in their repository: read by tag or digest, checked, verified.

use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::release::Release;

/// A release that was read back, is canonical, and is signed by a trusted `release` key.
#[derive(Debug, Clone)]
pub struct VerifiedRelease {
    pub(super) repository: Repository,
    /// The manifest's digest.
    pub(super) digest: Digest,
    pub(super) release: Release,
    /// The trusted key's name.
    pub(super) key: String,
}

impl VerifiedRelease {
    /// Returns the repository of the platform's releases.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the manifest's digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the document.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Returns the name of the key that signed it.
    pub fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(test)]
impl VerifiedRelease {
    /// Makes a release that nobody verified, for the tests of those who take one.
    pub(crate) fn unchecked(repository: Repository, digest: Digest, release: Release) -> Self {
        Self { repository, digest, release, key: "release-2026".into() }
    }
}
