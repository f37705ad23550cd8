//! What must be accepted, and what a hostile crowd beside it may not change.

use super::*;
use crate::domain::evidence::EvidenceKind;

#[tokio::test]
async fn a_complete_image_is_verified_and_reported() {
    let bench = Bench::new().await;
    bench.store.content().tags.insert("staged".parse().unwrap(), bench.digest.clone());
    let reference = ManifestReference::Tag("staged".parse().unwrap());
    let policy = bench.keys.policy();
    let verified = verify(
        &bench.store,
        &repository(),
        &reference,
        &policy,
        Channel::Staged,
        Completeness::BothFormats,
        NOW,
    )
    .await
    .unwrap();
    let masked = |text: String| {
        EvidenceKind::ALL.iter().fold(text, |text, kind| {
            let envelope = verified.verdict().evidence_of(*kind).unwrap().envelope();
            text.replace(envelope.as_str(), "ENVELOPE").replace(envelope.short(), "ENVELOPE")
        })
    };
    insta::assert_snapshot!("report_text", masked(verified.report().to_string()));
    insta::assert_snapshot!("report_json", masked(serde_json::to_string_pretty(&verified.report()).unwrap()));
}

#[tokio::test]
async fn one_form_is_enough_for_a_client_and_too_little_for_a_delivery() {
    let bundles_only = Bench::new().await;
    bundles_only.store.content().tags.clear();
    let legacy_only = Bench::new().await;
    legacy_only.store.content().referrers.clear();
    let mut told = Vec::new();
    for bench in [bundles_only, legacy_only] {
        bench.verify().await.unwrap();
        let policy = bench.keys.policy();
        told.push(bench.told(bench.verify_as(&policy, Channel::Staged, Completeness::BothFormats).await));
    }
    insta::assert_snapshot!(told.join("\n\n"));
}

#[tokio::test]
async fn duplicates_change_nothing() {
    let bench = Bench::new().await;
    let envelopes = bench.envelopes();
    let twice: Vec<Vec<u8>> = envelopes.iter().chain(&envelopes).cloned().collect();
    bench.attest(&twice);
    for json in &twice {
        let envelope = Envelope::parse(json).unwrap();
        bench.refer(KeyBundle::new(envelope, bench.keys.attestation.public_key()).to_json());
    }
    assert_eq!(bench.verify().await.unwrap().verdict().provenances().len(), 1);
}

#[tokio::test]
async fn strangers_entries_are_passed_over() {
    let bench = Bench::new().await;
    let genuine = bench.envelopes();
    let failed = changed(&genuine[3], |text| text.replace("PASSED", "FAILED"));
    let strangers = envelope(&bench.keys.stranger, failed).await;
    bench.refer(KeyBundle::new(strangers.clone(), bench.keys.stranger.public_key()).to_json());
    bench.refer(b"rubbish".to_vec());
    let layers: Vec<Descriptor> = genuine
        .into_iter()
        .chain([strangers.to_json(), b"rubbish".to_vec()])
        .map(|json| bench.layer(ATTESTATION_LAYER, json, ""))
        .chain([bench.layer("text/plain", b"hello".to_vec(), "")])
        .collect();
    bench.put_tag(EvidenceTag::Attestation, &layers);
    let verified = bench.verify().await.unwrap();
    insta::assert_debug_snapshot!(
        verified
            .verdict()
            .notes()
            .iter()
            .map(|note| { note.replace(bench.digest.hex(), "DIGEST") })
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_failed_test_of_another_image_does_not_count_against_this_one() {
    let bench = Bench::new().await;
    let other = Digest::of(b"another image");
    let failed = changed(&bench.envelopes()[3], |text| {
        text.replace("PASSED", "FAILED").replace(bench.digest.hex(), other.hex())
    });
    let failed = envelope(&bench.keys.attestation, failed).await;
    bench.refer(KeyBundle::new(failed, bench.keys.attestation.public_key()).to_json());
    bench.verify().await.unwrap();
}

#[tokio::test]
async fn a_flood_of_junk_costs_a_bounded_number_of_reads() {
    let bench = Bench::new().await;
    let real = bench.store.content().referrers[&bench.digest].clone();
    let junk = |n: u32| Descriptor {
        media_type: OCI_MANIFEST.into(),
        digest: Digest::of(&n.to_le_bytes()),
        size: 700,
        artifact_type: Some(BUNDLE_MEDIA_TYPE.into()),
        annotations: None,
    };
    let flood: Vec<Descriptor> = (0..10_000).map(junk).chain(real).collect();
    bench.store.content().referrers.insert(bench.digest.clone(), flood);
    // The legacy form is flooded as well, and with content that is there.
    let envelopes = bench.envelopes();
    let mut layers: Vec<Descriptor> = (0..10_000_u32)
        .map(|n| bench.layer(ATTESTATION_LAYER, format!("junk {n}").into_bytes(), ""))
        .collect();
    layers.extend(envelopes.into_iter().map(|json| {
        let mut layer = bench.layer(ATTESTATION_LAYER, json.clone(), "");
        let predicate = Envelope::parse(&json).unwrap();
        let statement: serde_json::Value = serde_json::from_slice(predicate.payload()).unwrap();
        let annotations = layer.annotations.get_or_insert_default();
        annotations.insert("predicateType".into(), statement["predicateType"].as_str().unwrap().into());
        layer
    }));
    bench.put_tag(EvidenceTag::Attestation, &layers);
    bench.store.content().calls = 0;
    let policy = bench.keys.policy();
    bench.verify_as(&policy, Channel::Staged, Completeness::BothFormats).await.unwrap();
    let calls = bench.store.content().calls;
    assert!(calls < 10_000, "{calls} calls");
}

#[tokio::test]
async fn the_same_policy_serves_each_channel_that_a_rule_names() {
    let bench = Bench::new().await;
    let policy = bench.keys.policy();
    for channel in [Channel::Staged, Channel::Candidate, Channel::Latest] {
        bench.verify_as(&policy, channel, Completeness::Any).await.unwrap();
    }
}
