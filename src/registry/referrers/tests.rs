//! The fallback index: what is kept, what is added, what is passed over.

use proptest::prelude::*;

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn subject() -> Digest {
    Digest::of(b"subject")
}

fn referring(artifact_type: Option<&str>) -> Vec<u8> {
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2 },
        "layers": [], "subject": { "mediaType": MANIFEST, "digest": subject(), "size": 7 },
        "annotations": { "dev.sigstore.bundle.content": "dsse-envelope" },
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = artifact_type.into();
    }
    serde_json::to_vec(&manifest).unwrap()
}

#[test]
fn copies_the_artifact_type_and_the_annotations() {
    let descriptor = descriptor_of(MANIFEST, &referring(Some("application/x")), &subject()).unwrap();
    assert_eq!(descriptor.artifact_type.as_deref(), Some("application/x"));
    assert_eq!(descriptor.annotations.unwrap()["dev.sigstore.bundle.content"], "dsse-envelope");
}

#[test]
fn takes_the_configs_media_type_where_there_is_no_artifact_type() {
    let descriptor = descriptor_of(MANIFEST, &referring(None), &subject()).unwrap();
    assert_eq!(descriptor.artifact_type.as_deref(), Some("application/vnd.oci.empty.v1+json"));
}

#[test]
fn refuses_a_manifest_about_another_subject() {
    let error = descriptor_of(MANIFEST, &referring(None), &Digest::of(b"other")).unwrap_err();
    assert!(matches!(error, StoreError::NotAsDeclared { .. }), "{error}");
}

#[test]
fn keeps_every_other_entry_and_adds_no_second_one() {
    let foreign =
        json!({ "mediaType": MANIFEST, "digest": "sha512:ab", "size": 1, "unknown": { "kept": true } });
    let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [foreign.clone()] })).unwrap();
    let descriptor = descriptor_of(MANIFEST, &referring(Some("application/x")), &subject()).unwrap();
    let once = with_entry(Some(&index), &descriptor).unwrap();
    let all = entries(&once).unwrap();
    assert_eq!(all[0], foreign);
    assert_eq!(all.len(), 2);
    assert!(with_entry(Some(&once), &descriptor).is_none());
    assert_eq!(descriptors(all, 10), [descriptor]);
}

#[test]
fn corrects_an_entry_that_says_a_wrong_artifact_type() {
    let right = descriptor_of(MANIFEST, &referring(Some("application/x")), &subject()).unwrap();
    let wrong = Descriptor { artifact_type: Some("application/wrong".to_owned()), ..right.clone() };
    let index = with_entry(None, &wrong).unwrap();
    let mended = with_entry(Some(&index), &right).unwrap();
    assert_eq!(descriptors(entries(&mended).unwrap(), 10), [right]);
}

#[test]
fn takes_an_image_under_the_fallback_tag_for_no_referrers() {
    assert!(entries(&referring(None)).is_none());
    assert!(entries(b"<html>").is_none());
    assert!(entries(br#"{"manifests":{}}"#).is_none());
}

proptest! {
    #[test]
    fn never_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = entries(&bytes).map(|all| descriptors(all, 3));
        let _ = descriptor_of(MANIFEST, &bytes, &subject());
    }

    #[test]
    fn what_was_added_is_found_again(size in any::<u32>(), name in "[ -~]{0,40}") {
        let descriptor = Descriptor {
            media_type: MANIFEST.to_owned(), digest: Digest::of(name.as_bytes()), size: size.into(),
            artifact_type: Some(name), annotations: None,
        };
        let index = with_entry(None, &descriptor).unwrap();
        prop_assert_eq!(descriptors(entries(&index).unwrap(), 1), vec![descriptor]);
    }
}
