//! What both stores promise, run against each.

use airlock::domain::digest::Digest;
use airlock::domain::image::{Repository, Tag};
use airlock::registry::layout::LayoutDirectory;
use airlock::registry::{BlobContent, ImageStore, ManifestReference, StoreError};
use bytes::Bytes;

use super::registry_fixture::{Kind, Registry};
use super::{INDEX, MANIFEST, image, plain, referring, repository, secured};

#[tokio::test]
async fn a_registry_with_tls_and_a_password_keeps_the_promises() {
    let registry = Registry::start(Kind::TlsWithPassword);
    keeps_the_promises(&secured(&registry)).await;
}

#[tokio::test]
async fn a_plain_registry_on_loopback_keeps_the_promises() {
    let registry = Registry::start(Kind::PlainOpen);
    keeps_the_promises(&plain(&registry.host)).await;
}

#[tokio::test]
async fn a_layout_directory_keeps_the_promises() {
    let directory = tempfile::tempdir().unwrap();
    keeps_the_promises(&LayoutDirectory::open(directory.path().join("store")).unwrap()).await;
}

async fn keeps_the_promises(store: &dyn ImageStore) {
    answers_absent_with_none(store).await;
    keeps_blobs(store, &repository("acme/blobs-of/api")).await;
    copies_blobs_into_files(store, &repository("acme/copied")).await;
    refuses_blobs_that_are_not_as_declared(store, &repository("acme/wrong")).await;
    keeps_manifests_and_moves_tags(store, &repository("acme/tagged")).await;
    finds_referrers(store, &repository("acme/referred")).await;
}

async fn answers_absent_with_none(store: &dyn ImageStore) {
    let nowhere = repository("acme/nowhere");
    let digest = Digest::of(b"absent");
    let by_digest = ManifestReference::Digest(digest.clone());
    let by_tag = ManifestReference::Tag("absent".parse().unwrap());
    assert!(!store.has_blob(&nowhere, &digest).await.unwrap());
    assert_eq!(store.blob(&nowhere, &digest, 10).await.unwrap(), None);
    assert_eq!(store.manifest(&nowhere, &by_digest).await.unwrap(), None);
    assert_eq!(store.manifest(&nowhere, &by_tag).await.unwrap(), None);
    assert_eq!(store.referrers(&nowhere, &digest, 10).await.unwrap(), []);
    assert_eq!(store.tags(&nowhere, 10).await.unwrap(), []);
}

async fn keeps_blobs(store: &dyn ImageStore, repository: &Repository) {
    // Sizes around the chunk that files are read in.
    for size in [0usize, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3 * 1024 * 1024 + 7] {
        let bytes: Bytes = (0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>().into();
        let digest = Digest::of(&bytes);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let content = BlobContent::File(file.path().to_owned());
        store.put_blob(repository, &digest, size as u64, content.clone()).await.unwrap();
        store.put_blob(repository, &digest, size as u64, content).await.unwrap();
        assert!(store.has_blob(repository, &digest).await.unwrap());
        assert_eq!(store.blob(repository, &digest, size as u64).await.unwrap().as_ref(), Some(&bytes));
    }
    let small = Bytes::from_static(b"a small blob");
    let digest = Digest::of(&small);
    let size = small.len() as u64;
    store.put_blob(repository, &digest, size, BlobContent::Bytes(small.clone())).await.unwrap();
    assert_eq!(store.blob(repository, &digest, size).await.unwrap(), Some(small));
    let error = store.blob(repository, &digest, size - 1).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit, .. } if limit == size - 1), "{error}");
}

async fn copies_blobs_into_files(store: &dyn ImageStore, repository: &Repository) {
    let directory = tempfile::tempdir().unwrap();
    for size in [0usize, 1, 256 * 1024, 3 * 1024 * 1024 + 7] {
        let bytes: Bytes = (0..size).map(|i| (i % 241) as u8).collect::<Vec<_>>().into();
        let (digest, path) = (Digest::of(&bytes), directory.path().join(size.to_string()));
        store.put_blob(repository, &digest, size as u64, BlobContent::Bytes(bytes.clone())).await.unwrap();
        assert!(store.blob_to_file(repository, &digest, size as u64, &path).await.unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        if size > 0 {
            let shorter = directory.path().join("shorter");
            let error = store.blob_to_file(repository, &digest, size as u64 - 1, &shorter).await.unwrap_err();
            assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
            assert!(!shorter.exists(), "what is not whole leaves no file");
        }
    }
    let absent = directory.path().join("absent");
    assert!(!store.blob_to_file(repository, &Digest::of(b"absent"), 10, &absent).await.unwrap());
    assert!(!absent.exists());
}

async fn refuses_blobs_that_are_not_as_declared(store: &dyn ImageStore, repository: &Repository) {
    let content = Bytes::from_static(b"what is there");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &content).unwrap();
    let size = content.len() as u64;
    for content in [BlobContent::Bytes(content), BlobContent::File(file.path().to_owned())] {
        let good = Digest::of(b"what is there");
        for (digest, size) in
            [(Digest::of(b"what is said"), size), (good.clone(), size - 1), (good, size + 1)]
        {
            let error = store.put_blob(repository, &digest, size, content.clone()).await.unwrap_err();
            assert!(matches!(error, StoreError::NotAsDeclared { .. }), "{error:?}");
            assert!(!store.has_blob(repository, &digest).await.unwrap());
        }
    }
    let gone = BlobContent::File("/nonexistent/blob".into());
    let error = store.put_blob(repository, &Digest::of(b"gone"), 4, gone).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
}

async fn put_config(store: &dyn ImageStore, repository: &Repository) {
    let empty = BlobContent::Bytes(Bytes::from_static(b"{}"));
    store.put_blob(repository, &Digest::of(b"{}"), 2, empty).await.unwrap();
}

async fn keeps_manifests_and_moves_tags(store: &dyn ImageStore, repository: &Repository) {
    put_config(store, repository).await;
    let (first, second) = (image("first"), image("second"));
    let tag = |text: &str| text.parse::<Tag>().unwrap();
    let staged = ManifestReference::Tag(tag("staged"));
    let digest = store.put_manifest(repository, MANIFEST, first.clone(), None).await.unwrap();
    assert_eq!(digest, Digest::of(&first));
    assert_eq!(store.tags(repository, 10).await.unwrap(), []);
    for (bytes, name) in [(&first, "staged"), (&first, "1.0"), (&second, "staged"), (&second, "staged")] {
        store.put_manifest(repository, MANIFEST, bytes.clone(), Some(&tag(name))).await.unwrap();
        let found = store.manifest(repository, &ManifestReference::Tag(tag(name))).await.unwrap().unwrap();
        assert_eq!((found.media_type.as_str(), &found.bytes), (MANIFEST, bytes));
        assert_eq!(found.digest, Digest::of(bytes));
    }
    store.put_manifest(repository, MANIFEST, first.clone(), Some(&tag("staged"))).await.unwrap();
    for bytes in [&first, &second] {
        let by_digest = ManifestReference::Digest(Digest::of(bytes));
        let found = store.manifest(repository, &by_digest).await.unwrap().unwrap();
        assert_eq!((found.media_type.as_str(), &found.bytes), (MANIFEST, bytes));
    }
    assert_eq!(store.manifest(repository, &staged).await.unwrap().unwrap().bytes, first);
    assert_eq!(store.tags(repository, 10).await.unwrap(), [tag("1.0"), tag("staged")]);
    assert_eq!(store.tags(repository, 1).await.unwrap().len(), 1);
    let huge = Bytes::from(vec![b' '; 4 * 1024 * 1024 + 1]);
    let error = store.put_manifest(repository, MANIFEST, huge, None).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAsDeclared { .. }), "{error:?}");
}

async fn finds_referrers(store: &dyn ImageStore, repository: &Repository) {
    put_config(store, repository).await;
    let subject = image("subject");
    let about = store.put_manifest(repository, MANIFEST, subject.clone(), None).await.unwrap();
    let mut expected = Vec::new();
    for name in ["one", "two", "two", "one"] {
        let bytes = referring(&subject, name);
        let digest = store.put_referrer(repository, &about, MANIFEST, bytes.clone()).await.unwrap();
        expected.push(digest);
    }
    expected.dedup();
    expected.truncate(2);
    let found = store.referrers(repository, &about, 10).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.digest.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(found[0].artifact_type.as_deref(), Some("application/vnd.example"));
    assert_eq!(found[1].annotations.as_ref().unwrap()["name"], "two");
    assert_eq!(store.referrers(repository, &about, 1).await.unwrap().len(), 1);

    // Where `cosign copy` left the image itself under the fallback tag, there are no referrers.
    let other = image("other subject");
    let about = store.put_manifest(repository, MANIFEST, other.clone(), None).await.unwrap();
    let fallback: Tag = format!("sha256-{}", about.hex()).parse().unwrap();
    store.put_manifest(repository, MANIFEST, other.clone(), Some(&fallback)).await.unwrap();
    assert_eq!(store.referrers(repository, &about, 10).await.unwrap(), []);
    store.put_referrer(repository, &about, MANIFEST, referring(&other, "first")).await.unwrap();
    assert_eq!(store.referrers(repository, &about, 10).await.unwrap().len(), 1);
    let index = store.manifest(repository, &ManifestReference::Tag(fallback)).await.unwrap().unwrap();
    assert_eq!(index.media_type, INDEX);

    let error = store.put_referrer(repository, &about, MANIFEST, referring(&subject, "x")).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAsDeclared { .. }), "{error:?}");
}
