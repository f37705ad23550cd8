//! Tests of signers by URL and of Cosign key files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::file::{FileSigner, generate};
use super::{KeyError, Signer as _};
use crate::failure::Failure;

fn password(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn key_file(dir: &tempfile::TempDir, content: &str, mode: u32) -> PathBuf {
    let path = dir.path().join("k.key");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn told(error: KeyError, dir: &tempfile::TempDir) -> String {
    Failure::from(error).to_string().replace(&dir.path().display().to_string(), "DIR")
}

fn with_json(json: &str) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(json);
    format!("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n{body}\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
}

#[tokio::test]
async fn a_generated_key_opens_with_its_password_and_signs() {
    let dir = tempfile::tempdir().unwrap();
    let pair = generate("correct horse").unwrap();
    let path = key_file(&dir, &pair.private_pem, 0o600);
    let signer = super::open(&format!("file:{}", path.display()), password("correct horse")).unwrap();
    assert_eq!(signer.public_key().to_pem(), pair.public_pem);
    let signature = signer.sign(b"message").await.unwrap();
    assert!(signer.public_key().verifies(b"message", &signature));
    assert!(!signer.public_key().verifies(b"massage", &signature));
}

#[test]
fn reads_the_older_label_and_an_empty_password() {
    let pair = generate("").unwrap();
    let older = pair.private_pem.replace("SIGSTORE", "COSIGN");
    FileSigner::decrypt(&older, "", "k.key").unwrap();
}

#[test]
fn refuses_a_key_that_others_may_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = key_file(&dir, "", 0o640);
    let error = FileSigner::open(&path, password("")).unwrap_err();
    insta::assert_snapshot!(told(error, &dir), @r"
    error: the key `DIR/k.key` may be read by others: mode 640, expected 600
    hint: chmod 600 DIR/k.key
    ");
}

#[test]
fn tells_a_wrong_password_from_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let pair = generate("a").unwrap();
    let path = key_file(&dir, &pair.private_pem, 0o400);
    let wrong = told(FileSigner::open(&path, password("b")).unwrap_err(), &dir);
    insta::assert_snapshot!(wrong);
    for (name, content) in [
        ("plain", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned()),
        ("not_pem", "hello".to_owned()),
        ("not_json", with_json("{\"kdf\":\"secret-looking\"}")),
        ("large", "x".repeat(20_000)),
        (
            "costly",
            with_json(
                r#"{"kdf":{"name":"scrypt","params":{"N":1073741824,"r":8,"p":1},"salt":""},"cipher":{"name":"nacl/secretbox","nonce":""},"ciphertext":""}"#,
            ),
        ),
    ] {
        let error = FileSigner::decrypt(&content, "", "k.key");
        let error = if name == "large" {
            std::fs::remove_file(&path).ok();
            FileSigner::open(&key_file(&dir, &content, 0o600), password("")).unwrap_err()
        } else {
            error.unwrap_err()
        };
        insta::assert_snapshot!(format!("key_file_{name}"), told(error, &dir));
    }
}

#[test]
fn tells_what_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let error = FileSigner::open(&dir.path().join("absent.key"), password("")).unwrap_err();
    insta::assert_snapshot!("key_absent", told(error, &dir));
    let error = FileSigner::open(dir.path(), password("")).unwrap_err();
    // A directory's mode is not a key's; the first thing to say is that it is no file.
    insta::assert_snapshot!("key_directory", told(error, &dir));
}

#[test]
fn refuses_other_schemes_by_name_and_hides_their_secrets() {
    let told: Vec<String> = ["pkcs11:token=ci?pin-value=1234", "vault:k", "hashivault://k", "/etc/k.key", "file:"]
        .iter()
        .map(|url| match super::open(url, password("")) {
            Ok(_) => panic!("{url} was opened"),
            Err(e) => Failure::from(e).to_string(),
        })
        .collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn debug_shows_the_fingerprint_alone() {
    let signer = FileSigner::ephemeral().unwrap();
    assert_eq!(format!("{signer:?}"), format!("FileSigner({})", signer.public_key().fingerprint()));
}

proptest! {
    #[test]
    fn any_text_is_a_key_or_an_error(text in "\\PC{0,200}") {
        let _ = FileSigner::decrypt(&text, "", "k.key");
        let _ = FileSigner::decrypt(&with_json(&text), "", "k.key");
    }
}
