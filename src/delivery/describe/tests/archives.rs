//! Exports as an engine writes them, and ways to spoil them.

use serde_json::{Value, json};

use crate::domain::digest::Digest;

pub(super) enum Content {
    Bytes(Vec<u8>),
    Link(tar::EntryType, String),
}

pub(super) struct Export {
    pub(super) members: Vec<(String, Content)>,
    renamed: Option<(String, String)>,
}

/// A layer of files: path, content, modification time.
pub(super) fn layer(files: &[(&str, &str, i64)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content, mtime) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(mtime.cast_unsigned());
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let plain = builder.into_inner().unwrap();
    // The tar library pads checksums in its own way; one round makes the form ours.
    let mut normal = Vec::new();
    std::io::Read::read_to_end(&mut super::normalise::Normalised::new(&plain[..], i64::MAX), &mut normal)
        .unwrap();
    normal
}

/// A configuration with everything that Engine 20.10 writes.
pub(super) fn image_config(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let mut history = vec![
        json!({"created": "2026-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) CMD", "empty_layer": true}),
    ];
    history.extend(layers.iter().enumerate().map(
        |(i, _)| json!({"created": "2026-11-23T01:02:03.456789Z", "created_by": format!("RUN step {i}"), "comment": "buildkit.dockerfile.v0"}),
    ));
    json!({
        "architecture": "amd64",
        "author": "the billing team",
        "config": {
            "Hostname": "0123456789ab", "Domainname": "", "User": "", "AttachStdin": false,
            "ExposedPorts": {"8080/tcp": {}}, "Env": ["PATH=/usr/bin"], "Cmd": ["/app/main"], "Image": "sha256:00",
            "Volumes": null, "WorkingDir": "/app", "Entrypoint": null, "OnBuild": null, "StopTimeout": 3,
            "Labels": {"zone": "b", "org.opencontainers.image.version": "forged"},
            "Healthcheck": {"Test": ["CMD", "/app/main", "health"], "Interval": 5_000_000_000_i64},
            "Shell": ["/bin/sh", "-c"],
        },
        "container": "0123", "container_config": {"Hostname": "x"}, "docker_version": "20.10.24",
        "created": "2026-11-23T01:02:03.456789Z",
        "history": history,
        "id": "1", "parent": "2", "os": "linux",
        "moby.buildkit.buildinfo.v1": "eyJ9",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// Gives the first entry of an archive another name of the same kind.
pub(super) fn rename(raw: &mut [u8], name: &str) {
    raw[..100].fill(0);
    raw[..name.len()].copy_from_slice(name.as_bytes());
    raw[148..156].fill(b' ');
    let sum: u32 = raw[..512].iter().map(|b| u32::from(*b)).sum();
    raw[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

impl Export {
    /// The shape up to Engine 24.
    pub(super) fn old(config: &Value, layers: &[Vec<u8>]) -> Self {
        let config = serde_json::to_vec(config).unwrap();
        let name = format!("{}.json", Digest::of(&config).hex());
        let names: Vec<String> = (0..layers.len()).map(|i| format!("layer{i}/layer.tar")).collect();
        let mut members = Vec::new();
        for (i, (name, layer)) in names.iter().zip(layers).enumerate() {
            members.push((format!("layer{i}/VERSION"), Content::Bytes(b"1.0".to_vec())));
            members.push((format!("layer{i}/json"), Content::Bytes(b"{}".to_vec())));
            members.push((name.clone(), Content::Bytes(layer.clone())));
        }
        let manifest = json!([{"Config": name, "RepoTags": null, "Layers": names}]);
        members.push((name, Content::Bytes(config)));
        members.push(("manifest.json".to_owned(), Content::Bytes(serde_json::to_vec(&manifest).unwrap())));
        Self { members, renamed: None }
    }

    /// The shape from Engine 25 on.
    pub(super) fn new(config: &Value, layers: &[Vec<u8>]) -> Self {
        let config = serde_json::to_vec(config).unwrap();
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
        let names: Vec<String> = layers.iter().map(|layer| blob(layer)).collect();
        let manifest = json!([{"Config": blob(&config), "RepoTags": null, "Layers": names}]);
        let mut members = vec![(blob(&config), Content::Bytes(config))];
        members.extend(names.into_iter().zip(layers.iter().cloned().map(Content::Bytes)));
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.push(("index.json".to_owned(), Content::Bytes(b"{}".to_vec())));
        members.push(("manifest.json".to_owned(), Content::Bytes(serde_json::to_vec(&manifest).unwrap())));
        members.push(("oci-layout".to_owned(), Content::Bytes(b"{}".to_vec())));
        Self { members, renamed: None }
    }

    fn position(&self, suffix: &str) -> usize {
        self.members.iter().position(|(name, _)| name.ends_with(suffix)).unwrap()
    }

    pub(super) fn content(mut self, suffix: &str, bytes: &[u8]) -> Self {
        let at = self.position(suffix);
        self.members[at].1 = Content::Bytes(bytes.to_vec());
        self
    }

    pub(super) fn manifest(self, edit: impl FnOnce(&mut Value)) -> Self {
        let at = self.position("manifest.json");
        let Content::Bytes(bytes) = &self.members[at].1 else { unreachable!() };
        let mut manifest = serde_json::from_slice(bytes).unwrap();
        edit(&mut manifest);
        self.content("manifest.json", &serde_json::to_vec(&manifest).unwrap())
    }

    pub(super) fn link(mut self, layer: usize, kind: tar::EntryType, target: &str) -> Self {
        let at = self.position(&format!("layer{layer}/layer.tar"));
        self.members[at].1 = Content::Link(kind, target.to_owned());
        self
    }

    pub(super) fn with(mut self, name: &str, bytes: &[u8]) -> Self {
        self.members.push((name.to_owned(), Content::Bytes(bytes.to_vec())));
        self
    }

    /// Adds a member under a name that the tar library would not write.
    pub(super) fn named(self, name: &str, forged: &str) -> Self {
        let mut export = self.with(name, b"x");
        export.renamed = Some((name.to_owned(), forged.to_owned()));
        export
    }

    pub(super) fn without(mut self, suffix: &str) -> Self {
        let at = self.position(suffix);
        self.members.remove(at);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut raw = Vec::new();
        for (name, content) in &self.members {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            match content {
                Content::Bytes(bytes) => {
                    header.set_size(bytes.len() as u64);
                    builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
                }
                Content::Link(kind, target) => {
                    header.set_entry_type(*kind);
                    header.set_size(0);
                    if target.is_empty() {
                        builder.append_data(&mut header, name, std::io::empty()).unwrap();
                    } else {
                        builder.append_link(&mut header, name, target).unwrap();
                    }
                }
            }
            let mut entry = builder.into_inner().unwrap();
            entry.truncate(entry.len() - 1024);
            match &self.renamed {
                Some((renamed, forged)) if renamed == name => rename(&mut entry, forged),
                _ => {}
            }
            raw.extend(entry);
        }
        raw.resize(raw.len() + 1024, 0);
        raw
    }
}
