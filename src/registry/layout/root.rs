//! The work on one layout directory, all of it blocking: blobs, the index, tags and referrers.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::Value;

use super::files::{self, Directory};
use super::index::{self, Index};
use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::registry::{
    BlobContent, Descriptor, MAX_MANIFEST_BYTES, ManifestReference, StoreError, StoredManifest,
    checked_manifest, referrers,
};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The open directory.
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) directory: Directory,
    pub(super) uploads: OnceLock<Directory>,
}

impl Root {
    pub(super) fn place(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn failed(&self, what: String, source: std::io::Error) -> StoreError {
        match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
                StoreError::NoRoom { place: self.place(), what: format!("cannot {what}") }
            }
            _ => StoreError::Io { what, source },
        }
    }

    /// Returns where files grow until they are whole; a name that no repository can have.
    pub(super) fn uploads(&self) -> Result<&Directory, StoreError> {
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
    pub(super) fn layout(
        &self,
        repository: &Repository,
        create: Create,
    ) -> Result<Option<Directory>, StoreError> {
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

    pub(super) fn made_layout(&self, repository: &Repository) -> Result<Directory, StoreError> {
        Ok(self.layout(repository, Create::Yes)?.expect("a layout that is made is there"))
    }

    pub(super) fn blobs(&self, layout: &Directory) -> Result<Option<Directory>, StoreError> {
        let open = || match layout.child("blobs")? {
            Some(blobs) => blobs.child("sha256"),
            None => Ok(None),
        };
        open().map_err(|source| self.failed(format!("open the blobs in `{}`", self.place()), source))
    }

    pub(super) fn made_blobs(&self, layout: &Directory) -> Result<Directory, StoreError> {
        layout
            .make_child("blobs")
            .and_then(|blobs| blobs.make_child("sha256"))
            .map_err(|source| self.failed(format!("create the blobs in `{}`", self.place()), source))
    }

    pub(super) fn blob(
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

    pub(super) fn blob_to_file(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        path: &Path,
    ) -> Result<bool, StoreError> {
        let Some(layout) = self.layout(repository, Create::No)? else { return Ok(false) };
        let Some(blobs) = self.blobs(&layout)? else { return Ok(false) };
        let what = format!("{repository}@{digest}");
        let failed = |source| self.failed(format!("copy `{what}` to `{}`", path.display()), source);
        let Some((found, length)) = blobs.copy_to(digest.hex(), path, size).map_err(failed)? else {
            return Ok(false);
        };
        let place = self.place();
        let checked = if length > size {
            Err(StoreError::TooLarge { place, what, limit: size })
        } else if found != *digest {
            Err(StoreError::WrongDigest { place, what, expected: digest.clone(), found })
        } else {
            Ok(true)
        };
        if checked.is_err() {
            let _ = std::fs::remove_file(path);
        }
        checked
    }

    pub(super) fn put_blob(
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

    pub(super) fn index(&self, layout: &Directory, repository: &Repository) -> Result<Index, StoreError> {
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

    pub(super) fn manifest(
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
    pub(super) fn put_manifest(
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

    pub(super) fn put_manifest_locked(
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

    pub(super) fn put_referrer(
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

    pub(super) fn lock(&self, layout: &Directory, repository: &Repository) -> Result<File, StoreError> {
        layout.lock().map_err(|source| self.failed(format!("lock `{}/{repository}`", self.place()), source))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Create {
    Yes,
    No,
}

fn declared_media_type(bytes: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let media_type = document.get("mediaType")?.as_str()?;
    let known = ["manifest.v1+json", "index.v1+json", "manifest.v2+json", "manifest.list.v2+json"];
    known.iter().any(|end| media_type.ends_with(end)).then(|| media_type.to_owned())
}
