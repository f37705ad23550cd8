//! Stores a signed release and the evidence of its images by digest, then reads all of it back.
//!
//! No tag is written here. A release that was not read back cannot be promoted:
//!
//! ```compile_fail,E0308
//! # use airlock::release::{publish::PublishedRelease, tags::point};
//! # use airlock::registry::ImageStore;
//! async fn promote(store: &dyn ImageStore, release: &PublishedRelease) {
//!     point(store, release, None, &|_| ()).await.unwrap();
//! }
//! ```
//!
//! Read back and verified, the same code compiles:
//!
//! ```no_run
//! # use airlock::release::{publish::PromotableRelease, tags::point};
//! # use airlock::registry::ImageStore;
//! async fn promote(store: &dyn ImageStore, release: &PromotableRelease) {
//!     point(store, release, None, &|_| ()).await.unwrap();
//! }
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::delivery::push::{self, AfterWrite};
use crate::delivery::verify::{Completeness, VerifiedImage, store_failure, verify};
use crate::domain::digest::Digest;
use crate::domain::evidence::layout::OCI_MANIFEST;
use crate::domain::evidence::{EvidenceKind, Format};
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
    /// What was attached to each image: the envelopes that stand for what was signed.
    attached: Vec<(Digest, BTreeMap<EvidenceKind, Digest>)>,
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
    let mut attached = Vec::new();
    for (image, attestations) in composed.images.iter().zip(&signed.attestations) {
        let manifest = image.manifest();
        let subject = descriptor(&manifest.media_type, manifest.digest.clone(), manifest.bytes.len());
        let envelopes =
            push::attach_attestations(store, image.repository(), &subject, attestations, after_write).await?;
        attached.push((image.digest().clone(), envelopes));
    }
    Ok(PublishedRelease { repository: repository.clone(), digest, attached })
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
    ///
    /// # Errors
    /// Among the store's and the policy's: anything of what was just signed is not there in both forms, though
    /// an older promotion's evidence may be.
    pub async fn verify(
        &self,
        store: &dyn ImageStore,
        policy: &TrustPolicy,
        prefix: Option<&Repository>,
        now: OffsetDateTime,
    ) -> Outcome<PromotableRelease> {
        let reference = ManifestReference::Digest(self.digest.clone());
        let release = store::read(store, policy, &self.repository, &reference, now).await?;
        let signature = Format::ALL.into_iter().filter(|format| !release.formats().contains(format));
        let mut lost: Vec<String> = signature
            .map(|format| format!("the signature of `{}` in its {format} form", self.repository))
            .collect();
        let promotable = verify_all(store, policy, prefix, release, now).await?;
        for (digest, envelopes) in &self.attached {
            let Some(image) = promotable.images.iter().find(|image| image.digest() == digest) else {
                return Err(Failure::internal("an image that the release does not list got evidence"));
            };
            lost.extend(envelopes.iter().filter(|(kind, envelope)| !whole(image, **kind, envelope)).map(
                |(kind, envelope)| {
                    format!("`{kind}` sha256:{}… of `{}`", envelope.short(), image.repository())
                },
            ));
        }
        if lost.is_empty() {
            return Ok(promotable);
        }
        let failure =
            Failure::system(format!("`{}` does not have what it accepted a moment ago", store.place()));
        Err(lost.into_iter().fold(failure, Failure::because).hint(
            "run the job again; if it comes back, see the registry's own log for who else writes these evidence tags",
        ))
    }
}

/// Returns whether this very envelope is there in both forms, and accepted where the policy looks at its kind.
fn whole(image: &VerifiedImage, kind: EvidenceKind, envelope: &Digest) -> bool {
    image.forms_of(envelope).len() == Format::ALL.len() && accepted(image, kind, envelope)
}

/// Returns whether this very envelope is accepted, where the policy looks at its kind at all.
fn accepted(image: &VerifiedImage, kind: EvidenceKind, envelope: &Digest) -> bool {
    let verdict = image.verdict();
    verdict.evidence_of(kind).is_none() || verdict.has_envelope(kind, envelope)
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
        same_image(image, &verified)?;
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

/// Checks that the release says of an image what the image itself is.
fn same_image(listed: &ReleaseImage, verified: &VerifiedImage) -> Outcome<()> {
    #[derive(Deserialize)]
    struct ImagePlatform {
        os: String,
        architecture: String,
    }
    let config = Digest::of(verified.config());
    let platform = serde_json::from_slice::<ImagePlatform>(verified.config())
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .unwrap_or_else(|_| "none".to_owned());
    let mut causes = Vec::new();
    if config != listed.config {
        causes.push(format!("config: the release says {}, the image has {config}", listed.config));
    }
    if platform != listed.platform {
        let platform = crate::job_log::printable(&platform);
        causes.push(format!("platform: the release says {}, the image is {platform}", listed.platform));
    }
    if causes.is_empty() {
        return Ok(());
    }
    let failure = Failure::refused_to_publish(format!(
        "the release does not describe its image `{}@sha256:{}…`",
        listed.repository,
        listed.manifest.short()
    ));
    Err(causes
        .into_iter()
        .fold(failure, Failure::because)
        .hint("treat it as no release; run the hub's job, which composes one from the images themselves"))
}

/// Checks that the release speaks of evidence that is there.
///
/// A rerun of the component's job may have added further evidence of the same kinds: then the document's
/// own must still be among what verifies, which the policy's choice shows only for the chosen one.
fn same_evidence(listed: &ReleaseImage, verified: &VerifiedImage) -> Outcome<()> {
    let expected = [
        (EvidenceKind::Spdx, &listed.evidence.spdx),
        (EvidenceKind::CycloneDx, &listed.evidence.cyclonedx),
        (EvidenceKind::Provenance, &listed.evidence.provenance),
        (EvidenceKind::TestResult, &listed.evidence.test_result),
    ];
    let lost: Vec<String> = expected
        .into_iter()
        .filter(|(kind, digest)| verified.forms_of(digest).is_empty() || !accepted(verified, *kind, digest))
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
