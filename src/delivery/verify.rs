//! Reads an image and its evidence back and judges them: the same code for delivery and for clients.
//!
//! A tag is resolved once; from then on only the digest counts.

mod collect;
mod report;

pub(crate) use collect::EvidenceManifest;
pub use collect::collect;
pub use report::VerificationReport;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::domain::digest::Digest;
use crate::domain::evidence::Format;
use crate::domain::evidence::layout::OCI_MANIFEST;
use crate::domain::image::{Repository, Tag};
use crate::domain::trust::{Channel, Subject, TrustPolicy, Verdict};
use crate::failure::{
    CLI_EVIDENCE_MISSING, CLI_NO_SUCH_TAG, EXIT_REFUSED_BY_PUBLISH_POLICY, Failure, FailureKind, Outcome,
};
use crate::registry::{Descriptor, ImageStore, ManifestReference, StoreError, StoredManifest};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// Largest image config that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 8 * 1024 * 1024;
const MAX_LAYERS: usize = 512;

/// Which of Cosign's forms must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// One form of each is enough: what a client needs.
    Any,
    /// Both forms of everything: what a delivery leaves behind.
    BothFormats,
}

/// A statement that is attached to an image, whoever signed it.
#[derive(Debug, Clone)]
struct Attached {
    envelope: Digest,
    statement: Digest,
    format: Format,
}

/// An image that was read back, is complete and is trusted; only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedImage {
    repository: Repository,
    name: String,
    tag: Option<Tag>,
    manifest: StoredManifest,
    config: Bytes,
    verdict: Verdict,
    attached: Vec<Attached>,
    verified_at: OffsetDateTime,
}

impl VerifiedImage {
    /// Returns the repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the manifest's digest.
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &StoredManifest {
        &self.manifest
    }

    /// Returns the image's config as JSON bytes, checked against its digest.
    pub fn config(&self) -> &Bytes {
        &self.config
    }

    /// Returns the forms in which the statement of this very envelope is attached, whether the policy asks for
    /// its kind or not; none when the envelope is not there.
    pub fn forms_of(&self, envelope: &Digest) -> BTreeSet<Format> {
        let Some(this) = self.attached.iter().find(|found| found.envelope == *envelope) else {
            return BTreeSet::new();
        };
        let same = self.attached.iter().filter(|found| found.statement == this.statement);
        same.map(|found| found.format).collect()
    }

    /// Returns why it is trusted.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Returns what is told about it.
    pub fn report(&self) -> VerificationReport {
        VerificationReport::new(self)
    }
}

/// Verifies the image that `reference` names in `repository` for `channel` at `now`.
pub async fn verify(
    store: &dyn ImageStore,
    repository: &Repository,
    reference: &ManifestReference,
    policy: &TrustPolicy,
    channel: Channel,
    completeness: Completeness,
    now: OffsetDateTime,
) -> Outcome<VerifiedImage> {
    let tag = match reference {
        ManifestReference::Tag(tag) => Some(tag.clone()),
        ManifestReference::Digest(_) => None,
    };
    let name = store.docker_reference(repository);
    let found = store.manifest(repository, reference).await.map_err(store_failure("read the image"))?;
    let manifest = found.ok_or_else(|| absent(store, repository, reference))?;
    if let ManifestReference::Digest(digest) = reference
        && *digest != manifest.digest
    {
        return Err(damaged(&name, digest, format!("the store returned {}", manifest.digest)));
    }
    let config = read_image(store, repository, &name, &manifest).await?;
    let subject = Subject { repository: repository.clone(), digest: manifest.digest.clone(), channel };
    let evidence = collect(store, repository, &manifest.digest).await?;
    let verdict = policy.judge(&subject, &evidence, now)?;
    let attached = evidence.statements.iter().map(|found| Attached {
        envelope: found.envelope.digest(),
        statement: Digest::of(found.envelope.payload()),
        format: found.format,
    });
    let attached = attached.collect();
    if completeness == Completeness::BothFormats {
        demand_both_formats(&name, &verdict)?;
    }
    Ok(VerifiedImage {
        repository: repository.clone(),
        name,
        tag,
        manifest,
        config,
        verdict,
        attached,
        verified_at: now,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageManifest {
    schema_version: u8,
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Reads manifest and config and checks that every layer is there.
async fn read_image(
    store: &dyn ImageStore,
    repository: &Repository,
    name: &str,
    manifest: &StoredManifest,
) -> Outcome<Bytes> {
    let broken = |why: String| damaged(name, &manifest.digest, why);
    if INDEX_TYPES.contains(&manifest.media_type.as_str()) {
        return Err(not_one_image(name, &manifest.digest));
    }
    if ![OCI_MANIFEST, DOCKER_MANIFEST].contains(&manifest.media_type.as_str()) {
        let found: String = manifest.media_type.chars().filter(|c| !c.is_control()).take(120).collect();
        return Err(broken(format!("expected an image manifest, found `{found}`")));
    }
    let parsed: ImageManifest = serde_json::from_slice(&manifest.bytes)
        .map_err(|e| broken(format!("its manifest cannot be read: {e}")))?;
    // One set of bytes must not be a manifest to one reader and an index to another.
    if parsed.schema_version != 2
        || parsed.media_type.as_ref().is_some_and(|kind| *kind != manifest.media_type)
    {
        return Err(broken("its manifest contradicts its media type".into()));
    }
    if parsed.layers.len() > MAX_LAYERS {
        return Err(broken(format!("it has {} layers, more than {MAX_LAYERS}", parsed.layers.len())));
    }
    let config = store
        .blob(repository, &parsed.config.digest, MAX_CONFIG_BYTES)
        .await
        .map_err(store_failure("read the image's config"))?;
    let config = config.ok_or_else(|| broken(format!("its config {} is absent", parsed.config.digest)))?;
    if !serde_json::from_slice::<serde_json::Value>(&config).is_ok_and(|value| value.is_object()) {
        return Err(broken("its config is not a JSON object".into()));
    }
    let mut missing = Vec::new();
    for layer in &parsed.layers {
        let there = store.has_blob(repository, &layer.digest).await;
        if !there.map_err(store_failure("look for the image's layers"))? {
            missing.push(format!("sha256:{}…", layer.digest.short()));
        }
    }
    if missing.is_empty() {
        Ok(config)
    } else {
        Err(broken(format!(
            "{} of {} layers are absent: {}",
            missing.len(),
            parsed.layers.len(),
            missing.join(", ")
        )))
    }
}

fn demand_both_formats(name: &str, verdict: &Verdict) -> Outcome<()> {
    let signature = ("signature", verdict.signature().formats());
    let evidence = verdict.evidence().iter().map(|e| (e.kind().as_str(), e.formats()));
    let missing: Vec<String> = std::iter::once(signature)
        .chain(evidence)
        .flat_map(|(what, formats)| {
            Format::ALL
                .iter()
                .filter(|format| !formats.contains(format))
                .map(move |format| format!("`{what}` has no good entry in the {format} form"))
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let kind = FailureKind::Refused { stage: EXIT_REFUSED_BY_PUBLISH_POLICY, cli: CLI_EVIDENCE_MISSING };
    let digest = &verdict.subject().digest;
    let what =
        format!("`{name}@sha256:{}…` is not complete: not every verifier will accept it", digest.short());
    let failure = missing.into_iter().fold(Failure::new(kind, what), Failure::because);
    Err(failure.hint("run the staging job again: its delivery completes the evidence"))
}

fn absent(store: &dyn ImageStore, repository: &Repository, reference: &ManifestReference) -> Failure {
    let shown = match reference {
        ManifestReference::Tag(tag) => format!("{repository}:{tag}"),
        ManifestReference::Digest(digest) => format!("{repository}@sha256:{}…", digest.short()),
    };
    let kind = FailureKind::Refused { stage: EXIT_REFUSED_BY_PUBLISH_POLICY, cli: CLI_NO_SUCH_TAG };
    Failure::new(kind, format!("there is no image `{shown}` in `{}`", store.place()))
        .hint("compare the name with what the staging job's log says was published")
}

fn damaged(name: &str, digest: &Digest, why: String) -> Failure {
    Failure::refused_to_publish(format!("`{name}@sha256:{}…` is not a complete image", digest.short()))
        .because(why)
        .hint("take another digest, or run the staging job again: it uploads what is absent")
}

fn not_one_image(name: &str, digest: &Digest) -> Failure {
    Failure::refused_to_publish(format!("`{name}@sha256:{}…` is an index, not one image", digest.short()))
        .hint("verify each of its images by its own digest")
}

/// Turns a store's error into a failure that says what was being done; kind and hints stay its own.
pub(crate) fn store_failure(doing: &str) -> impl Fn(StoreError) -> Failure {
    move |error| Failure::from(error).while_doing(format!("cannot {doing}"))
}

#[cfg(test)]
mod tests;
