//! Sigstore bundles as referrers of the image (OCI 1.1 `subject`).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::put_bytes;
use crate::delivery::verify::{EvidenceManifest, store_failure};
use crate::domain::evidence::MAX_EVIDENCE_BYTES;
use crate::domain::evidence::bundle::{BUNDLE_MEDIA_TYPE, KeyBundle};
use crate::domain::evidence::layout::{BUNDLE_CONTENT_ANNOTATION, BUNDLE_PREDICATE_ANNOTATION, OCI_MANIFEST};
use crate::domain::image::Repository;
use crate::domain::public_key::PublicKey;
use crate::failure::Outcome;
use crate::registry::{Descriptor, ImageStore, ManifestReference, StoreError};

const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Most referrers that are looked at for one that an earlier try stored.
const MAX_LOOKED_AT: usize = 100;
const MAX_LISTED: usize = 20_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BundleManifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    artifact_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
    subject: &'a Descriptor,
    annotations: BTreeMap<&'static str, &'a str>,
}

/// Stores `bundle` as a referrer of `subject` unless one with its payload by `key` is there.
pub(super) async fn put(
    store: &dyn ImageStore,
    repository: &Repository,
    subject: &Descriptor,
    predicate_type: &str,
    bundle: &KeyBundle,
    key: &PublicKey,
) -> Outcome<()> {
    if is_there(store, repository, subject, predicate_type, bundle, key).await? {
        return Ok(());
    }
    let (digest, size) = put_bytes(store, repository, Bytes::from(bundle.to_json())).await?;
    let layer = Descriptor {
        media_type: BUNDLE_MEDIA_TYPE.into(),
        digest,
        size,
        artifact_type: None,
        annotations: None,
    };
    let (digest, size) = put_bytes(store, repository, Bytes::from_static(b"{}")).await?;
    let config =
        Descriptor { media_type: EMPTY.into(), digest, size, artifact_type: None, annotations: None };
    let manifest = BundleManifest {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        artifact_type: BUNDLE_MEDIA_TYPE,
        config,
        layers: [layer],
        subject,
        annotations: BTreeMap::from([
            (BUNDLE_CONTENT_ANNOTATION, "dsse-envelope"),
            (BUNDLE_PREDICATE_ANNOTATION, predicate_type),
        ]),
    };
    let bytes = serde_json::to_vec(&manifest).expect("strings and numbers are JSON");
    store
        .put_referrer(repository, &subject.digest, OCI_MANIFEST, bytes.into())
        .await
        .map_err(store_failure("store the image's evidence"))?;
    Ok(())
}

/// Looks for the same statement by the same key among the referrers that claim its type.
async fn is_there(
    store: &dyn ImageStore,
    repository: &Repository,
    subject: &Descriptor,
    predicate_type: &str,
    bundle: &KeyBundle,
    key: &PublicKey,
) -> Outcome<bool> {
    let failed = store_failure("read the image's evidence");
    let listed = match store.referrers(repository, &subject.digest, MAX_LISTED).await {
        Ok(listed) => listed,
        Err(StoreError::TooLarge { .. } | StoreError::Malformed { .. }) => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let hinted = |descriptor: &&Descriptor| {
        let annotations = descriptor.annotations.as_ref();
        annotations
            .and_then(|all| all.get(BUNDLE_PREDICATE_ANNOTATION))
            .is_some_and(|found| found == predicate_type)
    };
    for referrer in listed.iter().rev().filter(hinted).take(MAX_LOOKED_AT) {
        let reference = ManifestReference::Digest(referrer.digest.clone());
        let manifest = match store.manifest(repository, &reference).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) | Err(StoreError::WrongDigest { .. } | StoreError::TooLarge { .. }) => continue,
            Err(error) => return Err(failed(error)),
        };
        let Ok(manifest) = serde_json::from_slice::<EvidenceManifest>(&manifest.bytes) else { continue };
        let [layer] = manifest.layers.as_slice() else { continue };
        if layer.media_type != BUNDLE_MEDIA_TYPE || layer.size > MAX_EVIDENCE_BYTES {
            continue;
        }
        let content = match store.blob(repository, &layer.digest, layer.size).await {
            Ok(Some(content)) => content,
            Ok(None) | Err(StoreError::WrongDigest { .. } | StoreError::TooLarge { .. }) => continue,
            Err(error) => return Err(failed(error)),
        };
        let same = KeyBundle::parse(&content).is_ok_and(|found| {
            found.envelope().payload() == bundle.envelope().payload() && found.envelope().is_signed_by(key)
        });
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}
