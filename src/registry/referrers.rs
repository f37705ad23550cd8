//! Referrers as data: the fallback tag and its index (OCI distribution specification 1.1,
//! "Referrers Tag Schema"). What a place returns is a hint; nothing here is believed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Descriptor, StoreError};
use crate::domain::digest::Digest;
use crate::domain::image::Tag;

/// Media type of an OCI image index.
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Returns the tag under which a place without the referrers API keeps the referrers of `subject`.
pub(super) fn fallback_tag(subject: &Digest) -> Tag {
    format!("sha256-{}", subject.hex()).parse().expect("a digest's digits make a tag")
}

/// Returns the entries of an index; `None` when the bytes are not one (an image under the fallback
/// tag, as `cosign copy` leaves it, counts as no referrers).
pub(super) fn entries(bytes: &[u8]) -> Option<Vec<Value>> {
    let mut document: Value = serde_json::from_slice(bytes).ok()?;
    let Value::Array(entries) = document.get_mut("manifests")?.take() else { return None };
    Some(entries)
}

/// Returns the descriptors among `entries`: what is not one is passed over, so that a single foreign
/// entry hides no other, and a digest is listed once.
pub(super) fn descriptors(entries: Vec<Value>, limit: usize) -> Vec<Descriptor> {
    let mut seen = std::collections::HashSet::new();
    entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value::<Descriptor>(entry).ok())
        .filter(|descriptor| seen.insert(descriptor.digest.clone()))
        .take(limit)
        .collect()
}

/// Returns the descriptor that an index carries for a referring manifest, its type and annotations
/// copied as the specification demands.
pub(super) fn descriptor_of(
    media_type: &str,
    bytes: &[u8],
    subject: &Digest,
) -> Result<Descriptor, StoreError> {
    let refused = |expected: &str, found: String| StoreError::NotAsDeclared {
        what: "a referring manifest".to_owned(),
        expected: expected.to_owned(),
        found,
    };
    let manifest: Value =
        serde_json::from_slice(bytes).map_err(|error| refused("a JSON document", error.to_string()))?;
    let claimed = manifest.pointer("/subject/digest").and_then(Value::as_str).unwrap_or("none");
    if claimed != subject.as_str() {
        return Err(refused(&format!("the subject {subject}"), claimed.to_owned()));
    }
    let text = |pointer: &str| {
        manifest.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let annotations = manifest
        .get("annotations")
        .filter(|annotations| !annotations.is_null())
        .map(|annotations| serde_json::from_value(annotations.clone()))
        .transpose()
        .map_err(|error| refused("annotations that are texts", error.to_string()))?;
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        artifact_type: text("/artifactType").or_else(|| text("/config/mediaType")),
        annotations,
    })
}

/// Returns the index with `descriptor` added and every other entry kept as it was; `None` when it is
/// there already.
pub(super) fn with_entry(index: Option<&[u8]>, descriptor: &Descriptor) -> Option<Bytes> {
    let mut all = index.and_then(entries).unwrap_or_default();
    let ours = serde_json::to_value(descriptor).expect("a descriptor is JSON");
    let same =
        |entry: &Value| entry.get("digest").and_then(Value::as_str) == Some(descriptor.digest.as_str());
    let known: Vec<&Value> = all.iter().filter(|entry| same(entry)).collect();
    if known.len() == 1 && *known[0] == ours {
        return None;
    }
    all.retain(|entry| !same(entry));
    all.push(ours);
    let document = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all });
    Some(serde_json::to_vec(&document).expect("an index is JSON").into())
}

#[cfg(test)]
mod tests;
