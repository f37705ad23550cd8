//! Tests of composing and signing.

use bytes::Bytes;

use super::fixture::{Keys, image, input};
use super::*;

#[tokio::test]
async fn each_key_signs_its_own_things_alone() {
    let keys = Keys::new();
    let signed = keys.signed(image("a"), &input()).await;
    let evidence = signed.evidence();
    assert_eq!(evidence.subject(), &Digest::of(&signed.image().manifest));
    assert_eq!(
        evidence.attestations.envelopes.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        EvidenceKind::ALL
    );
    for (_, envelope) in &evidence.attestations.envelopes {
        assert!(envelope.is_signed_by(keys.attestation.public_key()));
        assert!(!envelope.is_signed_by(keys.image.public_key()));
    }
    assert!(evidence.signature.statement.is_signed_by(keys.image.public_key()));
    let SignedPayload { payload, signature } = &evidence.signature.simple_signing;
    assert!(keys.image.public_key().verifies(payload, signature));
    assert_eq!(SimpleSigning::parse(payload).unwrap().digest(), evidence.subject());
}

#[tokio::test]
async fn refuses_one_key_for_both_uses_and_documents_that_are_none() {
    let keys = Keys::new();
    let one_key = compose(image("a"), &input(), &keys.image, &keys.image).await.unwrap_err();
    let bad = EvidenceInput { spdx: Bytes::from_static(b"[]"), ..input() };
    let no_document = compose(image("a"), &bad, &keys.attestation, &keys.image).await.unwrap_err();
    let mut project = input();
    project.provenance.commit.id = "HEAD".into();
    let no_commit = compose(image("a"), &project, &keys.attestation, &keys.image).await.unwrap_err();
    let large = EvidenceInput { spdx: format!("{{\"a\":\"{}\"}}", "x".repeat(30 << 20)).into(), ..input() };
    let too_large = compose(image("a"), &large, &keys.attestation, &keys.image).await.unwrap_err();
    let told = [one_key, no_document, no_commit, too_large].map(|failure| failure.to_string()).join("\n\n");
    let subject = Digest::of(&image("a").manifest);
    insta::assert_snapshot!(
        told.replace(subject.short(), "DIGEST").replace(env!("CARGO_PKG_VERSION"), "VERSION")
    );
}
