//! Simple signing payloads (containers/image, "container-signature.5"): Cosign's legacy image signature.

use serde::{Deserialize, Serialize};

use super::NotEvidence;
use crate::domain::digest::Digest;

const TYPE: &str = "cosign container image signature";
/// Largest payload that is read, in bytes.
pub const MAX_SIMPLE_SIGNING_BYTES: u64 = 64 * 1024;

/// What a simple signing payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleSigning {
    docker_reference: String,
    digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct Raw {
    critical: RawCritical,
    optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize, Deserialize)]
struct RawCritical {
    identity: RawIdentity,
    image: RawImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawIdentity {
    docker_reference: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawImage {
    docker_manifest_digest: Digest,
}

impl SimpleSigning {
    /// Creates the payload's content; `docker_reference` is `REGISTRY/REPOSITORY`.
    pub fn new(docker_reference: impl Into<String>, digest: Digest) -> Self {
        Self { docker_reference: docker_reference.into(), digest }
    }

    /// Parses a payload.
    pub fn parse(payload: &[u8]) -> Result<Self, NotEvidence> {
        let error = |why: &dyn std::fmt::Display| NotEvidence::new("a simple signing payload", why);
        if payload.len() as u64 > MAX_SIMPLE_SIGNING_BYTES {
            return Err(error(&format!("larger than {MAX_SIMPLE_SIGNING_BYTES} bytes")));
        }
        let raw: Raw = serde_json::from_slice(payload).map_err(|e| error(&e))?;
        if raw.critical.kind != TYPE {
            return Err(error(&format!("expected the type `{TYPE}`, found `{}`", raw.critical.kind)));
        }
        Ok(Self {
            docker_reference: raw.critical.identity.docker_reference,
            digest: raw.critical.image.docker_manifest_digest,
        })
    }

    /// Returns compact JSON, to the byte as Cosign writes it.
    pub fn to_payload(&self) -> Vec<u8> {
        let raw = Raw {
            critical: RawCritical {
                identity: RawIdentity { docker_reference: self.docker_reference.clone() },
                image: RawImage { docker_manifest_digest: self.digest.clone() },
                kind: TYPE.into(),
            },
            optional: None,
        };
        serde_json::to_vec(&raw).expect("strings are JSON")
    }

    /// Returns the digest of the image that was signed.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the name that the signer gave the image; mirrors change it, so nothing is decided by it.
    pub fn docker_reference(&self) -> &str {
        &self.docker_reference
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_cosigns_payload_to_the_byte() {
        let payload = SimpleSigning::new("127.0.0.1:5001/acme/api", Digest::of(b"image")).to_payload();
        insta::assert_snapshot!(String::from_utf8(payload).unwrap());
    }

    #[test]
    fn refuses_other_types_and_digests() {
        let good = SimpleSigning::new("r/a", Digest::of(b"image")).to_payload();
        let good = String::from_utf8(good).unwrap();
        insta::assert_debug_snapshot!([
            good.replace("cosign container", "atomic container"),
            good.replace("sha256:", "sha512:"),
            good.replace("\"optional\":null", "\"critical\":null"),
            good[..40].to_owned(),
        ].map(|text| SimpleSigning::parse(text.as_bytes()).unwrap_err().to_string()));
        // What skopeo writes.
        let skopeo = good.replace("null", r#"{"creator":"containers/image","timestamp":1}"#);
        assert!(SimpleSigning::parse(skopeo.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_payload_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = SimpleSigning::parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read_back(reference in "\\PC{0,60}", seed in any::<u64>()) {
            let signing = SimpleSigning::new(reference, Digest::of(&seed.to_le_bytes()));
            prop_assert_eq!(SimpleSigning::parse(&signing.to_payload()).unwrap(), signing);
        }
    }
}
