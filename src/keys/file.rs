//! Signers whose key is a Cosign private key file: scrypt, NaCl secretbox, PKCS#8 (ECDSA P-256 alone).
//!
//! The file's numbers are bounded before they are used: a hostile file costs no more than 1 GiB and
//! some seconds. Nothing here prints a secret.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use async_trait::async_trait;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{KeyError, Signer};
use crate::domain::public_key::PublicKey;

/// Largest key file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024;
/// The label that Cosign writes today, and the older one that it still reads.
const PEM_LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
/// Cosign's own cost: 64 MiB.
const SCRYPT_LOG_N: u8 = 16;
const MAX_SCRYPT_N: u64 = 1 << 20;
const MAX_SCRYPT_R: u32 = 8;
const MAX_SCRYPT_P: u32 = 4;
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// A signer that keeps its key in this process.
pub struct FileSigner {
    key: EcdsaKeyPair,
    public: PublicKey,
}

/// A new key pair in the forms that Cosign reads; the private half is encrypted.
pub struct KeyPair {
    pub private_pem: Zeroizing<String>,
    pub public_pem: String,
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: KdfParams,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct KdfParams {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl FileSigner {
    /// Opens a key file that only its owner may read.
    pub fn open(path: &Path, password: Zeroizing<String>) -> Result<Self, KeyError> {
        let shown = path.display().to_string();
        let read_error = |source| KeyError::Read { path: shown.clone(), source };
        let mut file = std::fs::File::open(path).map_err(read_error)?;
        // The mode of the file that was opened, not of what the path names a moment later.
        let metadata = file.metadata().map_err(read_error)?;
        if !metadata.is_file() {
            return Err(KeyError::Format { path: shown, why: "it is not a regular file".into() });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Mode { path: shown, mode });
        }
        let mut text = Zeroizing::new(String::new());
        match file.by_ref().take(MAX_FILE_BYTES + 1).read_to_string(&mut text) {
            Ok(_) if text.len() as u64 > MAX_FILE_BYTES => {
                Err(KeyError::Format { path: shown, why: format!("it is larger than {MAX_FILE_BYTES} bytes") })
            }
            Ok(_) => Self::decrypt(&text, &password, &shown),
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                Err(KeyError::Format { path: shown, why: "it is not text".into() })
            }
            Err(e) => Err(read_error(e)),
        }
    }

    /// Creates a signer with a new key that is kept nowhere.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_| KeyError::Sign { why: "the system gives no random numbers".into() })?;
        Self::new(key)
    }

    fn new(key: EcdsaKeyPair) -> Result<Self, KeyError> {
        let public = PublicKey::from_point(key.public_key().as_ref())
            .map_err(|e| KeyError::Sign { why: e.to_string() })?;
        Ok(Self { key, public })
    }

    /// Decrypts the text of a key file; `shown` names the file in errors.
    pub fn decrypt(pem_text: &str, password: &str, shown: &str) -> Result<Self, KeyError> {
        let format = |why: String| KeyError::Format { path: shown.into(), why };
        let pem = pem::parse(pem_text).map_err(|_| format("it is not one PEM block".into()))?;
        if !PEM_LABELS.contains(&pem.tag()) {
            let found: String = pem.tag().chars().filter(|c| !c.is_control()).take(60).collect();
            return Err(format(format!("expected `{}`, found `{found}`", PEM_LABELS[0])));
        }
        // serde_json's text would quote the content.
        let file: KeyFile = serde_json::from_slice(pem.contents())
            .map_err(|e| format(format!("its JSON is damaged at column {}", e.column())))?;
        let plain = file.open(password, shown)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &plain)
            .map_err(|_| format("it holds another kind of key than ECDSA P-256".into()))?;
        Self::new(key)
    }
}

impl KeyFile {
    fn open(&self, password: &str, shown: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let format = |why: String| KeyError::Format { path: shown.into(), why };
        if self.kdf.name != "scrypt" || self.cipher.name != "nacl/secretbox" {
            return Err(format("expected scrypt and nacl/secretbox".into()));
        }
        let KdfParams { n, r, p } = self.kdf.params;
        let allowed = n.is_power_of_two()
            && (2..=MAX_SCRYPT_N).contains(&n)
            && (1..=MAX_SCRYPT_R).contains(&r)
            && (1..=MAX_SCRYPT_P).contains(&p);
        if !allowed {
            return Err(format(format!(
                "its scrypt cost N={n}, r={r}, p={p} is not allowed: at most N={MAX_SCRYPT_N} (a power of two), r={MAX_SCRYPT_R}, p={MAX_SCRYPT_P}"
            )));
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| format("its base64 is damaged".into()));
        let (salt, nonce) = (decode(&self.kdf.salt)?, decode(&self.cipher.nonce)?);
        let nonce: [u8; NONCE_BYTES] =
            nonce.try_into().map_err(|_| format(format!("its nonce is not {NONCE_BYTES} bytes")))?;
        let ciphertext = decode(&self.ciphertext)?;
        let log_n = u8::try_from(n.trailing_zeros()).expect("N is at most 2^20");
        let cipher = derive(password, &salt, log_n, r, p)
            .ok_or_else(|| format("its scrypt cost is not usable".into()))?;
        cipher
            .decrypt(&nonce.into(), ciphertext.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Password { path: shown.into() })
    }
}

fn derive(password: &str, salt: &[u8], log_n: u8, r: u32, p: u32) -> Option<XSalsa20Poly1305> {
    let params = scrypt::Params::new(log_n, r, p).ok()?;
    let mut key = Zeroizing::new([0_u8; 32]);
    scrypt::scrypt(password.as_bytes(), salt, &params, &mut key[..]).ok()?;
    XSalsa20Poly1305::new_from_slice(&key[..]).ok()
}

/// Creates a key pair; the private half is encrypted with `password` at Cosign's own cost.
pub fn generate(password: &str) -> Result<KeyPair, KeyError> {
    let error = || KeyError::Sign { why: "the system gives no random numbers".into() };
    let random = SystemRandom::new();
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(|_| error())?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref())
        .map_err(|_| KeyError::Sign { why: "the new key cannot be read back".into() })?;
    let (mut salt, mut nonce) = ([0_u8; SALT_BYTES], [0_u8; NONCE_BYTES]);
    random.fill(&mut salt).map_err(|_| error())?;
    random.fill(&mut nonce).map_err(|_| error())?;
    let ciphertext = derive(password, &salt, SCRYPT_LOG_N, 8, 1)
        .and_then(|cipher| cipher.encrypt(&nonce.into(), document.as_ref()).ok())
        .ok_or_else(|| KeyError::Sign { why: "the new key cannot be encrypted".into() })?;
    let file = KeyFile {
        kdf: Kdf {
            name: "scrypt".into(),
            params: KdfParams { n: 1 << SCRYPT_LOG_N, r: 8, p: 1 },
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher { name: "nacl/secretbox".into(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    let json = serde_json::to_vec(&file).expect("a value of strings and numbers is JSON");
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Ok(KeyPair {
        private_pem: Zeroizing::new(pem::encode_config(&pem::Pem::new(PEM_LABELS[0], json), config)),
        public_pem: FileSigner::new(key)?.public.to_pem(),
    })
}

#[async_trait]
impl Signer for FileSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| KeyError::Sign { why: "the key pair did not sign".into() })
    }
}

impl fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileSigner({:?})", self.public)
    }
}
