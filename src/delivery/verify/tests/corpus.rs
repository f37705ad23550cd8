//! The negative corpus: each attack by its name.

use super::*;
use crate::domain::evidence::provenance::{Origin, Project};
use crate::domain::evidence::statement::compose_image_signature;

/// Asserts that the image is refused with the golden message of this name.
async fn refused(name: &str, bench: &Bench) {
    let told = bench.told(bench.verify().await);
    insta::assert_snapshot!(format!("refused_{name}"), told);
}

#[tokio::test]
async fn empty_set() {
    let bench = Bench::unsigned().await;
    refused("empty_set", &bench).await;
}

#[tokio::test]
async fn wrong_key() {
    let bench = Bench::unsigned().await;
    let strangers = crate::delivery::sign::compose(
        image("a"),
        &input(),
        &bench.keys.stranger,
        &FileSigner::ephemeral().unwrap(),
    )
    .await
    .unwrap();
    publish(&bench.store, &strangers, &|_| ()).await.unwrap();
    // The stranger's image key is as unknown as can be; mask it by dropping its bundle.
    bench.store.content().referrers.get_mut(&bench.digest).unwrap().pop();
    refused("wrong_key", &bench).await;
}

#[tokio::test]
async fn evidence_of_another_image() {
    let bench = Bench::unsigned().await;
    let other = bench.keys.signed(image("b"), &input()).await;
    let published = publish(&bench.store, &other, &|_| ()).await.unwrap();
    {
        let mut content = bench.store.content();
        for kind in [EvidenceTag::Signature, EvidenceTag::Attestation] {
            let theirs = content.tags[&kind.of(published.digest())].clone();
            content.tags.insert(kind.of(&bench.digest), theirs);
        }
        let theirs = content.referrers[published.digest()].clone();
        content.referrers.insert(bench.digest.clone(), theirs);
    }
    refused("evidence_of_another_image", &bench).await;
}

#[tokio::test]
async fn wrong_subject_of_one_attestation() {
    let bench = Bench::new().await;
    let mut envelopes = bench.envelopes();
    let other = Digest::of(b"another image");
    let payload = changed(&envelopes[2], |text| text.replace(bench.digest.hex(), other.hex()));
    envelopes[2] = envelope(&bench.keys.attestation, payload).await.to_json();
    bench.attest(&envelopes);
    refused("wrong_subject_of_one_attestation", &bench).await;
}

#[tokio::test]
async fn wrong_predicate_type() {
    let bench = Bench::new().await;
    let mut envelopes = bench.envelopes();
    let payload =
        changed(&envelopes[2], |text| text.replace("slsa.dev/provenance/v1", "slsa.dev/provenance/v0.2"));
    envelopes[2] = envelope(&bench.keys.attestation, payload).await.to_json();
    bench.attest(&envelopes);
    refused("wrong_predicate_type", &bench).await;
}

#[tokio::test]
async fn a_statement_changed_after_signing() {
    let bench = Bench::new().await;
    let mut envelopes = bench.envelopes();
    let original = Envelope::parse(&envelopes[2]).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&envelopes[2]).unwrap();
    let signature = STANDARD.decode(json["signatures"][0]["sig"].as_str().unwrap()).unwrap();
    let payload = changed(&original.to_json(), |text| text.replace("\"level\":1", "\"level\":4"));
    let forged = Envelope::new(payload, signature);
    envelopes[2] = forged.to_json();
    bench.attest(&envelopes);
    bench.refer(KeyBundle::new(forged, bench.keys.attestation.public_key()).to_json());
    refused("a_statement_changed_after_signing", &bench).await;
}

#[tokio::test]
async fn truncated_entries() {
    let bench = Bench::new().await;
    let mut envelopes = bench.envelopes();
    for json in &mut envelopes {
        // Counted from the payload: a DER signature has not always the same length.
        let payload = json.windows(12).position(|part| part == b"\"signatures\"").unwrap();
        json.truncate(payload / 2);
    }
    bench.attest(&envelopes);
    refused("truncated_entries", &bench).await;
}

#[tokio::test]
async fn content_that_is_not_its_digest() {
    let bench = Bench::new().await;
    for content in bench.store.content().blobs.values_mut() {
        if content.starts_with(b"{\"payloadType\"") || content.starts_with(b"{\"mediaType\"") {
            *content = content.slice(..content.len() - 1);
        }
    }
    refused("content_that_is_not_its_digest", &bench).await;
}

#[tokio::test]
async fn two_signatures_in_one_envelope() {
    let bench = Bench::new().await;
    let envelopes: Vec<Vec<u8>> = bench
        .envelopes()
        .iter()
        .map(|json| {
            let mut value: serde_json::Value = serde_json::from_slice(json).unwrap();
            let first = value["signatures"][0].clone();
            value["signatures"].as_array_mut().unwrap().push(first);
            value.to_string().into_bytes()
        })
        .collect();
    bench.attest(&envelopes);
    refused("two_signatures_in_one_envelope", &bench).await;
}

#[tokio::test]
async fn another_payload_type() {
    let bench = Bench::new().await;
    let mut envelopes = Vec::new();
    for json in bench.envelopes() {
        let payload = Envelope::parse(&json).unwrap().payload().to_vec();
        let signature = bench.keys.attestation.sign(&sigstore_types::pae("application/json", &payload)).await;
        let envelope = Envelope::new(payload, signature.unwrap()).to_json();
        let text = String::from_utf8(envelope).unwrap();
        envelopes.push(text.replace("application/vnd.in-toto+json", "application/json").into_bytes());
    }
    bench.attest(&envelopes);
    refused("another_payload_type", &bench).await;
}

#[tokio::test]
async fn an_image_signature_by_the_attestation_key() {
    let bench = Bench::new().await;
    bench.sign_legacy(&bench.keys.attestation, &bench.digest).await;
    bench.store.content().referrers.clear();
    let statement = envelope(&bench.keys.attestation, compose_image_signature(&bench.digest)).await;
    bench.refer(KeyBundle::new(statement, bench.keys.attestation.public_key()).to_json());
    refused("an_image_signature_by_the_attestation_key", &bench).await;
}

#[tokio::test]
async fn attestations_by_the_image_key_and_no_signature() {
    // What Cosign 3 would take for a signature: any bundle by the image key.
    let bench = Bench::new().await;
    let envelopes = bench.envelopes();
    bench.store.content().tags.clear();
    bench.store.content().referrers.clear();
    for json in envelopes {
        let payload = Envelope::parse(&json).unwrap().payload().to_vec();
        let by_image_key = envelope(&bench.keys.image, payload).await;
        bench.refer(KeyBundle::new(by_image_key, bench.keys.image.public_key()).to_json());
    }
    refused("attestations_by_the_image_key_and_no_signature", &bench).await;
}

#[tokio::test]
async fn a_signature_that_claims_a_trusted_key() {
    let bench = Bench::new().await;
    bench.store.content().tags.remove(&EvidenceTag::Signature.of(&bench.digest));
    bench.store.content().referrers.clear();
    let statement = envelope(&bench.keys.stranger, compose_image_signature(&bench.digest)).await;
    bench.refer(KeyBundle::new(statement, bench.keys.image.public_key()).to_json());
    refused("a_signature_that_claims_a_trusted_key", &bench).await;
}

#[tokio::test]
async fn a_signature_for_another_digest() {
    let bench = Bench::new().await;
    bench.store.content().referrers.get_mut(&bench.digest).unwrap().pop();
    bench.sign_legacy(&bench.keys.image, &Digest::of(b"another image")).await;
    refused("a_signature_for_another_digest", &bench).await;
}

#[tokio::test]
async fn a_failed_test_beside_a_passed_one() {
    let bench = Bench::new().await;
    let failed = changed(&bench.envelopes()[3], |text| text.replace("PASSED", "FAILED"));
    let failed = envelope(&bench.keys.attestation, failed).await;
    bench.refer(KeyBundle::new(failed, bench.keys.attestation.public_key()).to_json());
    refused("a_failed_test_beside_a_passed_one", &bench).await;
}

#[tokio::test]
async fn a_passed_test_with_failures_in_its_own_counts() {
    let bench = Bench::new().await;
    let mut envelopes = bench.envelopes();
    let payload = changed(&envelopes[3], |text| text.replace("\"failed\":0", "\"failed\":3"));
    envelopes[3] = envelope(&bench.keys.attestation, payload).await.to_json();
    bench.attest(&envelopes);
    refused("a_passed_test_with_failures_in_its_own_counts", &bench).await;
}

#[tokio::test]
async fn documents_of_another_kind() {
    let spdx = Bytes::from_static(br#"{"spdxVersion":"SPDX-3.0"}"#);
    let cyclonedx = Bytes::from_static(br#"{"bomFormat":"cyclonedx"}"#);
    let bench = Bench::with(&EvidenceInput { spdx, cyclonedx, ..input() }).await;
    refused("documents_of_another_kind", &bench).await;
}

#[tokio::test]
async fn provenance_of_another_project_and_builder() {
    let mut strange = input();
    strange.provenance.project = Project { id: 18, path: "acme/bill".into() };
    strange.provenance.builder_id = "https://airlock.example/builder/local/v1".into();
    strange.provenance.hermetic.level = 0;
    strange.provenance.origin = Origin::Local;
    let bench = Bench::with(&strange).await;
    refused("provenance_of_another_project_and_builder", &bench).await;
}
