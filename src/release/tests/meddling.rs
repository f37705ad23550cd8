//! A store around a layout in which something goes wrong: it dies at its n-th write, it loses what it accepted,
//! or somebody else writes a tag a moment later.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::registry::layout::LayoutDirectory;
use crate::registry::{BlobContent, Descriptor, ImageStore, ManifestReference, StoreError, StoredManifest};

/// More writes than any promotion has.
pub(super) const ALL_WRITES: usize = 1000;

/// The store.
pub(super) struct Meddling<'a> {
    inner: &'a LayoutDirectory,
    /// At the next write after these it dies, as the process around it would.
    writes_left: AtomicUsize,
    /// Which manifests it says it has stored and has not.
    loses: fn(&Repository, Option<&Tag>) -> bool,
    /// What somebody else puts under a tag right after we have.
    overtaken: Option<(Tag, StoredManifest)>,
}

impl<'a> Meddling<'a> {
    pub(super) fn dying(inner: &'a LayoutDirectory, writes_left: usize) -> Self {
        Self { inner, writes_left: AtomicUsize::new(writes_left), loses: |_, _| false, overtaken: None }
    }

    pub(super) fn losing(inner: &'a LayoutDirectory, loses: fn(&Repository, Option<&Tag>) -> bool) -> Self {
        Self { loses, ..Self::dying(inner, ALL_WRITES) }
    }

    pub(super) fn overtaken(inner: &'a LayoutDirectory, tag: Tag, by: StoredManifest) -> Self {
        Self { overtaken: Some((tag, by)), ..Self::dying(inner, ALL_WRITES) }
    }

    /// Returns how many writes there were.
    pub(super) fn writes(&self) -> usize {
        ALL_WRITES - self.writes_left.load(Ordering::SeqCst)
    }

    fn write(&self) -> Result<(), StoreError> {
        let left = self.writes_left.load(Ordering::SeqCst);
        if left == 0 {
            let source = std::io::Error::other("killed");
            return Err(StoreError::Io { what: "write".into(), source });
        }
        self.writes_left.store(left - 1, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl ImageStore for Meddling<'_> {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn docker_reference(&self, repository: &Repository) -> String {
        self.inner.docker_reference(repository)
    }

    async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        self.inner.has_blob(repository, digest).await
    }

    async fn put_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        content: BlobContent,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.inner.put_blob(repository, digest, size, content).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        self.inner.blob(repository, digest, limit).await
    }

    async fn blob_to_file(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        path: &Path,
    ) -> Result<bool, StoreError> {
        self.inner.blob_to_file(repository, digest, size, path).await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        reference: &ManifestReference,
    ) -> Result<Option<StoredManifest>, StoreError> {
        self.inner.manifest(repository, reference).await
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        media_type: &str,
        bytes: Bytes,
        tag: Option<&Tag>,
    ) -> Result<Digest, StoreError> {
        self.write()?;
        if (self.loses)(repository, tag) {
            return Ok(Digest::of(&bytes));
        }
        let digest = self.inner.put_manifest(repository, media_type, bytes, tag).await?;
        if let Some((overtaken, by)) = &self.overtaken
            && tag == Some(overtaken)
        {
            self.inner.put_manifest(repository, &by.media_type, by.bytes.clone(), tag).await?;
        }
        Ok(digest)
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        limit: usize,
    ) -> Result<Vec<Descriptor>, StoreError> {
        self.inner.referrers(repository, subject, limit).await
    }

    async fn put_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, StoreError> {
        self.write()?;
        if (self.loses)(repository, None) {
            return Ok(Digest::of(&bytes));
        }
        self.inner.put_referrer(repository, subject, media_type, bytes).await
    }

    async fn tags(&self, repository: &Repository, limit: usize) -> Result<Vec<Tag>, StoreError> {
        self.inner.tags(repository, limit).await
    }
}
