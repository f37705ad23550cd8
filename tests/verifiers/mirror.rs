//! A mirror of the shared registry that one test may damage: its own process on a copy of the files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use airlock::domain::digest::Digest;
use airlock::domain::image::Repository;
use airlock::registry::remote::{RemoteRegistry, RemoteSettings, RetryPolicy};
use airlock::registry::{BlobContent, ImageStore, ManifestReference};
use serde_json::{Value, json};

use crate::published::{Image, PUBLISHED, stored_blob, stored_manifests};
use crate::support::registry::{Kind, Registry};
use crate::support::staging::{REPOSITORY, airlock, text};
use crate::tools::Verifier;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LARGE: u64 = 64 * 1024 * 1024;

/// One piece of evidence: what its place says about it, and its bytes.
pub struct Entry {
    pub annotations: Value,
    pub content: Vec<u8>,
}

impl Entry {
    /// Returns the predicate type that the annotations claim, in either form.
    pub fn predicate(&self) -> &str {
        let annotations = &self.annotations;
        annotations["predicateType"]
            .as_str()
            .or_else(|| annotations["dev.sigstore.bundle.predicateType"].as_str())
            .unwrap_or_default()
    }
}

pub struct Mirror {
    pub registry: Registry,
    pub verifier: Verifier,
    store: RemoteRegistry,
    runtime: tokio::runtime::Runtime,
    repository: Repository,
}

impl Mirror {
    /// Copies the shared registry as it was published.
    pub fn new() -> Self {
        let from = PUBLISHED.storage();
        let registry = Registry::start(Kind::PlainOpen);
        // Content never changes in place, so it is linked; what names it is rewritten in place.
        copy("-al", &from.join("docker/registry/v2/blobs"), &registry.storage.join("docker/registry/v2"));
        copy(
            "-a",
            &from.join("docker/registry/v2/repositories"),
            &registry.storage.join("docker/registry/v2"),
        );
        let host = registry.host.parse().expect("a host");
        let settings = RemoteSettings { host, ca: None, auth_file: None, retry: RetryPolicy::default() };
        Self {
            verifier: Verifier::of(&registry),
            store: RemoteRegistry::connect(settings).expect("a client"),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            repository: REPOSITORY.parse().expect("a repository"),
            registry,
        }
    }

    /// Returns the image's name here, by digest.
    pub fn name(&self, image: &Image) -> String {
        format!("{}/{REPOSITORY}@{}", self.registry.host, image.digest)
    }

    /// Runs `airlock verify` on a reference here under a policy file.
    pub fn verify(&self, trust: &Path, reference: &str, more: &[&str]) -> Output {
        let mut arguments = vec!["verify", "--trust", text(trust)];
        arguments.extend(more);
        arguments.push(reference);
        airlock(&arguments)
    }

    /// Returns the layers of `.sig` or `.att`.
    pub fn legacy(&self, image: &Image, kind: &str) -> Vec<Entry> {
        let manifest = self.manifest(&format!("sha256-{}.{kind}", image.hex()));
        let layers = manifest["layers"].as_array().expect("layers");
        layers
            .iter()
            .map(|layer| Entry {
                annotations: layer["annotations"].clone(),
                content: self.blob(&layer["digest"]),
            })
            .collect()
    }

    /// Stores other layers under `.sig` or `.att`, whole and with right digests: what anybody with push
    /// rights can do.
    pub fn put_legacy(&self, image: &Image, kind: &str, entries: &[Entry]) {
        let media_type = match kind {
            "sig" => "application/vnd.dev.cosign.simplesigning.v1+json",
            _ => "application/vnd.dsse.envelope.v1+json",
        };
        let layers: Vec<Value> = entries
            .iter()
            .map(|entry| {
                let mut layer = self.put_blob(media_type, &entry.content);
                layer["annotations"] = entry.annotations.clone();
                layer
            })
            .collect();
        let config =
            json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
        let config = self.put_blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.put_manifest(MANIFEST, &manifest, Some(&format!("sha256-{}.{kind}", image.hex())));
    }

    /// Returns the bundles.
    pub fn bundles(&self, image: &Image) -> Vec<Entry> {
        let index = self.manifest(&format!("sha256-{}", image.hex()));
        let referrers = index["manifests"].as_array().expect("manifests");
        referrers
            .iter()
            .map(|referrer| {
                let manifest: Value =
                    serde_json::from_slice(&self.manifest_bytes(&referrer["digest"])).expect("JSON");
                Entry {
                    annotations: referrer["annotations"].clone(),
                    content: self.blob(&manifest["layers"][0]["digest"]),
                }
            })
            .collect()
    }

    /// Stores other bundles as the image's referrers, whole and with right digests.
    pub fn put_bundles(&self, image: &Image, entries: &[Entry]) {
        let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let size = fs::metadata(stored_blob(&self.registry.storage, &image.digest)).expect("the image").len();
        let config = self.put_blob("application/vnd.oci.empty.v1+json", b"{}");
        let referrers: Vec<Value> = entries
            .iter()
            .map(|entry| {
                let manifest = json!({
                    "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": bundle, "config": config,
                    "layers": [self.put_blob(bundle, &entry.content)],
                    "subject": {"mediaType": MANIFEST, "digest": image.digest, "size": size},
                    "annotations": entry.annotations,
                });
                let (digest, size) = self.put_manifest(MANIFEST, &manifest, None);
                json!({"mediaType": MANIFEST, "digest": digest, "size": size, "artifactType": bundle,
                       "annotations": entry.annotations})
            })
            .collect();
        self.put_index(image, &referrers);
    }

    /// Stores any descriptors as the image's referrers.
    pub fn put_index(&self, image: &Image, referrers: &[Value]) {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": referrers});
        self.put_manifest(INDEX, &index, Some(&format!("sha256-{}", image.hex())));
    }

    /// Returns the descriptors of the image's referrers.
    pub fn referrers(&self, image: &Image) -> Vec<Value> {
        self.manifest(&format!("sha256-{}", image.hex()))["manifests"].as_array().expect("manifests").clone()
    }

    /// Applies a change to every entry of one kind of evidence in both forms; `None` drops the entry.
    ///
    /// Simple signing counts as the predicate of an image signature.
    pub fn change_evidence(
        &self,
        image: &Image,
        predicate: &str,
        mut change: impl FnMut(&str, Entry) -> Option<Entry>,
    ) {
        let signature = predicate == SIGNATURE;
        let legacy = if signature { "sig" } else { "att" };
        let mut apply = |form: &str, entries: Vec<Entry>| -> Vec<Entry> {
            let hit = |entry: &Entry| entry.predicate() == predicate || form == "sig";
            entries.into_iter().filter_map(|e| if hit(&e) { change(form, e) } else { Some(e) }).collect()
        };
        let entries = apply(legacy, self.legacy(image, legacy));
        let bundles = apply("bundle", self.bundles(image));
        self.put_legacy(image, legacy, &entries);
        self.put_bundles(image, &bundles);
    }

    /// Removes a tag from the registry's files.
    pub fn remove_tag(&self, tag: &str) {
        let directory = stored_manifests(&self.registry.storage).join("tags").join(tag);
        fs::remove_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    }

    /// Removes all evidence of an image.
    pub fn remove_evidence(&self, image: &Image) {
        for suffix in ["", ".sig", ".att"] {
            self.remove_tag(&format!("sha256-{}{suffix}", image.hex()));
        }
    }

    /// Gives one image what is attached to another, as it is.
    pub fn copy_evidence(&self, from: &Image, to: &Image) {
        for kind in ["sig", "att"] {
            let entries = self.legacy(from, kind);
            self.put_legacy(to, kind, &entries);
        }
        let bundles = self.bundles(from);
        self.put_bundles(to, &bundles);
    }

    /// Changes one byte of stored content behind the registry's back.
    pub fn damage_blob(&self, digest: &str) {
        let file = stored_blob(&self.registry.storage, digest);
        let mut content = fs::read(&file).expect("the content");
        let middle = content.len() / 2;
        content[middle] ^= 1;
        // The file is shared with the registry that this one mirrors: a new one takes its place.
        fs::remove_file(&file).expect("the old file goes");
        fs::write(&file, content).expect("a new file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    }

    /// Returns a manifest by tag.
    pub fn manifest(&self, tag: &str) -> Value {
        let reference = ManifestReference::Tag(tag.parse().expect("a tag"));
        let found = self.runtime.block_on(self.store.manifest(&self.repository, &reference));
        let found = found.expect("the registry answers").unwrap_or_else(|| panic!("no `{tag}`"));
        serde_json::from_slice(&found.bytes).expect("JSON")
    }

    fn manifest_bytes(&self, digest: &Value) -> Vec<u8> {
        let digest = digest.as_str().expect("a digest").parse().expect("a digest");
        let found =
            self.runtime.block_on(self.store.manifest(&self.repository, &ManifestReference::Digest(digest)));
        found.expect("the registry answers").expect("a manifest").bytes.to_vec()
    }

    /// Returns a blob.
    pub fn blob(&self, digest: &Value) -> Vec<u8> {
        let digest: Digest = digest.as_str().expect("a digest").parse().expect("a digest");
        let found = self.runtime.block_on(self.store.blob(&self.repository, &digest, LARGE));
        found.expect("the registry answers").expect("a blob").to_vec()
    }

    fn put_blob(&self, media_type: &str, content: &[u8]) -> Value {
        let (digest, size) = (Digest::of(content), content.len() as u64);
        let bytes = BlobContent::Bytes(content.to_vec().into());
        let stored = self.runtime.block_on(self.store.put_blob(&self.repository, &digest, size, bytes));
        stored.expect("the registry takes it");
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    /// Stores a manifest and returns its digest and size.
    pub fn put_manifest(&self, media_type: &str, manifest: &Value, tag: Option<&str>) -> (String, usize) {
        let bytes = serde_json::to_vec(manifest).expect("JSON");
        let size = bytes.len();
        let tag = tag.map(|tag| tag.parse().expect("a tag"));
        let put = self.store.put_manifest(&self.repository, media_type, bytes.into(), tag.as_ref());
        (self.runtime.block_on(put).expect("the registry takes it").to_string(), size)
    }
}

/// The predicate type of an image signature in bundle form.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

fn copy(how: &str, from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    let status = Command::new("cp").arg(how).arg("--").args([from, to]).status().expect("cp runs");
    assert!(status.success(), "cannot copy {}", from.display());
}
