//! What is sent to a registry, through `oci-client`: blobs as one stream, manifests to the byte.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::token_cache::{RegistryToken, RegistryTokenType};
use oci_client::{Reference, RegistryOperation};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;

use super::RemoteRegistry;
use super::auth::{Access, Grant};
use super::retry::Trouble;
use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::registry::{BlobContent, Descriptor, StoreError};

const CHUNK: usize = 256 * 1024;

type Chunks = BoxStream<'static, Result<Bytes, OciDistributionError>>;

impl RemoteRegistry {
    /// Asks whether a blob is there, without its content.
    pub(super) async fn find_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let http = &self.http;
        http.policy
            .run(&http.place, 0, |number| async move {
                self.sign_in(repository, Access::Pull, number).await?;
                let image = self.by_digest(repository, digest);
                match self.client.blob_exists(&image, digest.as_str()).await {
                    Ok(found) => Ok(found),
                    Err(error) => {
                        let what = format!("a question for `{repository}@{digest}`");
                        Err(self.trouble(error, what, repository, Access::Pull, number).await)
                    }
                }
            })
            .await
    }

    /// Sends a blob in one stream; the last of it is held back until it is known to be what was declared.
    pub(super) async fn send_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        content: &BlobContent,
    ) -> Result<(), StoreError> {
        let http = &self.http;
        http.policy
            .run(&http.place, size, |number| async move {
                self.sign_in(repository, Access::Push, number).await?;
                let image = self.by_digest(repository, digest);
                let wrong = Arc::new(OnceLock::new());
                let chunks = match content {
                    BlobContent::Bytes(bytes) => {
                        declared(repository, digest, size, &Digest::of(bytes), bytes.len() as u64)?;
                        let bytes = bytes.clone();
                        stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed()
                    }
                    BlobContent::File(path) => file(path, digest, size, wrong.clone()).await?,
                };
                let sent = self.client.push_blob_stream(&image, chunks, digest.as_str(), Some(size)).await;
                if let Some((found, length)) = wrong.get() {
                    declared(repository, digest, size, found, *length)?;
                }
                match sent {
                    // Some registries send no location with the last answer.
                    Ok(_) => Ok(()),
                    Err(OciDistributionError::RegistryNoLocationError)
                        if self.find_blob(repository, digest).await? =>
                    {
                        Ok(())
                    }
                    Err(error) => {
                        let what = format!("the upload of `{repository}@{digest}` ({size} bytes)");
                        Err(self.trouble(error, what, repository, Access::Push, number).await)
                    }
                }
            })
            .await
    }

    /// Sends a manifest, by its digest or to a tag.
    pub(super) async fn send_manifest(
        &self,
        repository: &Repository,
        manifest: &Descriptor,
        bytes: &Bytes,
        tag: Option<&Tag>,
    ) -> Result<(), StoreError> {
        let Ok(content_type) = HeaderValue::from_str(&manifest.media_type) else {
            let expected = "a media type".to_owned();
            let found = manifest.media_type.escape_debug().take(100).collect();
            return Err(StoreError::NotAsDeclared { what: "a manifest".to_owned(), expected, found });
        };
        let (http, content_type) = (&self.http, &content_type);
        http.policy
            .run(&http.place, manifest.size, |number| async move {
                self.sign_in(repository, Access::Push, number).await?;
                let image = match tag {
                    Some(tag) => {
                        Reference::with_tag(http.place.clone(), repository.to_string(), tag.to_string())
                    }
                    None => self.by_digest(repository, &manifest.digest),
                };
                match self.client.push_manifest_raw(&image, bytes.clone(), content_type.clone()).await {
                    Ok(_) => Ok(()),
                    Err(error) => {
                        let name = match tag {
                            Some(tag) => format!("{repository}:{tag}"),
                            None => format!("{repository}@{}", manifest.digest),
                        };
                        let what = format!("the upload of `{name}`");
                        Err(self.trouble(error, what, repository, Access::Push, number).await)
                    }
                }
            })
            .await
    }

    /// The tag is never sent. `push_manifest_raw` panics on a registry that sends no location unless the
    /// URL ends with the reference's tag; the URL of a digest ends with its digits.
    fn by_digest(&self, repository: &Repository, digest: &Digest) -> Reference {
        Reference::with_tag_and_digest(
            self.http.place.clone(),
            repository.to_string(),
            digest.hex().to_owned(),
            digest.to_string(),
        )
    }

    /// Hands `oci-client` what it is to sign in with.
    async fn sign_in(&self, repository: &Repository, access: Access, number: u32) -> Result<(), Trouble> {
        let token = match self.auth.grant(&self.http, repository, access, number).await? {
            Grant::Nothing => return Ok(()),
            Grant::Basic(known) => RegistryTokenType::Basic(known.user, known.password),
            Grant::Bearer(token) => RegistryTokenType::Bearer(RegistryToken::Token { token }),
        };
        let image = Reference::with_tag(self.http.place.clone(), repository.to_string(), "unused".to_owned());
        let operation = match access {
            Access::Pull => RegistryOperation::Pull,
            Access::Push => RegistryOperation::Push,
        };
        // With an empty token of its own it never goes to a realm by itself, only uses what is handed over.
        let none = RegistryAuth::Bearer(String::new());
        self.client.store_auth_if_needed(image.resolve_registry(), &none).await;
        self.client.tokens.insert(&image, operation, token).await;
        Ok(())
    }

    async fn trouble(
        &self,
        error: OciDistributionError,
        what: String,
        repository: &Repository,
        access: Access,
        number: u32,
    ) -> Trouble {
        let (status, body) = match error {
            OciDistributionError::ServerError { code, message, .. } => (code, message),
            OciDistributionError::UnauthorizedError { .. } => (401, String::new()),
            OciDistributionError::RequestError(error) => match error.status() {
                Some(status) => (status.as_u16(), String::new()),
                None => return self.http.broken(error, number),
            },
            other => {
                return Trouble::Final(StoreError::Malformed {
                    place: self.http.place.clone(),
                    what: format!("{other}, in answer to {what}"),
                    expected: "an answer of the distribution specification",
                });
            }
        };
        match status {
            401 | 403 if !body.contains("quota") => {
                self.auth.refused(&self.http, repository, access, number).await
            }
            _ => self.http.answered(status, &HeaderMap::new(), what, body.into()),
        }
    }
}

fn declared(
    repository: &Repository,
    digest: &Digest,
    size: u64,
    found: &Digest,
    length: u64,
) -> Result<(), StoreError> {
    let wrong = |expected: String, found: String| {
        Err(StoreError::NotAsDeclared { what: format!("`{repository}@{digest}`"), expected, found })
    };
    if length != size {
        wrong(format!("{size} bytes"), format!("{length} bytes"))
    } else if found != digest {
        wrong(digest.to_string(), found.to_string())
    } else {
        Ok(())
    }
}

/// Streams a file; where it is not what was declared, says so in `wrong` and breaks off before the end.
async fn file(
    path: &Path,
    digest: &Digest,
    size: u64,
    wrong: Arc<OnceLock<(Digest, u64)>>,
) -> Result<Chunks, StoreError> {
    let failed = |source| StoreError::Io { what: format!("read `{}`", path.display()), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    // One byte more than declared is enough to know that there is more.
    let reader = file.take(size.saturating_add(1));
    let state = (reader, Sha256::new(), 0u64, digest.clone());
    let chunks = stream::try_unfold(Some(state), move |state| {
        let wrong = wrong.clone();
        async move {
            let Some((mut reader, mut hasher, mut length, digest)) = state else { return Ok(None) };
            let mut chunk = BytesMut::with_capacity(CHUNK);
            while chunk.len() < CHUNK && reader.read_buf(&mut chunk).await? > 0 {}
            hasher.update(&chunk);
            length += chunk.len() as u64;
            if length < size && !chunk.is_empty() {
                return Ok(Some((chunk.freeze(), Some((reader, hasher, length, digest)))));
            }
            // The chunk that completes the size, and the one byte that would be too many.
            let mut beyond = BytesMut::with_capacity(1);
            length += reader.read_buf(&mut beyond).await? as u64;
            let found = Digest::from_sha256(hasher.finalize().into());
            if length != size || found != digest {
                let _ = wrong.set((found, length));
                return Err(OciDistributionError::IoError(std::io::Error::other("not as declared")));
            }
            Ok((!chunk.is_empty()).then(|| (chunk.freeze(), None)))
        }
    });
    Ok(chunks.boxed())
}
