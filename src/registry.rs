//! Where images are kept: one interface, two places: a remote registry and an OCI layout directory.
//!
//! Everything that comes back is untrusted: bounded in size and checked against its digest before it
//! is returned. Nothing here decides whether an image is good.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};

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
    #[error("{place} does not answer after {attempts} attempts")]
    Unreachable {
        place: String,
        attempts: u32,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{place} answered {status} to {what}")]
    Answered { place: String, what: String, status: u16, body: String },
    #[error("{place} refuses the credentials for `{repository}`")]
    Unauthorized { place: String, repository: String },
    #[error("{place} returned other bytes for `{what}`: expected {expected}, found {found}")]
    WrongDigest { place: String, what: String, expected: Digest, found: Digest },
    #[error("{place} returned more than {limit} bytes for `{what}`")]
    TooLarge { place: String, what: String, limit: u64 },
    #[error("{place} returned what is not {expected}: {what}")]
    Malformed { place: String, what: String, expected: &'static str },
    #[error("{place} has no room: {what}")]
    NoRoom { place: String, what: String },
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{what}")]
    Settings { what: String },
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
