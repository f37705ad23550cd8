//! Stores a signed release and the evidence of its images by digest, then reads all of it back.
//!
//! No tag is written here. A release that was not read back cannot be promoted:
//!
//! ```compile_fail,E0308
//! # use airlock::release::{promote::point, publish::PublishedRelease};
//! # use airlock::registry::ImageStore;
//! async fn promote(store: &dyn ImageStore, release: &PublishedRelease) {
//!     point(store, release, None, &|_| ()).await.unwrap();
//! }
//! ```
//!
//! Read back and verified, the same code compiles:
//!
//! ```no_run
//! # use airlock::release::{promote::point, publish::PromotableRelease};
//! # use airlock::registry::ImageStore;
//! async fn promote(store: &dyn ImageStore, release: &PromotableRelease) {
//!     point(store, release, None, &|_| ()).await.unwrap();
//! }
//! ```

use bytes::Bytes;
use time::OffsetDateTime;

use crate::delivery::push::{self, AfterWrite};
use crate::delivery::verify::{Completeness, VerifiedImage, store_failure, verify};
use crate::domain::digest::Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::layout::OCI_MANIFEST;
use crate::domain::image::Repository;
use crate::domain::release::{Release, ReleaseImage};
use crate::domain::trust::{Channel, TrustPolicy};
use crate::failure::{Failure, FailureKind, Outcome};
use crate::registry::{Descriptor, ImageStore, ManifestReference};
use crate::release::evidence::SignedRelease;
use crate::release::store::{self, EMPTY, VerifiedRelease};

/// A release that is stored with all its evidence, not yet read back.
#[derive(Debug)]
pub struct PublishedRelease {
    repository: Repository,
    digest: Digest,
}

/// A release that was read back and verified, with every image of it: what a channel may name.
///
/// Only [`verify_all`] makes one.
#[derive(Debug, Clone)]
pub struct PromotableRelease {
    release: VerifiedRelease,
    images: Vec<VerifiedImage>,
}

impl PromotableRelease {
    /// Returns the release.
    pub fn release(&self) -> &VerifiedRelease {
        &self.release
    }

    /// Returns its images, as the document lists them.
    pub fn images(&self) -> &[VerifiedImage] {
        &self.images
    }
}

/// Stores everything by digest.
///
/// Writes are named `release-document`, `release-manifest`, `sig`, `sig-bundle`, then for each image `att`
/// and its bundles.
pub async fn publish(
    store: &dyn ImageStore,
    signed: &SignedRelease,
    after_write: AfterWrite<'_>,
) -> Outcome<PublishedRelease> {
    let composed = &signed.composed;
    let repository = &composed.repository;
    push::put_bytes(store, repository, Bytes::from_static(EMPTY)).await?;
    push::put_bytes(store, repository, Bytes::from(composed.document.clone())).await?;
    after_write("release-document");
    let failed = store_failure("store the release");
    let stored = store
        .put_manifest(repository, OCI_MANIFEST, composed.manifest.clone(), None)
        .await
        .map_err(&failed)?;
    let digest = composed.digest();
    if stored != digest {
        return Err(Failure::system(format!("{} stored another release than it was given", store.place()))
            .because(format!("expected {digest}, found {stored}")));
    }
    after_write("release-manifest");
    let subject = descriptor(OCI_MANIFEST, digest.clone(), composed.manifest.len());
    push::attach_signature(store, repository, &subject, &signed.signature, after_write).await?;
    for (image, attestations) in composed.images.iter().zip(&signed.attestations) {
        let manifest = image.manifest();
        let subject = descriptor(&manifest.media_type, manifest.digest.clone(), manifest.bytes.len());
        push::attach_attestations(store, image.repository(), &subject, attestations, after_write).await?;
    }
    Ok(PublishedRelease { repository: repository.clone(), digest })
}

fn descriptor(media_type: &str, digest: Digest, size: usize) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size: size as u64,
        artifact_type: None,
        annotations: None,
    }
}

impl PublishedRelease {
    /// Reads everything back and verifies it as a client would.
    pub async fn verify(
        &self,
        store: &dyn ImageStore,
        policy: &TrustPolicy,
        prefix: Option<&Repository>,
        now: OffsetDateTime,
    ) -> Outcome<PromotableRelease> {
        let reference = ManifestReference::Digest(self.digest.clone());
        let release = store::read(store, policy, &self.repository, &reference, now).await?;
        verify_all(store, policy, prefix, release, now).await
    }
}

/// Verifies every image of a release for the channel `candidate`.
pub async fn verify_all(
    store: &dyn ImageStore,
    policy: &TrustPolicy,
    prefix: Option<&Repository>,
    release: VerifiedRelease,
    now: OffsetDateTime,
) -> Outcome<PromotableRelease> {
    let listed = images_of(release.release());
    let reading = listed.iter().map(|image| async move {
        let repository = image.repository.below(prefix);
        let reference = ManifestReference::Digest(image.manifest.clone());
        let channel = Channel::Candidate;
        let verified =
            verify(store, &repository, &reference, policy, channel, Completeness::BothFormats, now).await?;
        same_evidence(image, &verified)?;
        Outcome::Ok(verified)
    });
    let images = futures_util::future::try_join_all(reading).await?;
    Ok(PromotableRelease { release, images })
}

/// Returns every image of a release, in the document's order.
pub fn images_of(release: &Release) -> Vec<&ReleaseImage> {
    release.components.iter().flat_map(|component| &component.images).collect()
}

/// Checks that the release speaks of evidence that is there.
///
/// A rerun of the component's job may have added further evidence of the same kinds: then the document's
/// own must still be among what verifies, which the policy's choice shows only for the chosen one.
fn same_evidence(listed: &ReleaseImage, verified: &VerifiedImage) -> Outcome<()> {
    let verdict = verified.verdict();
    let expected = [
        (EvidenceKind::Spdx, &listed.evidence.spdx),
        (EvidenceKind::CycloneDx, &listed.evidence.cyclonedx),
        (EvidenceKind::Provenance, &listed.evidence.provenance),
        (EvidenceKind::TestResult, &listed.evidence.test_result),
    ];
    let lost: Vec<String> = expected
        .into_iter()
        .filter(|(kind, digest)| verdict.evidence_of(*kind).is_some() && !verdict.has_envelope(*kind, digest))
        .map(|(kind, digest)| format!("`{kind}` sha256:{}… of `{}`", digest.short(), listed.repository))
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(
        FailureKind::Refused {
            stage: crate::failure::EXIT_REFUSED_BY_PUBLISH_POLICY,
            cli: crate::failure::CLI_EVIDENCE_MISSING,
        },
        format!("evidence that the release names is not there any more: `{}`", listed.repository),
    );
    Err(lost
        .into_iter()
        .fold(failure, Failure::because)
        .hint("ask the registry's administrator who removed it; a new hub run makes a new release"))
}
