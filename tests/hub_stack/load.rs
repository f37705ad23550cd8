//! Images that come into the engine without a registry: known by the digest of their config.

use std::io::Write;
use std::path::{Path, PathBuf};

use airlock::domain::digest::Digest;
use airlock::engine::Engine;
use airlock::failure::Failure;
use serde_json::json;

use crate::bench::SOCKET;
use crate::engine_words::engine_words;

/// A layer with one file.
fn layer(content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "file", content).unwrap();
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn config(diff_ids: &[Digest]) -> Vec<u8> {
    serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/file"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids.iter().map(Digest::as_str).collect::<Vec<_>>()},
    }))
    .unwrap()
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A tag of this process's own; it goes, and the image with it, whatever happens.
struct Tag(String);

impl Tag {
    fn new(name: &str) -> Self {
        Self(format!("airlock-hubload-{}/{name}:1", std::process::id()))
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["rmi", &self.0]).output();
    }
}

#[tokio::test]
async fn an_image_is_loaded_and_its_id_is_the_digest_of_its_config() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (plain, packed) = (layer(b"below"), layer(b"above"));
    let config = config(&[Digest::of(&plain), Digest::of(&packed)]);
    let layers = [write(directory.path(), "0", &plain), write(directory.path(), "1", &gzip(&packed))];
    let tag = Tag::new("good");
    let id = engine.load_image(&config, &layers, &tag.0).await.unwrap();
    assert_eq!(id, Digest::of(&config));
    assert_eq!(engine.image_id(id.as_str()).await.unwrap(), Some(id.clone()));
    // The second time there is nothing to do, and it is the same image.
    assert_eq!(engine.load_image(&config, &layers, &tag.0).await.unwrap(), id);
}

#[tokio::test]
async fn an_image_with_a_wrong_a_missing_or_a_cut_layer_is_not_loaded() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (promised, other) = (layer(b"promised"), layer(b"other"));
    let config = config(&[Digest::of(&promised)]);
    let good = write(directory.path(), "good", &promised);
    let cases = [
        ("another layer", vec![write(directory.path(), "other", &other)]),
        ("no layer", vec![]),
        ("one more", vec![good, write(directory.path(), "more", &other)]),
        ("a layer cut short", vec![write(directory.path(), "cut", &gzip(&promised)[..60])]),
    ];
    let mut told = String::new();
    for (name, layers) in cases {
        let tag = Tag::new("bad");
        let error = engine.load_image(&config, &layers, &tag.0).await.unwrap_err();
        assert_eq!(engine.image_id(&tag.0).await.unwrap(), None, "{name}");
        told.push_str(&format!("{name}\n{}\n", Failure::from(error)));
    }
    let told = engine_words(&told).replace(&std::process::id().to_string(), "<pid>");
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn a_layer_that_cannot_be_read_is_named() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let config = config(&[Digest::of(b"layer")]);
    let tag = Tag::new("unread");
    let error = engine.load_image(&config, &[PathBuf::from("/nonexistent/layer")], &tag.0).await.unwrap_err();
    let told = Failure::from(error).to_string().replace(&std::process::id().to_string(), "<pid>");
    insta::assert_snapshot!(told);
}
