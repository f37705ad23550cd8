//! Tests of the order of writes and of retries.

use std::sync::Mutex;

use super::memory::MemoryStore;
use super::*;
use crate::delivery::sign::fixture::{Keys, NOW, image, input, repository};
use crate::domain::evidence::layout::{EvidenceTag, SIGNATURE_LAYER};
use crate::domain::trust::Channel;

const ORDER: [&str; 11] = [
    "blob",
    "blob",
    "config",
    "manifest",
    "att",
    "att-bundle-1",
    "att-bundle-2",
    "att-bundle-3",
    "att-bundle-4",
    "sig",
    "sig-bundle",
];

fn layers(store: &MemoryStore, digest: &Digest, kind: EvidenceTag) -> Vec<Descriptor> {
    let content = store.content();
    let manifest = &content.manifests[&content.tags[&kind.of(digest)]].1;
    let value: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    serde_json::from_value(value["layers"].clone()).unwrap()
}

#[tokio::test]
async fn writes_the_image_then_attestations_then_the_signature() {
    let (keys, store) = (Keys::new(), MemoryStore::default());
    let signed = keys.signed(image("a"), &input()).await;
    let names = Mutex::new(Vec::new());
    publish(&store, &signed, &|name| names.lock().unwrap().push(name.to_owned())).await.unwrap();
    assert_eq!(names.into_inner().unwrap(), ORDER);
    // No tag of an image: only the two that carry evidence.
    let tags: Vec<String> = store.content().tags.keys().map(ToString::to_string).collect();
    let hex = signed.evidence().subject().hex();
    assert_eq!(tags, [format!("sha256-{hex}.att"), format!("sha256-{hex}.sig")]);
}

#[tokio::test]
async fn after_a_death_at_any_write_the_image_is_refused_and_a_retry_completes_it() {
    let keys = Keys::new();
    for (deaths, last_write) in ORDER.iter().enumerate() {
        let store = MemoryStore::default();
        let signed = keys.signed(image("a"), &input()).await;
        // The death: what was in the store after that write is all that there is.
        let (count, kept) = (Mutex::new(0), Mutex::new(None));
        publish(&store, &signed, &|_| {
            let mut count = count.lock().unwrap();
            if *count == deaths {
                *kept.lock().unwrap() = Some(store.content().clone());
            }
            *count += 1;
        })
        .await
        .unwrap();
        *store.content() = kept.into_inner().unwrap().unwrap();
        let complete = deaths + 1 == ORDER.len();
        let (policy, digest) = (keys.policy(), signed.evidence().subject().clone());
        let reference = ManifestReference::Digest(digest.clone());
        let verified = verify(
            &store,
            &repository(),
            &reference,
            &policy,
            Channel::Staged,
            Completeness::BothFormats,
            NOW,
        )
        .await;
        assert_eq!(verified.is_ok(), complete, "after {last_write} ({deaths})");
        // A new process signs anew: other signatures over the same payloads.
        let again = keys.signed(image("a"), &input()).await;
        let published = publish(&store, &again, &|_| ()).await.unwrap();
        let verified = published.verify(&store, &policy, Channel::Staged, NOW).await.unwrap();
        assert_eq!(layers(&store, &digest, EvidenceTag::Attestation).len(), 4);
        assert_eq!(layers(&store, &digest, EvidenceTag::Signature).len(), 1);
        for evidence in verified.verdict().evidence() {
            assert_eq!(published.evidence()[&evidence.kind()], *evidence.envelope());
        }
    }
}

#[tokio::test]
async fn a_complete_retry_writes_no_second_entry() {
    let (keys, store) = (Keys::new(), MemoryStore::default());
    publish(&store, &keys.signed(image("a"), &input()).await, &|_| ()).await.unwrap();
    let before = store.content().clone();
    publish(&store, &keys.signed(image("a"), &input()).await, &|_| ()).await.unwrap();
    let after = store.content();
    assert_eq!(before.tags, after.tags);
    assert_eq!(before.referrers, after.referrers);
    assert_eq!(before.blobs.len(), after.blobs.len());
}

#[tokio::test]
async fn another_statement_is_added_beside_the_first() {
    let (keys, store) = (Keys::new(), MemoryStore::default());
    publish(&store, &keys.signed(image("a"), &input()).await, &|_| ()).await.unwrap();
    let mut later = input();
    later.provenance.origin =
        crate::domain::evidence::provenance::Origin::GitLab { pipeline: 777, job: 9100, runner: 4 };
    let signed = keys.signed(image("a"), &later).await;
    let published = publish(&store, &signed, &|_| ()).await.unwrap();
    assert_eq!(layers(&store, published.digest(), EvidenceTag::Attestation).len(), 5);
    let verified = published.verify(&store, &keys.policy(), Channel::Staged, NOW).await.unwrap();
    assert_eq!(verified.verdict().provenances().len(), 2);
    assert_eq!(verified.verdict().provenance().unwrap().origin, later.provenance.origin);
}

#[tokio::test]
async fn keeps_the_entries_of_others_up_to_a_hundred() {
    let (keys, store) = (Keys::new(), MemoryStore::default());
    let signed = keys.signed(image("a"), &input()).await;
    let digest = signed.evidence().subject().clone();
    let foreign: Vec<Descriptor> = (0..130)
        .map(|n: u32| Descriptor {
            media_type: SIGNATURE_LAYER.into(),
            digest: Digest::of(&n.to_le_bytes()),
            size: 4,
            artifact_type: None,
            annotations: None,
        })
        .collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "layers": foreign}).to_string();
    let tag = EvidenceTag::Signature.of(&digest);
    store.put_manifest(&repository(), "x", manifest.into(), Some(&tag)).await.unwrap();
    for _ in 0..2 {
        publish(&store, &signed, &|_| ()).await.unwrap();
        let kept = layers(&store, &digest, EvidenceTag::Signature);
        assert_eq!(kept.len(), 100);
        assert_eq!(kept[..99], foreign[31..]);
    }
    // Rubbish in place of a manifest is replaced.
    store.put_manifest(&repository(), "x", Bytes::from_static(b"rubbish"), Some(&tag)).await.unwrap();
    let published = publish(&store, &signed, &|_| ()).await.unwrap();
    published.verify(&store, &keys.policy(), Channel::Staged, NOW).await.unwrap();
}

#[tokio::test]
async fn what_is_written_is_cosigns_layout() {
    let (keys, store) = (Keys::new(), MemoryStore::default());
    let signed = keys.signed(image("a"), &input()).await;
    let published = publish(&store, &signed, &|_| ()).await.unwrap();
    let content = store.content();
    let signature = &signed.evidence().signature.simple_signing.signature;
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signature);
    let mut told = String::new();
    let mask = regex::Regex::new("\"size\": [0-9]{3,}").unwrap();
    for digest in content.tags.values().chain(content.referrers[published.digest()].iter().map(|d| &d.digest))
    {
        let value: serde_json::Value = serde_json::from_slice(&content.manifests[digest].1).unwrap();
        let mut text = serde_json::to_string_pretty(&value).unwrap();
        // Signatures differ at each run, and with them the digests and sizes of what holds them.
        text = text.replace(&signature, "SIGNATURE").replace(published.digest().as_str(), "SUBJECT");
        for digest in content.blobs.keys().filter(|digest| **digest != Digest::of(b"{}")) {
            text = text.replace(digest.as_str(), "DIGEST");
        }
        told.push_str(&mask.replace_all(&text, "\"size\": SIZE"));
        told.push('\n');
    }
    insta::assert_snapshot!(told);
}
