//! The `index.json` of a layout: tags are `org.opencontainers.image.ref.name` annotations; a manifest
//! that no tag names has an entry without one, so that it is found and no collector takes it.

use serde_json::{Value, json};

use crate::domain::digest::Digest;
use crate::domain::image::Tag;
use crate::registry::Descriptor;

/// Largest `index.json` that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The entries of an index; what other tools wrote is kept as it is.
pub(super) struct Index {
    document: Value,
}

impl Default for Index {
    fn default() -> Self {
        let document =
            json!({ "schemaVersion": 2, "mediaType": crate::registry::referrers::INDEX, "manifests": [] });
        Self { document }
    }
}

impl Index {
    /// Returns the index, or `None` when the bytes are not one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        document.get("manifests")?.as_array()?;
        Some(Self { document })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.document).expect("an index is JSON")
    }

    /// Returns the entry that `tag` names; the last one where another tool wrote several.
    pub(super) fn by_tag(&self, tag: &Tag) -> Option<Descriptor> {
        self.entries().iter().rev().find(|entry| ref_name(entry) == Some(tag.as_str())).and_then(descriptor)
    }

    pub(super) fn by_digest(&self, digest: &Digest) -> Option<Descriptor> {
        self.entries().iter().find(|entry| is_of(entry, digest)).and_then(descriptor)
    }

    /// Returns the tags in byte order.
    pub(super) fn tags(&self) -> Vec<Tag> {
        let mut tags: Vec<Tag> =
            self.entries().iter().filter_map(|entry| ref_name(entry)?.parse().ok()).collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// Enters a manifest and moves `tag` to it; returns whether anything changed.
    pub(super) fn put(&mut self, manifest: &Descriptor, tag: Option<&Tag>) -> bool {
        let before = self.document.clone();
        let entries = self.entries_mut();
        match tag {
            None => {
                if !entries.iter().any(|entry| is_of(entry, &manifest.digest)) {
                    entries.push(entry(manifest, None));
                }
            }
            Some(tag) => {
                let named = |entry: &Value| ref_name(entry) == Some(tag.as_str());
                if entries.iter().any(|entry| named(entry) && is_of(entry, &manifest.digest))
                    && entries.iter().filter(|entry| named(entry)).count() == 1
                {
                    return false;
                }
                // Whoever holds the digest that the tag leaves must still find it, except for an old
                // list of referrers: the new one has all its entries.
                let keep = if is_fallback(tag) { Keep::No } else { Keep::Yes };
                release(entries, tag, keep);
                entries.retain(|entry| !(is_of(entry, &manifest.digest) && ref_name(entry).is_none()));
                entries.push(entry(manifest, Some(tag)));
            }
        }
        self.document != before
    }

    fn entries(&self) -> &[Value] {
        self.document["manifests"].as_array().map_or(&[], Vec::as_slice)
    }

    fn entries_mut(&mut self) -> &mut Vec<Value> {
        self.document["manifests"].as_array_mut().expect("`parse` and `default` make `manifests` a list")
    }
}

#[derive(PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// Takes `tag` from the entries that have it.
fn release(entries: &mut Vec<Value>, tag: &Tag, keep: Keep) {
    for at in (0..entries.len()).rev() {
        if ref_name(&entries[at]) != Some(tag.as_str()) {
            continue;
        }
        let mut old = entries.remove(at);
        let digest = old.get("digest").cloned();
        if keep == Keep::No || entries.iter().any(|entry| entry.get("digest").cloned() == digest) {
            continue;
        }
        if let Some(annotations) = old.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove(REF_NAME);
        }
        if old.get("annotations").and_then(Value::as_object).is_some_and(|all| all.is_empty())
            && let Some(old) = old.as_object_mut()
        {
            old.shift_remove("annotations");
        }
        entries.insert(at, old);
    }
}

fn is_fallback(tag: &Tag) -> bool {
    tag.as_str().strip_prefix("sha256-").is_some_and(|hex| Digest::from_hex(hex).is_ok())
}

fn is_of(entry: &Value, digest: &Digest) -> bool {
    entry.get("digest").and_then(Value::as_str) == Some(digest.as_str())
}

fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

fn descriptor(entry: &Value) -> Option<Descriptor> {
    serde_json::from_value(entry.clone()).ok()
}

fn entry(manifest: &Descriptor, tag: Option<&Tag>) -> Value {
    let mut entry = serde_json::to_value(manifest).expect("a descriptor is JSON");
    if let Some(tag) = tag {
        entry["annotations"][REF_NAME] = tag.as_str().into();
    }
    entry
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(name: &str) -> Descriptor {
        Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: Digest::of(name.as_bytes()),
            size: name.len() as u64,
            artifact_type: None,
            annotations: None,
        }
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    #[test]
    fn a_manifest_whose_tag_moved_away_is_still_found_by_digest() {
        let mut index = Index::default();
        index.put(&manifest("old"), Some(&tag("staged")));
        index.put(&manifest("new"), Some(&tag("staged")));
        assert_eq!(index.by_tag(&tag("staged")), index.by_digest(&manifest("new").digest));
        assert_eq!(index.by_digest(&manifest("old").digest), Some(manifest("old")));
        assert_eq!(index.tags(), [tag("staged")]);
    }

    #[test]
    fn two_tags_of_one_manifest_are_two_entries_and_a_third_put_changes_nothing() {
        let mut index = Index::default();
        assert!(index.put(&manifest("a"), None));
        assert!(index.put(&manifest("a"), Some(&tag("one"))));
        assert!(index.put(&manifest("a"), Some(&tag("two"))));
        assert!(!index.put(&manifest("a"), Some(&tag("two"))));
        assert!(!index.put(&manifest("a"), None));
        assert_eq!(index.entries().len(), 2);
    }

    #[test]
    fn an_old_list_of_referrers_does_not_stay() {
        let fallback = crate::registry::referrers::fallback_tag(&Digest::of(b"subject"));
        let mut index = Index::default();
        index.put(&manifest("list 1"), Some(&fallback));
        index.put(&manifest("list 2"), Some(&fallback));
        assert_eq!(index.entries().len(), 1);
    }

    proptest! {
        #[test]
        fn never_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(mut index) = Index::parse(&bytes) {
                index.put(&manifest("a"), Some(&tag("t")));
                prop_assert!(index.by_tag(&tag("t")).is_some());
            }
        }

        #[test]
        fn what_was_put_is_there_after_a_round_trip(name in "[a-z]{1,9}", text in "[a-z]{1,9}") {
            let mut index = Index::default();
            index.put(&manifest(&name), Some(&tag(&text)));
            let again = Index::parse(&index.to_bytes()).unwrap();
            prop_assert_eq!(again.by_tag(&tag(&text)).unwrap().digest, manifest(&name).digest);
        }
    }
}
