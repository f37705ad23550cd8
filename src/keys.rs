//! Signers by URL. Private keys stay in this process; nothing here is ever given to a container.

use async_trait::async_trait;

use crate::domain::public_key::PublicKey;

/// Something that signs with an ECDSA P-256 key it keeps.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Returns the public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs SHA-256 of `message`; returns an ASN.1 DER signature.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the key `{path}`")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the key `{path}` is not a Cosign private key: {why}")]
    Format { path: String, why: String },
    #[error("the password does not open the key `{path}`")]
    Password { path: String },
    #[error("the key URL `{url}` is not supported: {why}")]
    Url { url: String, why: String },
    #[error("the key `{path}` may be read by others: mode {mode:o}, expected 600")]
    Mode { path: String, mode: u32 },
    #[error("signing failed: {why}")]
    Sign { why: String },
}
