//! ECDSA P-256 public keys: fingerprint and verification. No other algorithm: the only one that every
//! verifier in use accepts in both of Cosign's formats.

use std::fmt;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

/// A P-256 public key as SubjectPublicKeyInfo.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki_der: Vec<u8>,
    point: Vec<u8>,
}

/// Why a text is not a usable public key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an ECDSA P-256 public key in PEM form (`BEGIN PUBLIC KEY`): {0}")]
pub struct NotAPublicKey(pub String);

/// DER of AlgorithmIdentifier {ecPublicKey, prime256v1} and the BIT STRING header (RFC 5480 §2).
const P256_SPKI_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl PublicKey {
    /// Parses a PEM `PUBLIC KEY`.
    pub fn from_pem(text: &str) -> Result<Self, NotAPublicKey> {
        let pem = pem::parse(text).map_err(|e| NotAPublicKey(e.to_string()))?;
        if pem.tag() != "PUBLIC KEY" {
            return Err(NotAPublicKey(format!("found `{}`", pem.tag())));
        }
        Self::from_spki_der(pem.contents())
    }

    /// Parses SubjectPublicKeyInfo in DER.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, NotAPublicKey> {
        let point = der
            .strip_prefix(&P256_SPKI_HEADER[..])
            .filter(|point| point.len() == 65 && point[0] == 4)
            .ok_or_else(|| NotAPublicKey("found another algorithm or curve".into()))?;
        Ok(Self { spki_der: der.to_vec(), point: point.to_vec() })
    }

    /// Creates a key from the uncompressed point (65 bytes).
    pub fn from_point(point: &[u8]) -> Result<Self, NotAPublicKey> {
        Self::from_spki_der(&[&P256_SPKI_HEADER[..], point].concat())
    }

    /// Returns PEM, with line feeds.
    pub fn to_pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("PUBLIC KEY", self.spki_der.clone()), config)
    }

    /// Returns the bundle hint: base64 of SHA-256 over the SPKI.
    pub fn hint(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&self.spki_der))
    }

    /// Returns `SHA256:` and the hint without padding, for texts.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", self.hint().trim_end_matches('='))
    }

    /// Returns whether `signature` (ASN.1 DER) is this key's over SHA-256 of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
            &self.point,
        )
        .verify(message, signature)
        .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}
