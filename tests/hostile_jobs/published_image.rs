//! The published image as a client would unpack it, read from the layout.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::staging::{Host, REPOSITORY};

/// What one path of the image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>),
    Link(String),
    Other,
}

/// The layers, merged; for images without a base.
pub struct PublishedImage {
    pub config: Value,
    nodes: BTreeMap<String, Node>,
}

impl PublishedImage {
    /// Reads what `:staged` names.
    pub fn staged(host: &Host) -> Self {
        let layout = host.path("store").join(REPOSITORY);
        let blob = |digest: &Value| -> PathBuf {
            let (algorithm, hex) = digest.as_str().and_then(|d| d.split_once(':')).expect("a digest");
            layout.join("blobs").join(algorithm).join(hex)
        };
        let json = |path: PathBuf| -> Value {
            serde_json::from_slice(&fs::read(path).expect("a blob")).expect("JSON")
        };
        let index = json(layout.join("index.json"));
        let entry = index["manifests"].as_array().expect("manifests").iter();
        let entry = entry
            .filter(|m| m["annotations"]["org.opencontainers.image.ref.name"] == "staged")
            .collect::<Vec<_>>();
        assert_eq!(entry.len(), 1, "one image is staged");
        let manifest = json(blob(&entry[0]["digest"]));
        let config = json(blob(&manifest["config"]["digest"]));
        let mut nodes = BTreeMap::new();
        for layer in manifest["layers"].as_array().expect("layers") {
            let file = fs::File::open(blob(&layer["digest"])).expect("a layer");
            let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
            for entry in tar.entries().expect("a tar") {
                let mut entry = entry.expect("an entry");
                let path = entry.path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned();
                let node = match entry.header().entry_type() {
                    tar::EntryType::Regular => {
                        let mut bytes = Vec::new();
                        entry.read_to_end(&mut bytes).expect("content");
                        Node::File(bytes)
                    }
                    tar::EntryType::Symlink => Node::Link(
                        entry.link_name().expect("a link").expect("a target").to_string_lossy().into_owned(),
                    ),
                    _ => Node::Other,
                };
                nodes.insert(path, node);
            }
        }
        Self { config, nodes }
    }

    /// Returns a file's bytes; `path` has no leading slash.
    pub fn file(&self, path: &str) -> &[u8] {
        match self.nodes.get(path) {
            Some(Node::File(bytes)) => bytes,
            other => panic!("`{path}` is {other:?} among {:?}", self.paths()),
        }
    }

    /// Returns a link's target.
    pub fn link(&self, path: &str) -> &str {
        match self.nodes.get(path) {
            Some(Node::Link(target)) => target,
            other => panic!("`{path}` is {other:?} among {:?}", self.paths()),
        }
    }

    /// Returns all paths that are no directories.
    pub fn paths(&self) -> Vec<&str> {
        self.nodes.iter().filter(|(_, node)| **node != Node::Other).map(|(path, _)| path.as_str()).collect()
    }
}
