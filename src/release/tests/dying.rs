//! A store around a layout that dies at its n-th write.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::registry::layout::LayoutDirectory;
use crate::registry::{BlobContent, Descriptor, ImageStore, ManifestReference, StoreError, StoredManifest};

/// A store that dies at its n-th write, as the process around it would.
pub(super) struct Dying<'a> {
    pub(super) inner: &'a LayoutDirectory,
    pub(super) writes_left: AtomicUsize,
}

impl Dying<'_> {
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
impl ImageStore for Dying<'_> {
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
        self.inner.put_manifest(repository, media_type, bytes, tag).await
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
        self.inner.put_referrer(repository, subject, media_type, bytes).await
    }

    async fn tags(&self, repository: &Repository, limit: usize) -> Result<Vec<Tag>, StoreError> {
        self.inner.tags(repository, limit).await
    }
}
