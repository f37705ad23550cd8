//! An OCI layout directory per repository (OCI image specification, "Image Layout"), no server at all.
//!
//! `skopeo inspect oci:<dir>/<repository>:<tag>` reads what is written here. Files appear whole or not
//! at all, no symbolic link is followed, and what is read is bounded and checked.

mod files;
mod index;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use self::files::Directory;
use self::index::Index;
use super::{
    BlobContent, Descriptor, ImageStore, MAX_MANIFEST_BYTES, ManifestReference, StoreError, StoredManifest,
    referrers,
};
use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A directory with one OCI layout for each repository.
#[derive(Clone)]
pub struct LayoutDirectory {
    root: Arc<Root>,
}

struct Root {
    path: PathBuf,
    directory: Directory,
    uploads: OnceLock<Directory>,
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

impl Root {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self, what: String, source: std::io::Error) -> StoreError {
        match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
                StoreError::NoRoom { place: self.place(), what: format!("cannot {what}") }
            }
            _ => StoreError::Io { what, source },
        }
    }

    /// Returns where files grow until they are whole; a name that no repository can have.
    fn uploads(&self) -> Result<&Directory, StoreError> {
        if let Some(uploads) = self.uploads.get() {
            return Ok(uploads);
        }
        let make = || {
            let uploads = self.directory.make_child(".uploads")?;
            uploads.sweep()?;
            Ok(uploads)
        };
        let uploads = make().map_err(|source| self.failed(format!("write in `{}`", self.place()), source))?;
        Ok(self.uploads.get_or_init(|| uploads))
    }

    /// Walks to the repository's layout; `None` when it is absent and not to be created.
    fn layout(&self, repository: &Repository, create: Create) -> Result<Option<Directory>, StoreError> {
        let name = repository.as_str();
        // A repository below another one lies in its layout, so the layout's own names are taken.
        if let Some(part) = name.split('/').find(|part| ["blobs", "index.json", "oci-layout"].contains(part))
        {
            return Err(StoreError::Settings {
                what: format!(
                    "the repository `{name}` cannot be kept in a layout directory: `{part}` is a name that layouts use themselves"
                ),
            });
        }
        let failed = |source| self.failed(format!("open `{}/{name}`", self.place()), source);
        let mut here: Option<Directory> = None;
        for part in name.split('/') {
            let from = here.as_ref().unwrap_or(&self.directory);
            here = match create {
                Create::Yes => Some(from.make_child(part).map_err(failed)?),
                Create::No => match from.child(part).map_err(failed)? {
                    Some(child) => Some(child),
                    None => return Ok(None),
                },
            };
        }
        if let (Create::Yes, Some(layout)) = (create, &here)
            && layout.read("oci-layout", 1024).map_err(failed)?.is_none()
        {
            layout.write(self.uploads()?, "oci-layout", LAYOUT).map_err(failed)?;
        }
        Ok(here)
    }

    fn made_layout(&self, repository: &Repository) -> Result<Directory, StoreError> {
        Ok(self.layout(repository, Create::Yes)?.expect("a layout that is made is there"))
    }

    fn blobs(&self, layout: &Directory) -> Result<Option<Directory>, StoreError> {
        let open = || match layout.child("blobs")? {
            Some(blobs) => blobs.child("sha256"),
            None => Ok(None),
        };
        open().map_err(|source| self.failed(format!("open the blobs in `{}`", self.place()), source))
    }

    fn made_blobs(&self, layout: &Directory) -> Result<Directory, StoreError> {
        layout
            .make_child("blobs")
            .and_then(|blobs| blobs.make_child("sha256"))
            .map_err(|source| self.failed(format!("create the blobs in `{}`", self.place()), source))
    }

    fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(layout) = self.layout(repository, Create::No)? else { return Ok(None) };
        let Some(blobs) = self.blobs(&layout)? else { return Ok(None) };
        let what = || format!("{repository}@{digest}");
        let read = blobs.read(digest.hex(), limit);
        let bytes = match read.map_err(|source| self.failed(format!("read `{}`", what()), source))? {
            None => return Ok(None),
            Some(files::Content::TooLarge) => {
                return Err(StoreError::TooLarge { place: self.place(), what: what(), limit });
            }
            Some(files::Content::Whole(bytes)) => bytes,
        };
        let found = Digest::of(&bytes);
        if found != *digest {
            let (place, expected) = (self.place(), digest.clone());
            return Err(StoreError::WrongDigest { place, what: what(), expected, found });
        }
        Ok(Some(bytes))
    }

    fn put_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        content: &BlobContent,
    ) -> Result<(), StoreError> {
        let what = format!("{repository}@{digest}");
        let failed = |source| self.failed(format!("write `{what}`"), source);
        let blobs = self.made_blobs(&self.made_layout(repository)?)?;
        if blobs.holds(digest, size).map_err(failed)? {
            return Ok(());
        }
        let mut source: Box<dyn Read> =
            match content {
                BlobContent::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes.clone())),
                BlobContent::File(path) => Box::new(File::open(path).map_err(|source| StoreError::Io {
                    what: format!("read `{}`", path.display()),
                    source,
                })?),
            };
        let (found, length) =
            blobs.write_checked(self.uploads()?, &mut source, digest, size).map_err(failed)?;
        let declared = |expected: String, found: String| {
            Err(StoreError::NotAsDeclared { what: format!("`{what}`"), expected, found })
        };
        if found != *digest {
            return declared(digest.to_string(), found.to_string());
        }
        if length != size {
            return declared(format!("{size} bytes"), format!("{length} bytes"));
        }
        Ok(())
    }

    fn index(&self, layout: &Directory, repository: &Repository) -> Result<Index, StoreError> {
        let what = || format!("{repository}/index.json");
        let limit = index::MAX_BYTES;
        let read = layout.read("index.json", limit);
        match read.map_err(|source| self.failed(format!("read `{}`", what()), source))? {
            None => Ok(Index::default()),
            Some(files::Content::TooLarge) => {
                Err(StoreError::TooLarge { place: self.place(), what: what(), limit })
            }
            Some(files::Content::Whole(bytes)) => Index::parse(&bytes).ok_or_else(|| StoreError::Malformed {
                place: self.place(),
                what: format!("`{}`", what()),
                expected: "an OCI image index",
            }),
        }
    }

    fn manifest(
        &self,
        repository: &Repository,
        reference: &ManifestReference,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let Some(layout) = self.layout(repository, Create::No)? else { return Ok(None) };
        let index = self.index(&layout, repository)?;
        let entry = match reference {
            ManifestReference::Tag(tag) => index.by_tag(tag),
            ManifestReference::Digest(digest) => index.by_digest(digest),
        };
        let digest = match (reference, &entry) {
            (ManifestReference::Digest(digest), _) => digest.clone(),
            (ManifestReference::Tag(_), Some(entry)) => entry.digest.clone(),
            (ManifestReference::Tag(_), None) => return Ok(None),
        };
        let Some(bytes) = self.blob(repository, &digest, MAX_MANIFEST_BYTES)? else { return Ok(None) };
        // Children of a multi-platform index that another tool wrote have no entry of their own; a
        // blob that does not call itself a manifest is none.
        let media_type = match entry {
            Some(entry) => entry.media_type,
            None => match declared_media_type(&bytes) {
                Some(media_type) => media_type,
                None => return Ok(None),
            },
        };
        Ok(Some(StoredManifest { media_type, digest, bytes }))
    }

    /// Stores the manifest's bytes and its entry, and moves `tag` to it, under the repository's lock.
    fn put_manifest(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        bytes: &Bytes,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        let layout = self.made_layout(repository)?;
        let _lock = self.lock(&layout, repository)?;
        self.put_manifest_locked(&layout, repository, descriptor, bytes, tag)
    }

    fn put_manifest_locked(
        &self,
        layout: &Directory,
        repository: &Repository,
        descriptor: &Descriptor,
        bytes: &Bytes,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        self.put_blob(repository, &descriptor.digest, descriptor.size, &BlobContent::Bytes(bytes.clone()))?;
        let mut index = self.index(layout, repository)?;
        if index.put(descriptor, tag) {
            layout.write(self.uploads()?, "index.json", &index.to_bytes()).map_err(|source| {
                self.failed(format!("write `{}/{repository}/index.json`", self.place()), source)
            })?;
        }
        Ok(())
    }

    fn put_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<Digest, StoreError> {
        let descriptor = referrers::descriptor_of(media_type, bytes, subject)?;
        let layout = self.made_layout(repository)?;
        let _lock = self.lock(&layout, repository)?;
        self.put_manifest_locked(&layout, repository, &descriptor, bytes, None)?;
        let tag = referrers::fallback_tag(subject);
        let present = self.manifest(repository, &ManifestReference::Tag(tag.clone()))?;
        if let Some(index) = referrers::with_entry(present.as_ref().map(|m| m.bytes.as_ref()), &descriptor) {
            let entry = checked_manifest(referrers::INDEX, &index)?;
            self.put_manifest_locked(&layout, repository, &entry, &index, Some(&tag))?;
        }
        Ok(descriptor.digest)
    }

    fn lock(&self, layout: &Directory, repository: &Repository) -> Result<File, StoreError> {
        layout.lock().map_err(|source| self.failed(format!("lock `{}/{repository}`", self.place()), source))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Create {
    Yes,
    No,
}

fn declared_media_type(bytes: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let media_type = document.get("mediaType")?.as_str()?;
    let known = ["manifest.v1+json", "index.v1+json", "manifest.v2+json", "manifest.list.v2+json"];
    known.iter().any(|end| media_type.ends_with(end)).then(|| media_type.to_owned())
}

/// Returns the descriptor of a manifest that is small enough to be stored.
pub(super) fn checked_manifest(media_type: &str, bytes: &Bytes) -> Result<Descriptor, StoreError> {
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
