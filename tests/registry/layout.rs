//! The layout directory: what other tools see, and what an attacker with a file in it gets.

use std::os::unix::fs::symlink;
use std::process::Command;

use airlock::domain::digest::Digest;
use airlock::registry::layout::LayoutDirectory;
use airlock::registry::{BlobContent, ImageStore, ManifestReference, StoreError};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{MANIFEST, image, referring, repository, told};

fn store() -> (tempfile::TempDir, LayoutDirectory) {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutDirectory::open(directory.path().to_owned()).unwrap();
    (directory, store)
}

fn blob(bytes: &[u8]) -> (Digest, u64, BlobContent) {
    (Digest::of(bytes), bytes.len() as u64, BlobContent::Bytes(Bytes::copy_from_slice(bytes)))
}

async fn put(store: &LayoutDirectory, name: &str, bytes: &[u8]) -> Digest {
    let (digest, size, content) = blob(bytes);
    store.put_blob(&repository(name), &digest, size, content).await.unwrap();
    digest
}

#[tokio::test]
async fn skopeo_reads_what_is_written() {
    let (directory, store) = store();
    let billing = repository("acme/billing");
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Labels": { "who": "airlock" } },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let digest = put(&store, "acme/billing", &config).await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
    });
    let bytes: Bytes = serde_json::to_vec(&manifest).unwrap().into();
    let tag = "staged".parse().unwrap();
    let about = store.put_manifest(&billing, MANIFEST, bytes.clone(), Some(&tag)).await.unwrap();
    put(&store, "acme/billing", b"{}").await;
    store.put_referrer(&billing, &about, MANIFEST, referring(&bytes, "evidence")).await.unwrap();
    // A repository below another one does not disturb it.
    put(&store, "acme/billing/api", b"{}").await;

    let source = format!("oci:{}/acme/billing:staged", directory.path().display());
    let skopeo = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/bin/skopeo");
    let output = Command::new(skopeo)
        .args(["inspect", &source])
        .output()
        .expect("skopeo is there: run scripts/bootstrap");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["Digest"], about.as_str());
    assert_eq!(seen["Labels"]["who"], "airlock");
}

#[tokio::test]
async fn refuses_an_altered_blob_and_mends_it_when_it_is_put_again() {
    let (directory, store) = store();
    let digest = put(&store, "acme/x", b"the content").await;
    let path = directory.path().join("acme/x/blobs/sha256").join(digest.hex());
    std::fs::write(&path, "another one").unwrap();
    let error = store.blob(&repository("acme/x"), &digest, 100).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongDigest { .. }));
    insta::assert_snapshot!(told(error, &[(&directory.path().display().to_string(), "[store]")]));
    let copy = directory.path().join("copy");
    let error = store.blob_to_file(&repository("acme/x"), &digest, 11, &copy).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");
    assert!(!copy.exists(), "other bytes leave no file");
    put(&store, "acme/x", b"the content").await;
    assert_eq!(std::fs::read(&path).unwrap(), b"the content");
}

#[tokio::test]
async fn follows_no_symbolic_link_out_of_the_directory() {
    let (directory, store) = store();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();

    let digest = Digest::of(b"secret");
    put(&store, "acme/x", b"{}").await;
    symlink(&secret, directory.path().join("acme/x/blobs/sha256").join(digest.hex())).unwrap();
    assert!(store.blob(&repository("acme/x"), &digest, 100).await.is_err());
    assert!(store.has_blob(&repository("acme/x"), &digest).await.is_err());

    symlink(outside.path(), directory.path().join("linked")).unwrap();
    let (digest, size, content) = blob(b"{}");
    let error = store.put_blob(&repository("linked"), &digest, size, content).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&directory.path().display().to_string(), "[store]")]));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);

    std::fs::remove_file(directory.path().join("acme/x/oci-layout")).unwrap();
    symlink(&secret, directory.path().join("acme/x/index.json")).unwrap();
    assert!(store.tags(&repository("acme/x"), 10).await.is_err());
}

#[tokio::test]
async fn refuses_a_repository_inside_the_files_of_another() {
    let (_directory, store) = store();
    let (digest, size, content) = blob(b"{}");
    let error = store.put_blob(&repository("acme/blobs/sha256"), &digest, size, content).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[]));
}

#[tokio::test]
async fn refuses_an_index_that_is_none() {
    let (directory, store) = store();
    put(&store, "acme/x", b"{}").await;
    std::fs::write(directory.path().join("acme/x/index.json"), "[]").unwrap();
    let error = store.tags(&repository("acme/x"), 10).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&directory.path().display().to_string(), "[store]")]));
}

#[tokio::test]
async fn says_that_there_is_no_room() {
    // A small file system in a mount namespace of its own, where the test below runs.
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none /mnt && AIRLOCK_TEST_FULL=/mnt exec {} --exact layout::inside_a_full_file_system --nocapture --ignored",
        program.display()
    );
    let output =
        Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-ec", &script]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "run by `says_that_there_is_no_room` where the file system is full"]
async fn inside_a_full_file_system() {
    let directory = std::env::var_os("AIRLOCK_TEST_FULL").expect("run by `says_that_there_is_no_room`");
    let store = LayoutDirectory::open(directory.into()).unwrap();
    let (digest, size, content) = blob(&vec![7; 256 * 1024]);
    let error = store.put_blob(&repository("acme/x"), &digest, size, content).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { .. }), "{error:?}");
    insta::assert_snapshot!(told(error, &[]));
    assert_eq!(std::fs::read_dir("/mnt/.uploads").unwrap().count(), 0);
}

#[tokio::test]
async fn sweeps_what_a_killed_writer_left_and_spares_what_is_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let uploads = directory.path().join(".uploads");
    std::fs::create_dir(&uploads).unwrap();
    std::fs::write(uploads.join("1-0"), "half").unwrap();
    let alive = std::fs::File::create(uploads.join("1-1")).unwrap();
    alive.lock().unwrap();
    let store = LayoutDirectory::open(directory.path().to_owned()).unwrap();
    put(&store, "acme/x", b"{}").await;
    let left: Vec<_> = std::fs::read_dir(&uploads).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["1-1"]);
}

#[tokio::test]
async fn loses_no_tag_when_many_write_at_once() {
    let (directory, first) = store();
    let second = LayoutDirectory::open(directory.path().to_owned()).unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let store = if number % 2 == 0 { first.clone() } else { second.clone() };
        writers.spawn(async move {
            let tag = format!("t{number:02}").parse().unwrap();
            store.put_manifest(&repository("acme/x"), MANIFEST, image(&number.to_string()), Some(&tag)).await
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap().unwrap();
    }
    assert_eq!(first.tags(&repository("acme/x"), 100).await.unwrap().len(), 20);
}

#[tokio::test]
async fn takes_a_blob_that_is_no_manifest_for_absent() {
    let (_directory, store) = store();
    let digest = put(&store, "acme/x", br#"{"mediaType":"application/vnd.oci.image.config.v1+json"}"#).await;
    let found = store.manifest(&repository("acme/x"), &ManifestReference::Digest(digest)).await.unwrap();
    assert_eq!(found, None);
}
