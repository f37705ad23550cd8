//! An OCI layout directory per repository (OCI image specification, "Image Layout"), no server at all.
//!
//! `skopeo inspect oci:<dir>/<repository>:<tag>` reads what is written here. Files appear whole or not
//! at all, no symbolic link is followed, and what is read is bounded and checked.

mod files;
mod index;
mod root;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;

use self::files::Directory;
use self::root::{Create, Root};
use super::{
    BlobContent, Descriptor, ImageStore, ManifestReference, StoreError, StoredManifest, checked_manifest,
    referrers,
};
use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};

/// A directory with one OCI layout for each repository.
#[derive(Clone)]
pub struct LayoutDirectory {
    root: Arc<Root>,
}

impl LayoutDirectory {
    /// Opens the directory, creating it where it is absent.
    pub fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io { what: format!("open the store `{}`", dir.display()), source };
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let directory = Directory::open(&dir).map_err(failed)?;
        Ok(Self { root: Arc::new(Root { path: dir, directory, uploads: OnceLock::new() }) })
    }

    async fn with<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Root) -> Result<T, StoreError> + Send + 'static,
    {
        let root = self.root.clone();
        match tokio::task::spawn_blocking(move || work(&root)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(StoreError::Io {
                what: format!("finish the work in `{}`", self.place()),
                source: std::io::Error::other(error),
            }),
        }
    }
}

#[async_trait]
impl ImageStore for LayoutDirectory {
    fn place(&self) -> String {
        self.root.place()
    }

    fn docker_reference(&self, repository: &Repository) -> String {
        // A directory has no host; `localhost` keeps tools from completing it to a public registry.
        format!("localhost/{repository}")
    }

    async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.with(move |root| {
            let Some(layout) = root.layout(&repository, Create::No)? else { return Ok(false) };
            let Some(blobs) = root.blobs(&layout)? else { return Ok(false) };
            blobs
                .has(digest.hex())
                .map_err(|source| root.failed(format!("look for `{repository}@{digest}`"), source))
        })
        .await
    }

    async fn put_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        content: BlobContent,
    ) -> Result<(), StoreError> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.with(move |root| root.put_blob(&repository, &digest, size, &content)).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.with(move |root| root.blob(&repository, &digest, limit)).await
    }

    async fn blob_to_file(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        path: &Path,
    ) -> Result<bool, StoreError> {
        let (repository, digest, path) = (repository.clone(), digest.clone(), path.to_owned());
        self.with(move |root| root.blob_to_file(&repository, &digest, size, &path)).await
    }

    async fn manifest(
        &self,
        repository: &Repository,
        reference: &ManifestReference,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let (repository, reference) = (repository.clone(), reference.clone());
        self.with(move |root| root.manifest(&repository, &reference)).await
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        media_type: &str,
        bytes: Bytes,
        tag: Option<&Tag>,
    ) -> Result<Digest, StoreError> {
        let descriptor = checked_manifest(media_type, &bytes)?;
        let digest = descriptor.digest.clone();
        let (repository, tag) = (repository.clone(), tag.cloned());
        self.with(move |root| root.put_manifest(&repository, &descriptor, &bytes, tag.as_ref())).await?;
        Ok(digest)
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        limit: usize,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let tag = ManifestReference::Tag(referrers::fallback_tag(subject));
        let index = self.manifest(repository, &tag).await?;
        let entries = index.and_then(|index| referrers::entries(&index.bytes)).unwrap_or_default();
        Ok(referrers::descriptors(entries, limit))
    }

    async fn put_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, StoreError> {
        checked_manifest(media_type, &bytes)?;
        let (repository, subject, media_type) = (repository.clone(), subject.clone(), media_type.to_owned());
        self.with(move |root| root.put_referrer(&repository, &subject, &media_type, &bytes)).await
    }

    async fn tags(&self, repository: &Repository, limit: usize) -> Result<Vec<Tag>, StoreError> {
        let repository = repository.clone();
        self.with(move |root| {
            let Some(layout) = root.layout(&repository, Create::No)? else { return Ok(Vec::new()) };
            let mut tags = root.index(&layout, &repository)?.tags();
            tags.truncate(limit);
            Ok(tags)
        })
        .await
    }
}
