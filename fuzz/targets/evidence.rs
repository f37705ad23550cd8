//! Envelopes, bundles, simple signing payloads and statements: what is read can be written and read again.
#![no_main]

use std::sync::LazyLock;

use airlock::domain::evidence::bundle::KeyBundle;
use airlock::domain::evidence::envelope::Envelope;
use airlock::domain::evidence::simple_signing::SimpleSigning;
use airlock::domain::evidence::statement::Statement;
use airlock::domain::public_key::PublicKey;
use airlock::keys::file;
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<PublicKey> = LazyLock::new(|| {
    let pair = file::generate("").expect("a key pair");
    PublicKey::from_pem(&pair.public_pem).expect("a public key")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert_eq!(Envelope::parse(&envelope.to_json()).expect("an envelope"), envelope);
        assert!(!envelope.is_signed_by(&KEY), "nobody has this key");
    }
    if let Ok(bundle) = KeyBundle::parse(bytes) {
        assert_eq!(KeyBundle::parse(&bundle.to_json()).expect("a bundle"), bundle);
        assert!(!bundle.envelope().is_signed_by(&KEY));
    }
    if let Ok(signing) = SimpleSigning::parse(bytes) {
        assert_eq!(SimpleSigning::parse(&signing.to_payload()).expect("a payload"), signing);
    }
    if let Ok(statement) = Statement::parse(bytes) {
        assert!(statement.subjects().iter().all(|subject| statement.is_about(subject)));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = PublicKey::from_pem(text)
    {
        assert_eq!(PublicKey::from_pem(&key.to_pem()).ok().as_ref(), Some(&key));
    }
    let _ = PublicKey::from_spki_der(bytes);
    let _ = PublicKey::from_point(bytes);
});
