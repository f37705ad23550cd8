//! Keys and evidence against verifiers that nobody here wrote: Cosign 2 and Cosign 3, without a network.
//!
//! The programs stand in `target/tools/bin`, where the bootstrap script puts them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use airlock::domain::digest::Digest;
use airlock::domain::evidence::bundle::KeyBundle;
use airlock::domain::evidence::envelope::{Envelope, signed_bytes};
use airlock::domain::evidence::simple_signing::SimpleSigning;
use airlock::domain::evidence::{EvidenceKind, statement};
use airlock::keys::file::{FileSigner, generate};
use airlock::keys::{Signer as _, open};
use base64::Engine as _;
use zeroize::Zeroizing;

const PASSWORD: &str = "a password of the tests";
const COSIGNS: [&str; 2] = ["cosign2", "cosign3"];

fn cosign(name: &str, dir: &Path, args: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name);
    assert!(program.exists(), "{} is absent: run scripts/bootstrap", program.display());
    // No home and no proxy: nothing cached, nothing fetched.
    Command::new(&program)
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .env("COSIGN_PASSWORD", PASSWORD)
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .output()
        .unwrap()
}

fn succeeded(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn password() -> Zeroizing<String> {
    Zeroizing::new(PASSWORD.into())
}

#[test]
fn both_cosigns_read_our_key_files() {
    let dir = tempfile::tempdir().unwrap();
    let pair = generate(PASSWORD).unwrap();
    write(dir.path(), "ours.key", pair.private_pem.as_bytes());
    for name in COSIGNS {
        let public = succeeded(cosign(name, dir.path(), &["public-key", "--key", "ours.key"]));
        assert_eq!(public.trim(), pair.public_pem.trim(), "{name}");
    }
}

#[tokio::test]
async fn we_read_the_key_files_of_both_cosigns() {
    for name in COSIGNS {
        let dir = tempfile::tempdir().unwrap();
        succeeded(cosign(name, dir.path(), &["generate-key-pair"]));
        let url = format!("file:{}", dir.path().join("cosign.key").display());
        let signer = open(&url, password()).unwrap();
        let public = std::fs::read_to_string(dir.path().join("cosign.pub")).unwrap();
        assert_eq!(signer.public_key().to_pem().trim(), public.trim(), "{name}");
        let signature = signer.sign(b"message").await.unwrap();
        assert!(signer.public_key().verifies(b"message", &signature));
    }
}

#[tokio::test]
async fn both_cosigns_verify_our_simple_signing_signature() {
    let dir = tempfile::tempdir().unwrap();
    let signer = FileSigner::ephemeral().unwrap();
    let payload = SimpleSigning::new("registry.example/acme/api", Digest::of(b"image")).to_payload();
    let signature = signer.sign(&payload).await.unwrap();
    write(dir.path(), "k.pub", signer.public_key().to_pem());
    write(dir.path(), "payload", &payload);
    write(dir.path(), "signature", base64::engine::general_purpose::STANDARD.encode(&signature));
    let verify = |name: &str| {
        let mut args = vec!["verify-blob", "--key", "k.pub", "--signature", "signature"];
        args.extend(["--insecure-ignore-tlog=true", "payload"]);
        cosign(name, dir.path(), &args)
    };
    for name in COSIGNS {
        succeeded(verify(name));
    }
    write(dir.path(), "payload", &payload[1..]);
    for name in COSIGNS {
        assert!(!verify(name).status.success(), "{name} verifies a payload that was changed");
    }
}

#[tokio::test]
async fn both_cosigns_verify_our_bundles() {
    let dir = tempfile::tempdir().unwrap();
    let signer = FileSigner::ephemeral().unwrap();
    let subject = write(dir.path(), "image", b"image");
    let digest = Digest::of(&std::fs::read(subject).unwrap());
    let predicate = br#"{"spdxVersion":"SPDX-2.3"}"#;
    let payload =
        statement::compose(EvidenceKind::Spdx, "registry.example/acme/api", &digest, predicate).unwrap();
    let signature = signer.sign(&signed_bytes(&payload)).await.unwrap();
    let bundle = KeyBundle::new(Envelope::new(payload, signature), signer.public_key());
    write(dir.path(), "k.pub", signer.public_key().to_pem());
    write(dir.path(), "bundle", bundle.to_json());
    let root = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
    write(dir.path(), "root.json", root);
    let verify = |name: &str, file: &str| {
        let mut args = vec!["verify-blob-attestation", "--key", "k.pub", "--bundle", "bundle"];
        args.extend(["--new-bundle-format", "--type", "spdxjson", "--trusted-root", "root.json"]);
        args.extend(["--insecure-ignore-tlog=true", file]);
        cosign(name, dir.path(), &args)
    };
    write(dir.path(), "other", b"another image");
    for name in COSIGNS {
        succeeded(verify(name, "image"));
        assert!(!verify(name, "other").status.success(), "{name} verifies another image");
    }
}
