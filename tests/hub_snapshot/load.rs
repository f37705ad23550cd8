//! An image loaded into the engine from its parts: exactly the one that its config describes.

use std::path::{Path, PathBuf};

use airlock::domain::digest::Digest;
use airlock::engine::Engine;
use serde_json::json;

/// Writes a layer with one file and returns its path and diff id.
fn layer(directory: &Path, name: &str, content: &[u8]) -> (PathBuf, Digest) {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).expect("an entry");
    let bytes = archive.into_inner().expect("an archive");
    let path = directory.join(name);
    std::fs::write(&path, &bytes).expect("a layer");
    (path, Digest::of(&bytes))
}

fn config(diff_ids: &[&Digest]) -> Vec<u8> {
    json!({
        "architecture": "amd64", "os": "linux", "config": {"Labels": {"airlock.test": "hub-load"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn the_id_is_the_configs_digest_and_large_layers_are_streamed() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Engine::connect("unix:///var/run/docker.sock").await.expect("an engine");
    let large: Vec<u8> = (0..5_000_011_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (first, second) = (layer(directory.path(), "large", &large), layer(directory.path(), "small", b"x"));
    let config = config(&[&first.1, &second.1]);
    let tag = format!("airlock-hub/test-load:{}", Digest::of(&config).hex());
    let id = engine.load_image(&config, &[first.0, second.0], &tag).await;
    let known = engine.image_id(&tag).await;
    engine.remove_image_tag(&tag).await.expect("the tag is gone");
    assert_eq!(id.expect("it loads"), Digest::of(&config));
    assert_eq!(known.expect("an answer"), Some(Digest::of(&config)));
}

#[tokio::test]
async fn layers_that_are_not_the_configs_are_refused_and_nothing_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Engine::connect("unix:///var/run/docker.sock").await.expect("an engine");
    let (good, other) =
        (layer(directory.path(), "good", b"good"), layer(directory.path(), "other", b"other"));
    let tag = "airlock-hub/test-load-other:x";
    let swapped = engine
        .load_image(&config(&[&good.1]), std::slice::from_ref(&other.0), tag)
        .await
        .expect_err("swapped");
    let fewer = engine.load_image(&config(&[&good.1, &other.1]), std::slice::from_ref(&good.0), tag).await;
    let absent = directory.path().join("absent");
    let gone = engine.load_image(&config(&[&good.1]), &[absent], tag).await;
    let known = engine.image_id(tag).await.expect("an answer");
    engine.remove_image_tag(tag).await.expect("no tag");
    assert!(swapped.to_string().contains("load the image `airlock-hub/test-load-other:x`"), "{swapped}");
    assert!(fewer.is_err() && gone.is_err(), "{fewer:?} {gone:?}");
    assert_eq!(known, None);
}
