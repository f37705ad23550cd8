//! DSSE envelopes (secure-systems-lab/dsse v1) with exactly one signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sigstore_types::{DsseEnvelope, DsseSignature, KeyId, PayloadBytes, SignatureBytes};

use super::{MAX_EVIDENCE_BYTES, NotEvidence};
use crate::domain::digest::Digest;
use crate::domain::public_key::PublicKey;

/// The payload type of in-toto statements.
pub const IN_TOTO_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// An envelope around an in-toto statement: one payload of that type and one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Returns the bytes that a signature over an in-toto payload covers (DSSE, "PAE").
pub fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    sigstore_types::pae(IN_TOTO_PAYLOAD_TYPE, payload)
}

impl Envelope {
    /// Creates an envelope from a payload and a signature over its [`signed_bytes`].
    pub fn new(payload: Vec<u8>, signature: Vec<u8>) -> Self {
        Self { payload, signature }
    }

    /// Parses JSON.
    pub fn parse(json: &[u8]) -> Result<Self, NotEvidence> {
        if json.len() as u64 > MAX_EVIDENCE_BYTES {
            return Err(error(format!("larger than {MAX_EVIDENCE_BYTES} bytes")));
        }
        Self::from_sigstore(serde_json::from_slice(json).map_err(error)?)
    }

    pub(super) fn from_sigstore(envelope: DsseEnvelope) -> Result<Self, NotEvidence> {
        if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE {
            return Err(error(format!(
                "expected the payload type `{IN_TOTO_PAYLOAD_TYPE}`, found `{}`",
                envelope.payload_type
            )));
        }
        Ok(Self {
            payload: envelope.payload.as_bytes().to_vec(),
            signature: envelope.signature.sig.as_bytes().to_vec(),
        })
    }

    pub(super) fn to_sigstore(&self) -> DsseEnvelope {
        DsseEnvelope::new(
            IN_TOTO_PAYLOAD_TYPE,
            PayloadBytes::from_bytes(&self.payload),
            DsseSignature::new(SignatureBytes::from_bytes(&self.signature), KeyId::default()),
        )
    }

    /// Returns the JSON that Cosign's `.att` layers carry, to the byte.
    pub fn to_json(&self) -> Vec<u8> {
        format!(
            r#"{{"payloadType":"{IN_TOTO_PAYLOAD_TYPE}","payload":"{}","signatures":[{{"keyid":"","sig":"{}"}}]}}"#,
            STANDARD.encode(&self.payload),
            STANDARD.encode(&self.signature)
        )
        .into_bytes()
    }

    /// Returns the digest of [`Self::to_json`]: the same in whichever form the envelope was found.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }

    /// Returns the payload, which nobody has to believe before [`Self::is_signed_by`] is true.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns whether `key` signed this payload.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&signed_bytes(&self.payload), &self.signature)
    }
}

fn error(why: impl std::fmt::Display) -> NotEvidence {
    NotEvidence::new("a DSSE envelope of an in-toto statement", why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_other_than_one_signature_and_other_payload_types() {
        let one = r#"{"keyid":"","sig":"AAAA"}"#;
        let with = |kind: &str, signatures: &str| {
            let json = format!(r#"{{"payloadType":"{kind}","payload":"e30=","signatures":[{signatures}]}}"#);
            Envelope::parse(json.as_bytes()).map_err(|e| e.to_string())
        };
        assert!(with(IN_TOTO_PAYLOAD_TYPE, one).is_ok());
        insta::assert_debug_snapshot!([
            with(IN_TOTO_PAYLOAD_TYPE, "").unwrap_err(),
            with(IN_TOTO_PAYLOAD_TYPE, &format!("{one},{one}")).unwrap_err(),
            with("application/json", one).unwrap_err(),
            with("application/vnd.in-toto+json\\u0000", one).unwrap_err(),
            Envelope::parse(b"{\"payloadType\":\"a").unwrap_err().to_string(),
        ]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_envelope_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read_back(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            signature in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let envelope = Envelope::new(payload, signature);
            prop_assert_eq!(Envelope::parse(&envelope.to_json()).unwrap(), envelope);
        }
    }
}
