//! Cosign's legacy form: the tags `sha256-….sig` and `sha256-….att`, one layer for each signature.
//!
//! A tag is read, extended and written; the caller serialises writers of one digest.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use super::put_bytes;
use crate::delivery::sign::{SignedAttestations, SubjectSignature};
use crate::delivery::verify::{EvidenceManifest, store_failure};
use crate::domain::digest::Digest;
use crate::domain::evidence::envelope::Envelope;
use crate::domain::evidence::layout::{
    ATTESTATION_LAYER, EvidenceTag, OCI_MANIFEST, PREDICATE_ANNOTATION, SIGNATURE_ANNOTATION, SIGNATURE_LAYER,
};
use crate::domain::evidence::simple_signing::MAX_SIMPLE_SIGNING_BYTES;
use crate::domain::evidence::{EvidenceKind, MAX_EVIDENCE_BYTES};
use crate::domain::image::{Repository, Tag};
use crate::failure::Outcome;
use crate::registry::{Descriptor, ImageStore, ManifestReference, StoreError};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Most layers that a tag keeps; beyond, layers go that are not ours: see [`LegacyTag::drop_surplus`].
const MAX_LAYERS: usize = 100;

/// Stores the attestations; returns the envelopes that are there now, ours or an earlier try's.
pub(super) async fn put_attestations(
    store: &dyn ImageStore,
    repository: &Repository,
    attestations: &SignedAttestations,
) -> Outcome<Vec<(EvidenceKind, Envelope)>> {
    let subject = &attestations.subject;
    let mut tag = LegacyTag::read(store, repository, subject, EvidenceTag::Attestation).await?;
    let mut stored = Vec::with_capacity(attestations.envelopes.len());
    for (kind, ours) in &attestations.envelopes {
        let hint = (PREDICATE_ANNOTATION, kind.predicate_type());
        let same = |bytes: &[u8], _: &Descriptor| {
            Envelope::parse(bytes)
                .ok()
                .filter(|found| found.payload() == ours.payload() && found.is_signed_by(&attestations.key))
        };
        let earlier = tag.find(ATTESTATION_LAYER, Some(hint), MAX_EVIDENCE_BYTES, same).await?;
        if let Some(earlier) = earlier {
            stored.push((*kind, earlier));
            continue;
        }
        let annotations = [(SIGNATURE_ANNOTATION, String::new()), (hint.0, hint.1.to_owned())];
        tag.append(ATTESTATION_LAYER, ours.to_json(), annotations).await?;
        stored.push((*kind, ours.clone()));
    }
    tag.write().await?;
    Ok(stored)
}

/// Stores the image signature.
pub(super) async fn put_signature(
    store: &dyn ImageStore,
    repository: &Repository,
    signed: &SubjectSignature,
) -> Outcome<()> {
    let mut tag = LegacyTag::read(store, repository, &signed.subject, EvidenceTag::Signature).await?;
    let ours = &signed.simple_signing;
    let same = |bytes: &[u8], layer: &Descriptor| {
        let annotation = layer.annotations.as_ref()?.get(SIGNATURE_ANNOTATION)?;
        let signature = STANDARD.decode(annotation).ok()?;
        (bytes == ours.payload && signed.key.verifies(bytes, &signature)).then_some(())
    };
    if tag.find(SIGNATURE_LAYER, None, MAX_SIMPLE_SIGNING_BYTES, same).await?.is_none() {
        let annotations = [(SIGNATURE_ANNOTATION, STANDARD.encode(&ours.signature))];
        tag.append(SIGNATURE_LAYER, ours.payload.clone(), annotations).await?;
    }
    tag.write().await
}

/// A tag of legacy evidence while it is extended.
struct LegacyTag<'a> {
    store: &'a dyn ImageStore,
    repository: &'a Repository,
    tag: Tag,
    layers: Vec<Descriptor>,
    ours: Vec<Descriptor>,
    changed: Change,
}

#[derive(PartialEq, Eq)]
enum Change {
    None,
    Appended,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LegacyManifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: &'a [Descriptor],
}

impl<'a> LegacyTag<'a> {
    async fn read(
        store: &'a dyn ImageStore,
        repository: &'a Repository,
        subject: &Digest,
        kind: EvidenceTag,
    ) -> Outcome<Self> {
        let tag = kind.of(subject);
        let found = match store.manifest(repository, &ManifestReference::Tag(tag.clone())).await {
            Ok(found) => found,
            // A stranger's rubbish under the tag is replaced, as nothing can read it.
            Err(StoreError::TooLarge { .. } | StoreError::Malformed { .. }) => None,
            Err(error) => return Err(store_failure("read the image's evidence")(error)),
        };
        let layers = found
            .and_then(|manifest| serde_json::from_slice::<EvidenceManifest>(&manifest.bytes).ok())
            .map_or_else(Vec::new, |manifest| manifest.layers);
        Ok(Self { store, repository, tag, layers, ours: Vec::new(), changed: Change::None })
    }

    /// Finds a layer that `accepts`; marks it as ours, so that it is never dropped.
    async fn find<T>(
        &mut self,
        media_type: &str,
        hint: Option<(&str, &str)>,
        limit: u64,
        accepts: impl Fn(&[u8], &Descriptor) -> Option<T>,
    ) -> Outcome<Option<T>> {
        let hinted = |layer: &Descriptor| {
            hint.is_none_or(|(name, value)| {
                layer.annotations.as_ref().and_then(|all| all.get(name)).is_some_and(|found| found == value)
            })
        };
        // Newest first: what an earlier try of ours appended stands at the end.
        let candidates: Vec<Descriptor> = self
            .layers
            .iter()
            .rev()
            .filter(|layer| layer.media_type == media_type && layer.size <= limit && hinted(layer))
            .take(MAX_LAYERS)
            .cloned()
            .collect();
        for layer in candidates {
            match self.store.blob(self.repository, &layer.digest, layer.size).await {
                Ok(Some(bytes)) => {
                    if let Some(found) = accepts(&bytes, &layer) {
                        self.ours.push(layer);
                        return Ok(Some(found));
                    }
                }
                Ok(None) | Err(StoreError::WrongDigest { .. } | StoreError::TooLarge { .. }) => {}
                Err(error) => return Err(store_failure("read the image's evidence")(error)),
            }
        }
        Ok(None)
    }

    async fn append<const N: usize>(
        &mut self,
        media_type: &str,
        content: Vec<u8>,
        annotations: [(&str, String); N],
    ) -> Outcome<()> {
        let (digest, size) = put_bytes(self.store, self.repository, Bytes::from(content)).await?;
        let annotations: BTreeMap<String, String> =
            annotations.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let layer = Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            artifact_type: None,
            annotations: Some(annotations),
        };
        self.ours.push(layer.clone());
        self.layers.push(layer);
        self.changed = Change::Appended;
        Ok(())
    }

    /// Drops what is too much: of kinds that nobody knows first, then of earlier promotions, whose bundles stay,
    /// then of staging; of each the oldest first. A promotion never drops what staging wrote, which releases
    /// name: whoever writes it again keeps its own.
    fn drop_surplus(&mut self) {
        let staged =
            |layer: &Descriptor| kind_of(layer).is_some_and(|kind| EvidenceKind::ALL.contains(&kind));
        let writes_staged = self.ours.iter().any(staged);
        let rank = |layer: &Descriptor| match kind_of(layer) {
            None => 0,
            Some(kind) if EvidenceKind::PROMOTED.contains(&kind) => 1,
            Some(_) => 2,
        };
        let mut surplus = self.layers.len().saturating_sub(MAX_LAYERS);
        for going in 0..=2 {
            let ours = &self.ours;
            self.layers.retain(|layer| {
                let mine = ours.contains(layer) || (staged(layer) && !writes_staged);
                let dropped = surplus > 0 && rank(layer) == going && !mine;
                surplus -= usize::from(dropped);
                !dropped
            });
        }
    }

    /// Writes the tag if anything was appended.
    async fn write(mut self) -> Outcome<()> {
        if self.changed == Change::None {
            return Ok(());
        }
        self.drop_surplus();
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.digest.as_str()).collect();
        let config = serde_json::json!({
            "architecture": "", "os": "", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let (digest, size) = put_bytes(self.store, self.repository, config.to_string().into()).await?;
        let config =
            Descriptor { media_type: CONFIG.into(), digest, size, artifact_type: None, annotations: None };
        let manifest =
            LegacyManifest { schema_version: 2, media_type: OCI_MANIFEST, config, layers: &self.layers };
        let bytes = serde_json::to_vec(&manifest).expect("strings and numbers are JSON");
        self.store
            .put_manifest(self.repository, OCI_MANIFEST, bytes.into(), Some(&self.tag))
            .await
            .map_err(store_failure("store the image's evidence"))?;
        Ok(())
    }
}

/// Returns the kind that a layer says it is of.
fn kind_of(layer: &Descriptor) -> Option<EvidenceKind> {
    EvidenceKind::of_predicate_type(layer.annotations.as_ref()?.get(PREDICATE_ANNOTATION)?)
}
