//! Sigstore bundles v0.3 around a DSSE envelope that a plain key signed.

use sigstore_bundle::{BundleV03, VerificationMaterialV03};
use sigstore_types::{Bundle, MediaType, SignatureContent, VerificationMaterialContent};

use super::envelope::Envelope;
use super::{MAX_EVIDENCE_BYTES, NotEvidence};
use crate::domain::public_key::PublicKey;

/// Media type of a bundle, as layer type and as artifact type.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A bundle's envelope and its hint at the key, which proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBundle {
    envelope: Envelope,
    hint: String,
}

impl KeyBundle {
    /// Creates a bundle; the hint is the one that Sigstore's own verifiers compute.
    pub fn new(envelope: Envelope, key: &PublicKey) -> Self {
        Self { envelope, hint: key.hint() }
    }

    /// Parses JSON; log entries and timestamps are read over.
    pub fn parse(json: &[u8]) -> Result<Self, NotEvidence> {
        if json.len() as u64 > MAX_EVIDENCE_BYTES {
            return Err(error(format!("larger than {MAX_EVIDENCE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(json).map_err(error)?;
        let bundle = Bundle::from_json(text).map_err(error)?;
        if bundle.media_type() != MediaType::Bundle0_3 {
            return Err(error(format!("found the version `{}`", bundle.media_type())));
        }
        let VerificationMaterialContent::PublicKey(key) = bundle.verification_material.content else {
            return Err(error("it is signed by a certificate"));
        };
        let SignatureContent::DsseEnvelope(envelope) = bundle.content else {
            return Err(error("it does not hold a DSSE envelope"));
        };
        Ok(Self { envelope: Envelope::from_sigstore(envelope)?, hint: key.hint })
    }

    /// Returns JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let material = VerificationMaterialV03::PublicKey { hint: self.hint.clone() };
        let content = SignatureContent::DsseEnvelope(self.envelope.to_sigstore());
        let bundle = BundleV03::new(material, content).into_bundle();
        bundle.to_json().expect("strings are JSON").into_bytes()
    }

    /// Returns the envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the envelope and the hint.
    pub fn into_parts(self) -> (Envelope, String) {
        (self.envelope, self.hint)
    }
}

fn error(why: impl std::fmt::Display) -> NotEvidence {
    NotEvidence::new("a Sigstore bundle v0.3 signed by a key", why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> PublicKey {
        let mut point = [7_u8; 65];
        point[0] = 4;
        PublicKey::from_point(&point).unwrap()
    }

    #[test]
    fn is_a_bundle_with_the_hint_of_its_key() {
        let bundle = KeyBundle::new(Envelope::new(b"{}".to_vec(), vec![1, 2, 3]), &key());
        insta::assert_snapshot!(String::from_utf8(bundle.to_json()).unwrap());
    }

    #[test]
    fn refuses_other_bundles() {
        let json = KeyBundle::new(Envelope::new(b"{}".to_vec(), vec![1, 2, 3]), &key()).to_json();
        let json = String::from_utf8(json).unwrap();
        let signature = r#""signatures":[{"sig":"AQID"}]"#;
        assert!(json.contains(signature));
        insta::assert_debug_snapshot!([
            json.replace(".v0.3+json\"", "+json;version=0.2\""),
            json.replace("\"publicKey\":{\"hint\"", "\"certificate\":{\"rawBytes\""),
            json.replace(signature, r#""signatures":[{"sig":"AQID"},{"sig":"AQID"}]"#),
            json.replace("vnd.in-toto", "vnd.other"),
            r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},"messageSignature":{"signature":"AQID"}}"#.into(),
            json[..60].to_owned(),
        ].map(|text| KeyBundle::parse(text.as_bytes()).unwrap_err().to_string()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bundle_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = KeyBundle::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read_back(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bundle = KeyBundle::new(Envelope::new(payload, vec![1]), &key());
            prop_assert_eq!(KeyBundle::parse(&bundle.to_json()).unwrap(), bundle);
        }
    }
}
