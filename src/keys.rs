//! Signers by URL. Private keys stay in this process; nothing here is ever given to a container.

pub mod file;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::domain::public_key::PublicKey;
use crate::failure::Failure;

/// Opens the signer that `url` names; `file:` is the one scheme so far.
pub fn open(url: &str, password: Zeroizing<String>) -> Result<Box<dyn Signer>, KeyError> {
    let refuse = |why: &str| Err(KeyError::Url { url: shown_url(url), why: why.into() });
    match url.split_once(':') {
        Some(("file", path)) if !path.is_empty() => {
            Ok(Box::new(file::FileSigner::open(std::path::Path::new(path), password)?))
        }
        Some(("file", _)) => refuse("it names no file"),
        Some(("pkcs11" | "vault", _)) => refuse("only `file:` is, so far"),
        Some(_) => refuse("only `file:` is"),
        None => refuse("expected `file:` and a path"),
    }
}

/// Returns `url` without what may be secret in it: user, password, PIN, query.
fn shown_url(url: &str) -> String {
    match url.split_once(':') {
        Some(("file", _)) => url.chars().filter(|c| !c.is_control()).take(200).collect(),
        Some((scheme, _)) if scheme.len() <= 20 && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            format!("{scheme}:…")
        }
        _ => "…".into(),
    }
}

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

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let what = error.to_string();
        match &error {
            KeyError::Read { source, .. } => Failure::system(what)
                .because(source)
                .hint("for the runner's administrator: check the path in `[keys]` and who may read it"),
            KeyError::Format { .. } => Failure::usage(what)
                .hint("create one with `cosign generate-key-pair`, or convert one with `cosign import-key-pair`"),
            KeyError::Password { .. } => Failure::usage(what)
                .hint("for the runner's administrator: give the password that the key was created with"),
            KeyError::Url { .. } => Failure::usage(what).hint("write `file:/etc/airlock/image.key`"),
            KeyError::Mode { path, .. } => Failure::usage(what).hint(format!("chmod 600 {path}")),
            KeyError::Sign { .. } => Failure::system(what),
        }
    }
}

#[cfg(test)]
mod tests;
