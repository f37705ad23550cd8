//! A release in its place: what is attached to it, where it stands, under which tag.

use super::bench::{Bench, releases, told};
use crate::delivery::push;
use crate::delivery::sign::fixture::NOW;
use crate::delivery::sign::{self, SubjectSignature};
use crate::domain::digest::Digest;
use crate::domain::evidence::layout::{EvidenceTag, OCI_MANIFEST};
use crate::domain::image::Tag;
use crate::keys::Signer;
use crate::registry::{Descriptor, ImageStore as _, ManifestReference};
use crate::release::store::{candidate, read, repository_of};

#[tokio::test]
async fn a_genuine_release_in_anothers_place_is_refused() {
    let bench = Bench::new();
    let (a, b) = (bench.staged("a").await, bench.staged("b").await);
    bench.promote(bench.input(&a, 0).await).await.unwrap();
    bench.promote(bench.input(&b, 1).await).await.unwrap();
    let releases = releases();
    let second: Tag = "2.3.0-r2".parse().unwrap();
    let present =
        bench.store.manifest(&releases, &ManifestReference::Tag(second.clone())).await.unwrap().unwrap();

    // Copied whole into another platform's repository: document, manifest, signature.
    let copied = bench.directory.path().join("store");
    std::fs::create_dir_all(copied.join("other")).unwrap();
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(copied.join("acme/release"))
        .arg(copied.join("other/release"))
        .status()
        .unwrap();
    assert!(status.success());
    let other_platform = candidate(&bench.store, &bench.policy, None, "other", NOW).await.unwrap_err();

    // Another genuine version under a version's tag.
    let first: Tag = "2.3.0-r1".parse().unwrap();
    bench.store.put_manifest(&releases, &present.media_type, present.bytes, Some(&first)).await.unwrap();
    let read = |tag: Tag| {
        let (store, policy, releases) = (&bench.store, &bench.policy, releases.clone());
        async move { read(store, policy, &releases, &ManifestReference::Tag(tag), NOW).await }
    };
    let other_version = read(first).await.unwrap_err();
    read(second).await.unwrap();
    insta::assert_snapshot!([other_platform, other_version].map(|failure| told(&failure)).join("\n\n"));
}

#[test]
fn the_repository_of_releases_is_below_the_prefix() {
    let prefix = "acme".parse().unwrap();
    assert_eq!(repository_of(Some(&prefix), "acme").unwrap().as_str(), "acme/acme/release");
    insta::assert_snapshot!(repository_of(None, "../x").unwrap_err().to_string());
}

/// Signs `digest` as a release is signed.
async fn signature(digest: &Digest, key: &dyn Signer) -> SubjectSignature {
    sign::sign_subject("registry.example:5000/acme/release", digest, key).await.unwrap()
}

#[tokio::test]
async fn junk_and_other_peoples_signatures_beside_a_release_are_passed_over() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let promoted = bench.promote(bench.input(&image, 0).await).await.unwrap();
    let (digest, size) = (promoted.release.digest().clone(), promoted.release.manifest().bytes.len() as u64);
    let subject = Descriptor {
        media_type: OCI_MANIFEST.into(),
        digest: digest.clone(),
        size,
        artifact_type: None,
        annotations: None,
    };
    // Genuine, but of another digest; then of this digest, but by a stranger and by a key for other things.
    let of_another = signature(&Digest::of(b"another"), &bench.release_key).await;
    let by_a_stranger = signature(&digest, &bench.keys.stranger).await;
    let by_the_image_key = signature(&digest, &bench.keys.image).await;
    for other in [of_another, by_a_stranger, by_the_image_key] {
        push::attach_signature(&bench.store, &releases(), &subject, &other, &|_| ()).await.unwrap();
    }
    let junk = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[],"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":{size}}}}}"#,
        Digest::of(b"{}")
    );
    bench.store.put_referrer(&releases(), &digest, OCI_MANIFEST, junk.into()).await.unwrap();
    let present = candidate(&bench.store, &bench.policy, None, "acme", NOW).await.unwrap().unwrap();
    assert_eq!((present.digest(), present.key()), (&digest, "release-2026"));
}

#[tokio::test]
async fn a_release_with_only_other_peoples_signatures_is_refused() {
    let bench = Bench::new();
    let image = bench.staged("a").await;
    let promoted = bench.promote(bench.input(&image, 0).await).await.unwrap();
    // The good ones are taken away: the `.sig` tag with its entries, and the bundle with its referrer.
    let digest = promoted.release.digest();
    let layout = bench.directory.path().join("store/acme/release");
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let kept = |entry: &serde_json::Value| {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or_default();
        entry["digest"] == digest.as_str() || !(name.is_empty() || name.starts_with("sha256-"))
    };
    index["manifests"].as_array_mut().unwrap().retain(kept);
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let tag = EvidenceTag::Signature.of(digest);
    assert_eq!(bench.named(&releases(), &tag).await, None);

    let none = candidate(&bench.store, &bench.policy, None, "acme", NOW).await.unwrap_err();
    let subject = Descriptor {
        media_type: OCI_MANIFEST.into(),
        digest: digest.clone(),
        size: promoted.release.manifest().bytes.len() as u64,
        artifact_type: None,
        annotations: None,
    };
    let mut refused = vec![none];
    for key in [&bench.keys.stranger, &bench.keys.attestation] {
        let other = signature(digest, key).await;
        push::attach_signature(&bench.store, &releases(), &subject, &other, &|_| ()).await.unwrap();
        refused.push(candidate(&bench.store, &bench.policy, None, "acme", NOW).await.unwrap_err());
    }
    let refused: Vec<String> = refused.iter().map(told).collect();
    insta::assert_snapshot!(refused.join("\n\n"));
}
