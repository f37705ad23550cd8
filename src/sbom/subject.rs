//! The image that a document describes, and what is derived from it: identifiers and times.

use packageurl::PackageUrl;
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

use crate::domain::digest::Digest;

/// The name under which the documents name their maker.
pub(super) const TOOL: &str = "airlock";
/// The version under which the documents name their maker.
pub(super) const TOOL_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The image that a document describes.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Registry and repository, or a repository alone.
    pub repository: &'a str,
    pub manifest: &'a Digest,
    pub config: &'a Digest,
    /// The component's version, which is also the image's version tag.
    pub version: &'a str,
    /// The image's own time; the documents know no other.
    pub created: OffsetDateTime,
    /// The commit.
    pub revision: &'a str,
    /// Where the commit is from; an address, or any other name.
    pub source: &'a str,
    /// OCI's word, for example `amd64`.
    pub architecture: &'a str,
    /// Diff ids in manifest order.
    pub layers: &'a [Digest],
}

impl Subject<'_> {
    /// Returns the last part of the repository.
    pub(super) fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(self.repository)
    }

    /// Returns the time in the one form that both formats accept: UTC, whole seconds.
    pub(super) fn timestamp(&self) -> String {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let utc = self.created.to_offset(time::UtcOffset::UTC);
        utc.format(&form).expect("a date has a year, a month, a day and a time")
    }

    /// Returns the same identifier for the same image, version of this program and format.
    pub(super) fn uuid(&self, format: &str) -> Uuid {
        let name = format!("{TOOL}|{TOOL_VERSION}|{format}|{}|{}", self.repository, self.manifest);
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }

    /// Returns the image's package URL.
    pub(super) fn purl(&self) -> Option<String> {
        let mut purl = PackageUrl::new("oci", self.name().to_lowercase()).ok()?;
        purl.with_version(self.manifest.as_str()).ok()?;
        purl.add_qualifier("arch", self.architecture).ok()?;
        if self.repository.contains('/') {
            purl.add_qualifier("repository_url", self.repository).ok()?;
        }
        purl.add_qualifier("tag", self.version).ok()?;
        Some(purl.to_string())
    }

    /// Returns the source where it is an address that may be published: no user, no spaces.
    pub(super) fn source_address(&self) -> Option<&str> {
        let rest = self.source.strip_prefix("https://").or_else(|| self.source.strip_prefix("http://"))?;
        let host = rest.split('/').next().unwrap_or(rest);
        let plain = self.source.bytes().all(|b| b.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&b));
        (plain && !host.is_empty() && !host.contains('@')).then_some(self.source)
    }
}
