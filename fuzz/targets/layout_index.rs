//! The index of a layout directory: any bytes are an index or refused, and a tag that is put stays.
#![no_main]

use airlock::domain::image::{Repository, Tag};
use airlock::registry::layout::LayoutDirectory;
use airlock::registry::{ImageStore, ManifestReference};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let directory = tempfile::tempdir().expect("a directory");
    let repository: Repository = "acme/billing".parse().expect("a repository");
    let layout = directory.path().join("acme/billing");
    std::fs::create_dir_all(layout.join("blobs/sha256")).expect("a directory");
    std::fs::write(layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    std::fs::write(layout.join("index.json"), bytes).expect("a file");
    let store = LayoutDirectory::open(directory.path().to_owned()).expect("a store");
    let staged: Tag = "staged".parse().expect("a tag");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let Ok(before) = store.tags(&repository, 1000).await else { return };
        let reference = ManifestReference::Tag(staged.clone());
        // No blob is there, so nothing that the index says can be returned.
        assert!(!matches!(store.manifest(&repository, &reference).await, Ok(Some(_))));
        let manifest = Bytes::from_static(br#"{"schemaVersion":2,"layers":[]}"#);
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let Ok(digest) = store.put_manifest(&repository, kind, manifest, Some(&staged)).await else { return };
        let found = store.manifest(&repository, &reference).await.expect("a store").expect("the tag stays");
        assert_eq!(found.digest, digest);
        let after = store.tags(&repository, 1000).await.expect("tags");
        assert!(before.iter().all(|tag| after.contains(tag)), "{before:?} became {after:?}");
    });
});
