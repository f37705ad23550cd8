//! What a promotion says about each image: the hub's test result, the promotion record, the verification
//! summary. The image's own signature, SBOMs and provenance stay the very ones of staging.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::delivery::sign::{self, SignedAttestations, SubjectSignature};
use crate::delivery::verify::VerifiedImage;
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::promotion::{PromotedBy, PromotionRecord};
use crate::domain::evidence::provenance::{LOCAL_BUILDER_ID, Resource};
use crate::domain::evidence::test_result::PassedTestResult;
use crate::domain::evidence::vsa::VerificationSummary;
use crate::domain::trust::{Channel, TrustPolicy};
use crate::failure::{Failure, Outcome};
use crate::keys::Signer;
use crate::registry::ImageStore;
use crate::release::compose::ComposedRelease;

/// A release whose signature, and the attestations of whose images, are made; nothing is stored.
///
/// Only [`sign_release`] makes one.
#[derive(Debug, Clone)]
pub struct SignedRelease {
    pub(super) composed: ComposedRelease,
    pub(super) signature: SubjectSignature,
    pub(super) attestations: Vec<SignedAttestations>,
}

/// What is signed about the release's images, beside what the release itself says.
pub struct PromotionEvidence<'a> {
    pub hub_test_result: &'a PassedTestResult,
    pub policy: &'a TrustPolicy,
    /// Who promotes: the host's builder id, or the local one.
    pub builder_id: &'a str,
}

/// Signs the release with the release key and what is said about its images with the attestation key.
pub async fn sign_release(
    store: &dyn ImageStore,
    composed: ComposedRelease,
    evidence: &PromotionEvidence<'_>,
    release_key: &dyn Signer,
    attestation_key: &dyn Signer,
) -> Outcome<SignedRelease> {
    if release_key.public_key() == attestation_key.public_key() {
        return Err(Failure::usage("the keys `release` and `attestation` are one and the same")
            .because("whoever holds it could pass an attestation off as a release")
            .hint("for the runner's administrator: give `[keys]` different keys"));
    }
    let docker_reference = store.docker_reference(&composed.repository);
    let digest = composed.digest();
    let signature = sign::sign_subject(&docker_reference, &digest, release_key).await?;
    let mut attestations = Vec::new();
    for image in &composed.images {
        let name = store.docker_reference(image.repository());
        let predicates = [
            (EvidenceKind::HubTestResult, Bytes::from(evidence.hub_test_result.result().to_predicate())),
            (
                EvidenceKind::Promotion,
                promotion(&composed, image, &name, &docker_reference, evidence)?.into(),
            ),
            (EvidenceKind::Vsa, summary(&composed, image, &name, evidence).into()),
        ];
        attestations.push(sign::attest(&name, image.digest(), &predicates, attestation_key).await?);
    }
    Ok(SignedRelease { composed, signature, attestations })
}

fn promotion(
    composed: &ComposedRelease,
    image: &VerifiedImage,
    name: &str,
    release_name: &str,
    evidence: &PromotionEvidence<'_>,
) -> Outcome<Vec<u8>> {
    let release = composed.release();
    let component = release
        .components
        .iter()
        .find(|component| component.images.iter().any(|listed| listed.manifest == *image.digest()))
        .ok_or_else(|| Failure::internal("an image that no component has reached the promotion"))?;
    let record = PromotionRecord {
        src_ref: format!("{name}:{}", component.version),
        dst_ref: format!("{name}:{}", Channel::Candidate),
        digest: image.digest().clone(),
        timestamp: release.created_at.clone(),
        builder_id: evidence.builder_id.to_owned(),
        airlock: PromotedBy {
            release: composed.digest(),
            release_ref: format!("{release_name}:{}", release.version),
            sequence: release.sequence,
            job_id: release.hub.job_id,
        },
    };
    Ok(record.to_predicate())
}

fn summary(
    composed: &ComposedRelease,
    image: &VerifiedImage,
    name: &str,
    evidence: &PromotionEvidence<'_>,
) -> Vec<u8> {
    let resource = |name: Option<String>, uri: Option<String>, hex: &str| Resource {
        name,
        uri,
        digest: BTreeMap::from([("sha256".to_owned(), hex.to_owned())]),
        media_type: None,
    };
    let verdict = image.verdict();
    let inputs = verdict
        .evidence()
        .iter()
        .map(|accepted| resource(Some(accepted.kind().as_str().to_owned()), None, accepted.envelope().hex()));
    let mut levels = Vec::new();
    if let Some(provenance) = verdict.provenance() {
        // Isolation is claimed only for the builder that we are ourselves: of another one, and of what a
        // developer's own machine made, we know that it describes its builds.
        let ours = provenance.builder_id == evidence.builder_id && evidence.builder_id != LOCAL_BUILDER_ID;
        levels.push(if ours { "SLSA_BUILD_LEVEL_3" } else { "SLSA_BUILD_LEVEL_1" }.to_owned());
        levels.push(format!("AIRLOCK_HERMETIC_{}", provenance.hermetic.level));
    }
    VerificationSummary::of_passed(
        evidence.builder_id,
        composed.release().created_at.clone(),
        format!("{name}@{}", image.digest()),
        resource(None, Some(format!("file:{}", evidence.policy.file())), evidence.policy.digest().hex()),
        inputs.collect(),
        levels,
    )
    .to_predicate()
}
