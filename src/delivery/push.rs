//! Stores a signed image and its evidence; no tag that a person would pull is written here.
//!
//! The order is fixed: blobs, config, manifest by digest, attestations, signature. A death between any
//! two writes leaves no image that a tag names, and the same call again completes it.
//!
//! An image without signed evidence cannot be pushed:
//!
//! ```compile_fail,E0308
//! # use airlock::delivery::{push::push_image, sign::{SignedImage, UnsignedImage}};
//! # use airlock::registry::ImageStore;
//! async fn push(store: &dyn ImageStore, image: &UnsignedImage) {
//!     push_image(store, image, &|_| ()).await.unwrap();
//! }
//! ```
//!
//! With it, the same code compiles:
//!
//! ```no_run
//! # use airlock::delivery::{push::push_image, sign::{SignedImage, UnsignedImage}};
//! # use airlock::registry::ImageStore;
//! async fn push(store: &dyn ImageStore, image: &SignedImage) {
//!     push_image(store, image, &|_| ()).await.unwrap();
//! }
//! ```

mod bundles;
mod legacy;
#[cfg(test)]
pub(crate) mod memory;

use std::collections::BTreeMap;

use bytes::Bytes;
use time::OffsetDateTime;

use super::sign::{SignedAttestations, SignedEvidence, SignedImage, SubjectSignature};
use super::verify::{Completeness, VerifiedImage, store_failure, verify};
use crate::domain::digest::Digest;
use crate::domain::evidence::{EvidenceKind, PREDICATE_COSIGN_SIGN};
use crate::domain::image::Repository;
use crate::domain::trust::{Channel, TrustPolicy};
use crate::failure::{Failure, Outcome};
use crate::registry::{BlobContent, Descriptor, ImageStore, ManifestReference};

/// Called with the name of each write after it succeeded.
///
/// Names in order: `blob` for each layer, `config`, `manifest`, `att`, `att-bundle-1` to `-4`, `sig`,
/// `sig-bundle`.
pub type AfterWrite<'a> = &'a (dyn Fn(&str) + Sync);

/// An image that is stored by digest and has no evidence yet; only [`push_image`] makes one.
#[derive(Debug)]
pub struct PushedImage<'a> {
    signed: &'a SignedImage,
    subject: Descriptor,
}

/// An image that is stored with all its evidence, not yet read back; only [`publish_evidence`] makes one.
#[derive(Debug, Clone)]
pub struct PublishedImage {
    repository: Repository,
    digest: Digest,
    evidence: BTreeMap<EvidenceKind, Digest>,
}

impl PublishedImage {
    /// Returns the repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the manifest's digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the digests of the DSSE envelopes.
    pub fn evidence(&self) -> &BTreeMap<EvidenceKind, Digest> {
        &self.evidence
    }

    /// Reads the image back by digest and verifies it in both of Cosign's forms.
    pub async fn verify(
        &self,
        store: &dyn ImageStore,
        policy: &TrustPolicy,
        channel: Channel,
        now: OffsetDateTime,
    ) -> Outcome<VerifiedImage> {
        let reference = ManifestReference::Digest(self.digest.clone());
        verify(store, &self.repository, &reference, policy, channel, Completeness::BothFormats, now).await
    }
}

/// Stores image and evidence in the fixed order.
pub async fn publish(
    store: &dyn ImageStore,
    image: &SignedImage,
    after_write: AfterWrite<'_>,
) -> Outcome<PublishedImage> {
    let pushed = push_image(store, image, after_write).await?;
    publish_evidence(store, pushed, after_write).await
}

/// Stores layers, config and manifest, the manifest by digest alone.
pub async fn push_image<'a>(
    store: &dyn ImageStore,
    signed: &'a SignedImage,
    after_write: AfterWrite<'_>,
) -> Outcome<PushedImage<'a>> {
    let image = signed.image();
    let repository = &image.repository;
    let failed = store_failure("store the image");
    for (digest, size, content) in &image.layers {
        store.put_blob(repository, digest, *size, content.clone()).await.map_err(&failed)?;
        after_write("blob");
    }
    put_bytes(store, repository, image.config.clone()).await?;
    after_write("config");
    let size = image.manifest.len() as u64;
    let stored = store
        .put_manifest(repository, &image.manifest_media_type, image.manifest.clone(), None)
        .await
        .map_err(&failed)?;
    let digest = signed.evidence().subject();
    if stored != *digest {
        return Err(Failure::system(format!("{} stored another image than it was given", store.place()))
            .because(format!("expected {digest}, found {stored}")));
    }
    after_write("manifest");
    let subject = Descriptor {
        media_type: image.manifest_media_type.clone(),
        digest: stored,
        size,
        artifact_type: None,
        annotations: None,
    };
    Ok(PushedImage { signed, subject })
}

/// Stores the evidence of a pushed image: attestations in both forms, then the signature in both.
///
/// Entries of others stay. What an earlier try stored and our key signed is used, not stored again, so
/// that both forms hold one and the same envelope.
pub async fn publish_evidence(
    store: &dyn ImageStore,
    pushed: PushedImage<'_>,
    after_write: AfterWrite<'_>,
) -> Outcome<PublishedImage> {
    let PushedImage { signed, subject } = pushed;
    let repository = &signed.image().repository;
    let evidence: &SignedEvidence = signed.evidence();
    let envelopes =
        attach_attestations(store, repository, &subject, &evidence.attestations, after_write).await?;
    attach_signature(store, repository, &subject, &evidence.signature, after_write).await?;
    Ok(PublishedImage { repository: repository.clone(), digest: subject.digest, evidence: envelopes })
}

/// Stores attestations about `subject` in both forms; returns the digests of the envelopes that stand there.
///
/// Writes are named `att`, then `att-bundle-1` and so on.
pub async fn attach_attestations(
    store: &dyn ImageStore,
    repository: &Repository,
    subject: &Descriptor,
    attestations: &SignedAttestations,
    after_write: AfterWrite<'_>,
) -> Outcome<BTreeMap<EvidenceKind, Digest>> {
    let stored = legacy::put_attestations(store, repository, attestations).await?;
    after_write("att");
    let mut envelopes = BTreeMap::new();
    for (number, (kind, envelope)) in (1..).zip(stored) {
        envelopes.insert(kind, envelope.digest());
        let bundle = attestations.bundle(envelope);
        bundles::put(store, repository, subject, kind.predicate_type(), &bundle, &attestations.key).await?;
        after_write(&format!("att-bundle-{number}"));
    }
    Ok(envelopes)
}

/// Stores the signature of `subject` in both forms; writes are named `sig` and `sig-bundle`.
pub async fn attach_signature(
    store: &dyn ImageStore,
    repository: &Repository,
    subject: &Descriptor,
    signature: &SubjectSignature,
    after_write: AfterWrite<'_>,
) -> Outcome<()> {
    legacy::put_signature(store, repository, signature).await?;
    after_write("sig");
    bundles::put(store, repository, subject, PREDICATE_COSIGN_SIGN, &signature.bundle(), &signature.key)
        .await?;
    after_write("sig-bundle");
    Ok(())
}

pub(crate) async fn put_bytes(
    store: &dyn ImageStore,
    repository: &Repository,
    bytes: Bytes,
) -> Outcome<(Digest, u64)> {
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    store
        .put_blob(repository, &digest, size, BlobContent::Bytes(bytes))
        .await
        .map_err(store_failure("store the image"))?;
    Ok((digest, size))
}

#[cfg(test)]
mod tests;
