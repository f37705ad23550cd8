//! The image itself: its labels, its time, and the base below it.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::published::{PUBLISHED, stored_blob};
use crate::support::staging::{PROJECT_PATH, base_image};

#[test]
fn the_image_carries_its_labels_and_the_time_of_its_commit() {
    let image = &PUBLISHED.second;
    let config = config();
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], image.version.as_str());
    assert_eq!(labels["org.opencontainers.image.revision"], image.commit.as_str());
    assert_eq!(labels["org.opencontainers.image.created"], image.committed.as_str());
    let source = labels["org.opencontainers.image.source"].as_str().expect("a source");
    assert!(source.ends_with(&format!("/{PROJECT_PATH}.git")), "{source}");
    assert!(!source.contains('@'), "{source}");
    assert_eq!(config["created"], image.committed.as_str());
}

#[test]
fn the_layers_of_the_base_pass_unchanged() {
    let base = base_image("PYTHON");
    let output = Command::new("docker")
        .args(["image", "inspect", "--format", "{{json .RootFS.Layers}}", &base])
        .output()
        .expect("the docker client");
    let below: Vec<String> = serde_json::from_slice(&output.stdout).expect("layers");
    let config = config();
    let ours = config["rootfs"]["diff_ids"].as_array().expect("layers");
    assert!(!below.is_empty() && ours.len() > below.len());
    assert!(below.iter().zip(ours).all(|(theirs, ours)| ours == theirs.as_str()));
}

fn config() -> Value {
    let read = |digest: &str| -> Value {
        serde_json::from_slice(&fs::read(stored_blob(PUBLISHED.storage(), digest)).expect("a file"))
            .expect("JSON")
    };
    let manifest = read(&PUBLISHED.second.digest);
    read(manifest["config"]["digest"].as_str().expect("a digest"))
}
