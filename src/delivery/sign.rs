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

/// Signed evidence about one image: attestations, and the signature that is the decision to release it.
#[derive(Debug, Clone)]
pub struct SignedEvidence {
    pub(super) attestations: SignedAttestations,
    pub(super) signature: SubjectSignature,
}

/// Attestations about one manifest, all by one key; only [`attest`] makes them.
#[derive(Debug, Clone)]
pub struct SignedAttestations {
    pub(super) subject: Digest,
    pub(super) envelopes: Vec<(EvidenceKind, Envelope)>,
    pub(super) key: PublicKey,
}

/// The signature of one manifest in both of Cosign's forms; only [`sign_subject`] makes one.
#[derive(Debug, Clone)]
pub struct SubjectSignature {
    pub(super) subject: Digest,
    pub(super) simple_signing: SignedPayload,
    pub(super) statement: Envelope,
    pub(super) key: PublicKey,
}

/// A payload and a key's signature over it.
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
        &self.signature.subject
    }
}

impl SignedAttestations {
    /// Returns the bundle of one of the envelopes.
    pub(super) fn bundle(&self, envelope: Envelope) -> KeyBundle {
        KeyBundle::new(envelope, &self.key)
    }
}

impl SubjectSignature {
    /// Returns the signature's bundle.
    pub(super) fn bundle(&self) -> KeyBundle {
        KeyBundle::new(self.statement.clone(), &self.key)
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
    let predicates = [
        (EvidenceKind::Spdx, input.spdx.clone()),
        (EvidenceKind::CycloneDx, input.cyclonedx.clone()),
        (EvidenceKind::Provenance, input.provenance.to_predicate().into()),
        (EvidenceKind::TestResult, input.test_result.result().to_predicate().into()),
    ];
    let attestations = attest(&input.docker_reference, &subject, &predicates, attestation).await?;
    // What goes out must be what a verifier accepts in.
    if let Some((_, envelope)) =
        attestations.envelopes.iter().find(|(kind, _)| *kind == EvidenceKind::Provenance)
    {
        Provenance::parse(envelope.payload()).map_err(|error| {
            Failure::internal(format!("cannot compose the provenance of `{}`", image.repository))
                .because(error)
        })?;
    }
    let signature = sign_subject(&input.docker_reference, &subject, release).await?;
    Ok(SignedImage { image, evidence: SignedEvidence { attestations, signature } })
}

/// Signs statements about `subject`, whose name is `docker_reference`.
pub async fn attest(
    docker_reference: &str,
    subject: &Digest,
    predicates: &[(EvidenceKind, Bytes)],
    signer: &dyn Signer,
) -> Outcome<SignedAttestations> {
    let name = format!("`{docker_reference}@sha256:{}…`", subject.short());
    let mut envelopes = Vec::with_capacity(predicates.len());
    for (kind, predicate) in predicates {
        let payload = statement::compose(*kind, docker_reference, subject, predicate).map_err(
            |error: NotEvidence| {
                Failure::internal(format!("cannot compose the {kind} of {name}")).because(error)
            },
        )?;
        let envelope = sign_statement(signer, payload).await?;
        let size = envelope.to_json().len() as u64;
        // A verifier must read it back, as base64 in a bundle; better to know before anything is written.
        if size + 4096 > MAX_EVIDENCE_BYTES {
            return Err(Failure::refused_to_publish(format!("the {kind} of {name} is too large"))
                .because(format!("{size} bytes with its signature; {MAX_EVIDENCE_BYTES} are read back")));
        }
        envelopes.push((*kind, envelope));
    }
    Ok(SignedAttestations { subject: subject.clone(), envelopes, key: signer.public_key().clone() })
}

/// Signs the decision to release `subject`.
pub async fn sign_subject(
    docker_reference: &str,
    subject: &Digest,
    signer: &dyn Signer,
) -> Outcome<SubjectSignature> {
    let payload = SimpleSigning::new(docker_reference, subject.clone()).to_payload();
    let signature = signer.sign(&payload).await.map_err(Failure::from)?;
    let statement = sign_statement(signer, statement::compose_image_signature(subject)).await?;
    Ok(SubjectSignature {
        subject: subject.clone(),
        simple_signing: SignedPayload { payload, signature },
        statement,
        key: signer.public_key().clone(),
    })
}

async fn sign_statement(signer: &dyn Signer, payload: Vec<u8>) -> Outcome<Envelope> {
    let signature = signer.sign(&signed_bytes(&payload)).await?;
    Ok(Envelope::new(payload, signature))
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
