//! Composes the evidence of an image and signs it: statements with the attestation key, the release
//! decision with the image key.
//!
//! Nothing that failed gets here: the input holds a [`PassedTestResult`], which only a passed result
//! becomes. The two keys must differ, because Cosign 3 takes any bundle by a key for a signature.

use bytes::Bytes;

use crate::domain::digest::Digest;
use crate::domain::evidence::bundle::KeyBundle;
use crate::domain::evidence::envelope::{Envelope, signed_bytes};
use crate::domain::evidence::provenance::Provenance;
use crate::domain::evidence::simple_signing::SimpleSigning;
use crate::domain::evidence::test_result::PassedTestResult;
use crate::domain::evidence::{EvidenceKind, MAX_EVIDENCE_BYTES, NotEvidence, statement};
use crate::domain::image::Repository;
use crate::domain::public_key::PublicKey;
use crate::failure::{Failure, Outcome};
use crate::keys::Signer;
use crate::registry::BlobContent;

/// A described image as it will be stored: nothing is signed, so nothing here can be pushed.
#[derive(Debug, Clone)]
pub struct UnsignedImage {
    pub repository: Repository,
    /// The layers: digest, size and content.
    pub layers: Vec<(Digest, u64, BlobContent)>,
    pub config: Bytes,
    /// The manifest's exact bytes; its digest is computed here and nowhere taken over.
    pub manifest: Bytes,
    pub manifest_media_type: String,
}

/// What is said about an image.
#[derive(Debug, Clone)]
pub struct EvidenceInput {
    /// `REGISTRY/REPOSITORY` as simple signing payloads carry it, without a tag.
    pub docker_reference: String,
    /// The SPDX 2.3 document.
    pub spdx: Bytes,
    /// The CycloneDX document.
    pub cyclonedx: Bytes,
    pub provenance: Provenance,
    pub test_result: PassedTestResult,
}

/// An image with its signed evidence: what can be pushed.
///
/// Only [`compose`] makes one.
#[derive(Debug, Clone)]
pub struct SignedImage {
    image: UnsignedImage,
    evidence: SignedEvidence,
}

/// Signed evidence about one manifest.
#[derive(Debug, Clone)]
pub struct SignedEvidence {
    pub(super) subject: Digest,
    pub(super) attestations: Vec<(EvidenceKind, Envelope)>,
    pub(super) attestation_key: PublicKey,
    pub(super) simple_signing: SignedPayload,
    pub(super) image_statement: Envelope,
    pub(super) image_key: PublicKey,
}

/// A payload and the image key's signature over it.
#[derive(Debug, Clone)]
pub(super) struct SignedPayload {
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl SignedImage {
    /// Returns the image.
    pub fn image(&self) -> &UnsignedImage {
        &self.image
    }

    /// Returns the evidence.
    pub fn evidence(&self) -> &SignedEvidence {
        &self.evidence
    }
}

impl SignedEvidence {
    /// Returns the digest of the manifest that the evidence is about.
    pub fn subject(&self) -> &Digest {
        &self.subject
    }

    /// Returns the image signature's bundle.
    pub(super) fn image_bundle(&self, envelope: Envelope) -> KeyBundle {
        KeyBundle::new(envelope, &self.image_key)
    }

    /// Returns an attestation's bundle.
    pub(super) fn attestation_bundle(&self, envelope: Envelope) -> KeyBundle {
        KeyBundle::new(envelope, &self.attestation_key)
    }
}

/// Refuses one key for both uses.
pub fn different_keys(attestation: &dyn Signer, release: &dyn Signer) -> Outcome<()> {
    if attestation.public_key() != release.public_key() {
        return Ok(());
    }
    Err(Failure::usage("the keys `image` and `attestation` are one and the same")
        .because("whoever holds it could pass an attestation off as the decision to release")
        .hint("for the runner's administrator: give `[keys]` two different keys"))
}

/// Signs what `input` says about `image`, whose manifest digest is computed here.
pub async fn compose(
    image: UnsignedImage,
    input: &EvidenceInput,
    attestation: &dyn Signer,
    release: &dyn Signer,
) -> Outcome<SignedImage> {
    different_keys(attestation, release)?;
    let subject = Digest::of(&image.manifest);
    let name = format!("`{}@sha256:{}…`", image.repository, subject.short());
    let failed = |what: &str, why: &dyn std::fmt::Display| {
        Failure::internal(format!("cannot compose the {what} of {name}")).because(why)
    };
    let predicates = [
        (EvidenceKind::Spdx, input.spdx.clone()),
        (EvidenceKind::CycloneDx, input.cyclonedx.clone()),
        (EvidenceKind::Provenance, input.provenance.to_predicate().into()),
        (EvidenceKind::TestResult, input.test_result.result().to_predicate().into()),
    ];
    let mut attestations = Vec::with_capacity(predicates.len());
    for (kind, predicate) in predicates {
        let payload = statement::compose(kind, &input.docker_reference, &subject, &predicate)
            .map_err(|e: NotEvidence| failed(kind.as_str(), &e))?;
        let envelope = sign_statement(attestation, payload).await?;
        let size = envelope.to_json().len() as u64;
        // A verifier must read it back, as base64 in a bundle; better to know before anything is written.
        if size + 4096 > MAX_EVIDENCE_BYTES {
            return Err(Failure::refused_to_publish(format!("the {kind} of {name} is too large"))
                .because(format!("{size} bytes with its signature; {MAX_EVIDENCE_BYTES} are read back")));
        }
        attestations.push((kind, envelope));
    }
    // What goes out must be what a verifier accepts in.
    if let Some((_, envelope)) = attestations.iter().find(|(kind, _)| *kind == EvidenceKind::Provenance) {
        Provenance::parse(envelope.payload()).map_err(|e| failed("provenance", &e))?;
    }
    let payload = SimpleSigning::new(input.docker_reference.clone(), subject.clone()).to_payload();
    let signature = release.sign(&payload).await.map_err(Failure::from)?;
    let image_statement = sign_statement(release, statement::compose_image_signature(&subject)).await?;
    let evidence = SignedEvidence {
        subject,
        attestations,
        attestation_key: attestation.public_key().clone(),
        simple_signing: SignedPayload { payload, signature },
        image_statement,
        image_key: release.public_key().clone(),
    };
    Ok(SignedImage { image, evidence })
}

async fn sign_statement(signer: &dyn Signer, payload: Vec<u8>) -> Outcome<Envelope> {
    let signature = signer.sign(&signed_bytes(&payload)).await?;
    Ok(Envelope::new(payload, signature))
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
