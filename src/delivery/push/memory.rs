//! A store in memory, for the tests of push and verify; it can be made to hold a hostile registry's answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::registry::{BlobContent, Descriptor, ImageStore, ManifestReference, StoreError, StoredManifest};

/// What the store holds; tests change it as somebody with push rights could.
#[derive(Default, Clone)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
    pub(crate) manifests: BTreeMap<Digest, (String, Bytes)>,
    pub(crate) tags: BTreeMap<Tag, Digest>,
    pub(crate) referrers: BTreeMap<Digest, Vec<Descriptor>>,
    /// Counts calls that read or write.
    pub(crate) calls: usize,
}

/// One repository in memory.
#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<Content>);

impl MemoryStore {
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    fn called(&self) -> MutexGuard<'_, Content> {
        let mut content = self.content();
        content.calls += 1;
        content
    }
}

#[async_trait]
impl ImageStore for MemoryStore {
    fn place(&self) -> String {
        "registry.example:5000".into()
    }

    fn docker_reference(&self, repository: &Repository) -> String {
        format!("registry.example:5000/{repository}")
    }

    async fn has_blob(&self, _: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.called().blobs.contains_key(digest))
    }

    async fn put_blob(
        &self,
        _: &Repository,
        digest: &Digest,
        size: u64,
        content: BlobContent,
    ) -> Result<(), StoreError> {
        let BlobContent::Bytes(bytes) = content else { panic!("tests store bytes") };
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest.clone(), size));
        self.called().blobs.insert(digest.clone(), bytes);
        Ok(())
    }

    async fn blob(&self, _: &Repository, digest: &Digest, limit: u64) -> Result<Option<Bytes>, StoreError> {
        let Some(bytes) = self.called().blobs.get(digest).cloned() else { return Ok(None) };
        let what = digest.to_string();
        if bytes.len() as u64 > limit {
            return Err(StoreError::TooLarge { place: self.place(), what, limit });
        }
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(StoreError::WrongDigest {
                place: self.place(),
                what,
                expected: digest.clone(),
                found,
            });
        }
        Ok(Some(bytes))
    }

    async fn blob_to_file(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        path: &std::path::Path,
    ) -> Result<bool, StoreError> {
        let found = self.blob(repository, digest, size).await?;
        Ok(found.map(|bytes| std::fs::write(path, bytes).unwrap()).is_some())
    }

    async fn manifest(
        &self,
        _: &Repository,
        reference: &ManifestReference,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let content = self.called();
        let digest = match reference {
            ManifestReference::Digest(digest) => Some(digest),
            ManifestReference::Tag(tag) => content.tags.get(tag),
        };
        Ok(digest.and_then(|digest| {
            let (media_type, bytes) = content.manifests.get(digest)?.clone();
            Some(StoredManifest { media_type, digest: Digest::of(&bytes), bytes })
        }))
    }

    async fn put_manifest(
        &self,
        _: &Repository,
        media_type: &str,
        bytes: Bytes,
        tag: Option<&Tag>,
    ) -> Result<Digest, StoreError> {
        let mut content = self.called();
        let digest = Digest::of(&bytes);
        content.manifests.insert(digest.clone(), (media_type.into(), bytes));
        if let Some(tag) = tag {
            content.tags.insert(tag.clone(), digest.clone());
        }
        Ok(digest)
    }

    async fn referrers(
        &self,
        _: &Repository,
        subject: &Digest,
        limit: usize,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let content = self.called();
        Ok(content.referrers.get(subject).into_iter().flatten().take(limit).cloned().collect())
    }

    async fn put_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, StoreError> {
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["subject"]["digest"], subject.as_str());
        let size = bytes.len() as u64;
        let digest = self.put_manifest(repository, media_type, bytes, None).await?;
        let descriptor = Descriptor {
            media_type: media_type.into(),
            digest: digest.clone(),
            size,
            artifact_type: value["artifactType"].as_str().map(str::to_owned),
            annotations: serde_json::from_value(value["annotations"].clone()).ok(),
        };
        let mut content = self.content();
        let listed = content.referrers.entry(subject.clone()).or_default();
        listed.retain(|known| known.digest != digest);
        listed.push(descriptor);
        Ok(digest)
    }

    async fn tags(&self, _: &Repository, limit: usize) -> Result<Vec<Tag>, StoreError> {
        Ok(self.called().tags.keys().take(limit).cloned().collect())
    }
}
