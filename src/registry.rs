//! Where images are kept: one interface, two places: a remote registry and an OCI layout directory.
//!
//! Everything that comes back is untrusted: bounded in size and checked against its digest before it
//! is returned. Nothing here decides whether an image is good.

pub mod layout;
mod referrers;
pub mod remote;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::failure::Failure;

/// Largest manifest or index that is read, in bytes (the distribution specification's own limit).
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// A content descriptor (OCI image specification, "Content Descriptors"), the fields that are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

/// What to ask a manifest by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestReference {
    Tag(Tag),
    Digest(Digest),
}

/// A manifest as it is stored; `digest` was computed from `bytes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
}

/// The content of a blob that is about to be stored.
#[derive(Debug, Clone)]
pub enum BlobContent {
    Bytes(Bytes),
    File(PathBuf),
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("`{place}` does not answer after {attempts} {}", if *attempts == 1 { "attempt" } else { "attempts" })]
    Unreachable {
        place: String,
        attempts: u32,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("there is no safe connection to `{place}`")]
    Unsafe {
        place: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("`{place}` answered {status} to {what}")]
    Answered { place: String, what: String, status: u16, body: String },
    #[error("`{place}` refuses {} for `{repository}`", if auth_file.is_some() { "the credentials" } else { "access without credentials" })]
    Unauthorized { place: String, repository: String, auth_file: Option<PathBuf> },
    #[error("`{place}` returned other bytes for `{what}`: expected sha256:{}…, found sha256:{}…", expected.short(), found.short())]
    WrongDigest { place: String, what: String, expected: Digest, found: Digest },
    #[error("`{place}` returned more than {limit} bytes for `{what}`")]
    TooLarge { place: String, what: String, limit: u64 },
    #[error("`{place}` returned what is not {expected}: {what}")]
    Malformed { place: String, what: String, expected: &'static str },
    #[error("`{place}` has no room: {what}")]
    NoRoom { place: String, what: String },
    #[error("the content of {what} is not as declared: expected {expected}, found {found}")]
    NotAsDeclared { what: String, expected: String, found: String },
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{what}")]
    Settings { what: String },
    #[error("cannot {what}")]
    SettingsFile {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

const SETTINGS_HINT: &str = "mend that file or name another: as `ca` or `auth_file` under `[store]` in the host settings, or with `--ca` or `--auth-file`";

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let what = error.to_string();
        match error {
            StoreError::Unreachable { source, .. } => Failure::system(what).because_of(source.as_ref()).hint(
                "check that the registry runs and that this is its name (`registry` under `[store]` in the host settings), then try again",
            ),
            StoreError::Unsafe { source, .. } => Failure::system(what).because_of(source.as_ref()).hint(
                "look whether this is the registry that is meant; the CA that certifies it is named as `ca` under `[store]` in the host settings, or with `--ca`",
            ),
            StoreError::Answered { body, .. } => {
                let failure = if body.is_empty() {
                    Failure::system(what)
                } else {
                    Failure::system(what).because(body)
                };
                failure.hint("see the registry's own log for this request, then try again")
            }
            StoreError::Unauthorized { place, repository, auth_file: Some(path) } => {
                Failure::system(what).hint(format!(
                    "check the entry for `{place}` in `{}`, and what its user may do in `{repository}`",
                    path.display()
                ))
            }
            StoreError::Unauthorized { place, auth_file: None, .. } => Failure::system(what).hint(format!(
                "write the credentials for `{place}` into a file in the form of Docker's config.json, mode 0600, and name it as `auth_file` under `[store]` in the host settings, or with `--auth-file`"
            )),
            StoreError::WrongDigest { .. } => Failure::system(what).hint(
                "nothing of it was used; find out what alters the content: the registry's disk, a proxy before it, or somebody",
            ),
            StoreError::TooLarge { .. } => Failure::system(what)
                .hint("nothing of it was used; look at what was pushed under this name, and by whom"),
            StoreError::Malformed { .. } => Failure::system(what).hint(
                "check that the place is an OCI registry or layout, and look for a proxy that answers in its stead",
            ),
            StoreError::NoRoom { .. } => Failure::system(what)
                .hint("free space there or raise its limit for uploads, then try again; nothing names the part that was sent"),
            StoreError::NotAsDeclared { .. } => Failure::internal(what),
            StoreError::Io { source, .. } => Failure::system(what)
                .because(source)
                .hint("check that the path exists and that this user may read and write it, then try again"),
            StoreError::Settings { .. } => {
                Failure::usage(what).hint("mend `[store]` in the host settings, or the file that it or the flag names")
            }
            StoreError::SettingsFile { source, .. } => {
                Failure::usage(what).because(source).hint(SETTINGS_HINT)
            }
        }
    }
}

/// Returns the descriptor of a manifest that is small enough to be stored.
fn checked_manifest(media_type: &str, bytes: &Bytes) -> Result<Descriptor, StoreError> {
    let size = bytes.len() as u64;
    if size > MAX_MANIFEST_BYTES {
        return Err(StoreError::NotAsDeclared {
            what: "a manifest".to_owned(),
            expected: format!("at most {MAX_MANIFEST_BYTES} bytes"),
            found: format!("{size} bytes"),
        });
    }
    let digest = Digest::of(bytes);
    Ok(Descriptor { media_type: media_type.to_owned(), digest, size, artifact_type: None, annotations: None })
}

/// A place for images.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// Returns the place's name for texts: a registry host or a directory.
    fn place(&self) -> String;

    /// Returns the docker-reference without a tag, as simple signing payloads carry it.
    fn docker_reference(&self, repository: &Repository) -> String;

    /// Returns whether the blob is there.
    async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError>;

    /// Stores a blob unless it is there; the place must end with exactly these bytes.
    async fn put_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        content: BlobContent,
    ) -> Result<(), StoreError>;

    /// Returns a blob of at most `limit` bytes, checked against its digest; `None` when absent.
    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError>;

    /// Writes a blob of exactly `size` bytes into the new file `path`, checked against its digest while it
    /// is streamed; returns whether the blob is there. What is not whole leaves no file.
    async fn blob_to_file(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        path: &Path,
    ) -> Result<bool, StoreError>;

    /// Returns a manifest or index; by digest it is checked, by tag its digest is computed.
    async fn manifest(
        &self,
        repository: &Repository,
        reference: &ManifestReference,
    ) -> Result<Option<StoredManifest>, StoreError>;

    /// Stores a manifest by its digest and, where one is given, under a tag.
    async fn put_manifest(
        &self,
        repository: &Repository,
        media_type: &str,
        bytes: Bytes,
        tag: Option<&Tag>,
    ) -> Result<Digest, StoreError>;

    /// Returns the descriptors that claim `subject` as their subject: hints, at most `limit` of them.
    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        limit: usize,
    ) -> Result<Vec<Descriptor>, StoreError>;

    /// Stores a manifest that has a `subject` field and makes it findable as a referrer of `subject`:
    /// through the referrers API where the place has one, else through the fallback tag.
    async fn put_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, StoreError>;

    /// Returns at most `limit` tags in byte order.
    async fn tags(&self, repository: &Repository, limit: usize) -> Result<Vec<Tag>, StoreError>;
}
