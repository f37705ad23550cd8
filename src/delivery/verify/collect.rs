//! Collects what is attached to a digest: everything is a hint, bounded in count and bytes.
//!
//! A stranger's entry, a damaged one or one that is too large is passed over; only a store that does
//! not answer stops the work.

use serde::Deserialize;

use super::store_failure;
use crate::domain::digest::Digest;
use crate::domain::evidence::bundle::BUNDLE_MEDIA_TYPE;
use crate::domain::evidence::collected::CollectedEvidence;
use crate::domain::evidence::layout::{
    ATTESTATION_LAYER, BUNDLE_PREDICATE_ANNOTATION, EvidenceTag, PREDICATE_ANNOTATION, SIGNATURE_ANNOTATION,
    SIGNATURE_LAYER,
};
use crate::domain::evidence::simple_signing::MAX_SIMPLE_SIGNING_BYTES;
use crate::domain::evidence::{EvidenceKind, MAX_EVIDENCE_BYTES, PREDICATE_COSIGN_SIGN};
use crate::domain::image::{Repository, Tag};
use crate::failure::Outcome;
use crate::registry::{Descriptor, ImageStore, ManifestReference, StoreError};

/// Most referrers that are listed, and most entries of one place that are fetched.
const MAX_LISTED: usize = 20_000;
const MAX_FETCHED: usize = 4_000;
/// Most bytes that are fetched from one place.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// A manifest that carries evidence, the fields that are used.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct EvidenceManifest {
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
}

/// What may still be fetched from one place.
struct Budget {
    entries: usize,
    bytes: u64,
}

impl Budget {
    fn new() -> Self {
        Self { entries: MAX_FETCHED, bytes: MAX_BYTES }
    }

    fn allows(&mut self, size: u64) -> bool {
        let allowed = self.entries > 0 && size <= self.bytes;
        if allowed {
            self.entries -= 1;
            self.bytes -= size;
        }
        allowed
    }
}

/// Collects signatures, attestations and bundles of `digest`; nothing is verified.
pub async fn collect(
    store: &dyn ImageStore,
    repository: &Repository,
    digest: &Digest,
) -> Outcome<CollectedEvidence> {
    let mut evidence = CollectedEvidence::default();
    let mut collector = Collector { store, repository, evidence: &mut evidence };
    collector.legacy(digest, EvidenceTag::Signature).await?;
    collector.legacy(digest, EvidenceTag::Attestation).await?;
    collector.bundles(digest).await?;
    Ok(evidence)
}

struct Collector<'a> {
    store: &'a dyn ImageStore,
    repository: &'a Repository,
    evidence: &'a mut CollectedEvidence,
}

impl Collector<'_> {
    async fn legacy(&mut self, digest: &Digest, kind: EvidenceTag) -> Outcome<()> {
        let tag: Tag = kind.of(digest);
        let place = format!("the tag `{tag}`");
        let Some(manifest) = self.manifest(&ManifestReference::Tag(tag), &place).await? else {
            return Ok(());
        };
        let (media_type, limit) = match kind {
            EvidenceTag::Signature => (SIGNATURE_LAYER, MAX_SIMPLE_SIGNING_BYTES),
            EvidenceTag::Attestation => (ATTESTATION_LAYER, MAX_EVIDENCE_BYTES),
        };
        let mut budget = Budget::new();
        for layer in likely_first(manifest.layers, PREDICATE_ANNOTATION) {
            if layer.media_type != media_type {
                self.evidence.pass_over(&place, &"a layer of another media type");
                continue;
            }
            let Some(content) = self.blob(&layer, limit, &mut budget, &place).await? else { continue };
            match kind {
                EvidenceTag::Signature => {
                    let signature = annotation(&layer, SIGNATURE_ANNOTATION).unwrap_or_default();
                    self.evidence.add_simple_signing(content, signature);
                }
                EvidenceTag::Attestation => self.evidence.add_attestation(&content),
            }
        }
        Ok(())
    }

    async fn bundles(&mut self, digest: &Digest) -> Outcome<()> {
        let place = "a referrer";
        let listed = match self.store.referrers(self.repository, digest, MAX_LISTED).await {
            Ok(listed) => listed,
            Err(error) => return self.pass_over(place, error),
        };
        let mut budget = Budget::new();
        // The artifact type is not filtered by: Cosign up to 3.1.1 writes another one into its index.
        for referrer in likely_first(listed, BUNDLE_PREDICATE_ANNOTATION) {
            if !budget.allows(0) {
                self.evidence.pass_over(place, &"too many referrers");
                continue;
            }
            let reference = ManifestReference::Digest(referrer.digest);
            let Some(manifest) = self.manifest(&reference, place).await? else { continue };
            for layer in manifest.layers {
                if layer.media_type != BUNDLE_MEDIA_TYPE {
                    self.evidence.pass_over(place, &"not a bundle");
                    continue;
                }
                if let Some(content) = self.blob(&layer, MAX_EVIDENCE_BYTES, &mut budget, place).await? {
                    self.evidence.add_bundle(&content);
                }
            }
        }
        Ok(())
    }

    async fn manifest(
        &mut self,
        reference: &ManifestReference,
        place: &str,
    ) -> Outcome<Option<EvidenceManifest>> {
        match self.store.manifest(self.repository, reference).await {
            Ok(None) => Ok(None),
            Ok(Some(stored)) => match serde_json::from_slice(&stored.bytes) {
                Ok(manifest) => Ok(Some(manifest)),
                Err(_) => {
                    self.evidence.pass_over(place, &"not a manifest");
                    Ok(None)
                }
            },
            Err(error) => self.pass_over(place, error).map(|()| None),
        }
    }

    async fn blob(
        &mut self,
        layer: &Descriptor,
        limit: u64,
        budget: &mut Budget,
        place: &str,
    ) -> Outcome<Option<Vec<u8>>> {
        if layer.size > limit {
            self.evidence.pass_over(place, &format!("larger than {limit} bytes"));
            return Ok(None);
        }
        if !budget.allows(layer.size) {
            self.evidence.pass_over(place, &"too many entries or bytes");
            return Ok(None);
        }
        // The descriptor's size is the most that is read: the budget was charged with it.
        match self.store.blob(self.repository, &layer.digest, layer.size).await {
            Ok(Some(content)) => Ok(Some(content.to_vec())),
            Ok(None) => {
                self.evidence.pass_over(place, &"its content is absent");
                Ok(None)
            }
            Err(error) => self.pass_over(place, error).map(|()| None),
        }
    }

    /// Passes over what a hostile entry can cause; reports what only the store itself can.
    fn pass_over(&mut self, place: &str, error: StoreError) -> Outcome<()> {
        match error {
            StoreError::WrongDigest { .. } | StoreError::TooLarge { .. } | StoreError::Malformed { .. } => {
                self.evidence.pass_over(place, &error);
                Ok(())
            }
            StoreError::Answered { status: 400 | 404, .. } => {
                self.evidence.pass_over(place, &error);
                Ok(())
            }
            StoreError::Unreachable { .. }
            | StoreError::Answered { .. }
            | StoreError::Unauthorized { .. }
            | StoreError::Unsafe { .. }
            | StoreError::NotAsDeclared { .. }
            | StoreError::NoRoom { .. }
            | StoreError::Io { .. }
            | StoreError::Settings { .. }
            | StoreError::SettingsFile { .. } => Err(store_failure("read the image's evidence")(error)),
        }
    }
}

fn annotation<'a>(descriptor: &'a Descriptor, name: &str) -> Option<&'a str> {
    descriptor.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Sorts what says to be of a known predicate type to the front, small before large: a hint at what to
/// fetch first while there is room, not a filter.
fn likely_first(mut descriptors: Vec<Descriptor>, name: &str) -> Vec<Descriptor> {
    descriptors.truncate(MAX_LISTED);
    descriptors.sort_by_key(|descriptor| {
        let known = annotation(descriptor, name).is_some_and(|predicate| {
            predicate == PREDICATE_COSIGN_SIGN || EvidenceKind::of_predicate_type(predicate).is_some()
        });
        (!known, descriptor.size)
    });
    descriptors
}
