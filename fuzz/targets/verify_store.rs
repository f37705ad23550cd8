//! A registry that answers anything: manifests, indexes, configs and evidence are read, and never trusted.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use airlock::delivery::verify::{Completeness, verify};
use airlock::domain::digest::Digest;
use airlock::domain::image::{Repository, Tag};
use airlock::domain::trust::{Channel, TrustPolicy};
use airlock::keys::file;
use airlock::registry::{BlobContent, Descriptor, ImageStore, ManifestReference, StoreError, StoredManifest};
use async_trait::async_trait;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let key = |name: &str| {
        format!(
            "[[key]]\nname = \"{name}\"\nuse = \"{name}\"\npublic = \"{name}\"\n\
             not_before = 2020-01-01T00:00:00Z\nnot_after = 2040-01-01T00:00:00Z\n"
        )
    };
    let text = format!(
        "schema = 1\n{}{}[[require]]\nrepositories = [\"**\"]\nchannel = \"any\"\nevidence = [\"provenance\"]\n",
        key("image"),
        key("attestation")
    );
    let read_key = |_: &str| Ok(file::generate("").expect("a key pair").public_pem);
    TrustPolicy::parse(&text, "trust.toml", &read_key).expect("a policy")
});

/// Everything by digest; tags and referrers as the input wants them.
struct Store {
    blobs: BTreeMap<Digest, Bytes>,
    tags: BTreeMap<String, (String, Bytes)>,
    referrers: Vec<Value>,
}

#[async_trait]
impl ImageStore for Store {
    fn place(&self) -> String {
        "registry.test".into()
    }

    fn docker_reference(&self, repository: &Repository) -> String {
        format!("registry.test/{repository}")
    }

    async fn has_blob(&self, _: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.blobs.contains_key(digest))
    }

    async fn put_blob(&self, _: &Repository, _: &Digest, _: u64, _: BlobContent) -> Result<(), StoreError> {
        unreachable!("verifying writes nothing")
    }

    async fn blob(&self, _: &Repository, digest: &Digest, limit: u64) -> Result<Option<Bytes>, StoreError> {
        Ok(self.blobs.get(digest).filter(|bytes| bytes.len() as u64 <= limit).cloned())
    }

    async fn blob_to_file(
        &self,
        _: &Repository,
        _: &Digest,
        _: u64,
        _: &std::path::Path,
    ) -> Result<bool, StoreError> {
        unreachable!("verifying copies no blob")
    }

    async fn manifest(
        &self,
        _: &Repository,
        reference: &ManifestReference,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let (media_type, bytes) = match reference {
            ManifestReference::Tag(tag) => match self.tags.get(tag.as_str()) {
                Some(found) => found.clone(),
                None => return Ok(None),
            },
            ManifestReference::Digest(digest) => match self.blobs.get(digest) {
                Some(bytes) => ("application/vnd.oci.image.manifest.v1+json".into(), bytes.clone()),
                None => return Ok(None),
            },
        };
        Ok(Some(StoredManifest { media_type, digest: Digest::of(&bytes), bytes }))
    }

    async fn put_manifest(
        &self,
        _: &Repository,
        _: &str,
        _: Bytes,
        _: Option<&Tag>,
    ) -> Result<Digest, StoreError> {
        unreachable!("verifying writes nothing")
    }

    async fn referrers(
        &self,
        _: &Repository,
        _: &Digest,
        limit: usize,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let parsed = |value: &Value| serde_json::from_value::<Descriptor>(value.clone()).ok();
        Ok(self.referrers.iter().filter_map(parsed).take(limit).collect())
    }

    async fn put_referrer(
        &self,
        _: &Repository,
        _: &Digest,
        _: &str,
        _: Bytes,
    ) -> Result<Digest, StoreError> {
        unreachable!("verifying writes nothing")
    }

    async fn tags(&self, _: &Repository, _: usize) -> Result<Vec<Tag>, StoreError> {
        Ok(Vec::new())
    }
}

fuzz_target!(|input: (bool, &str, &[u8], Vec<(u8, &str, &[u8])>)| {
    let (whole, media_type, raw, pieces) = input;
    let mut store = Store { blobs: BTreeMap::new(), tags: BTreeMap::new(), referrers: Vec::new() };
    let mut keep = |bytes: Bytes| {
        let digest = Digest::of(&bytes);
        store.blobs.insert(digest.clone(), bytes);
        digest
    };
    let config = keep(Bytes::from_static(b"{}"));
    let descriptor =
        |kind: &str, digest: &Digest, size: usize| json!({"mediaType": kind, "digest": digest, "size": size});
    let image = match whole {
        true => json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config, 2), "layers": [],
        })
        .to_string()
        .into(),
        false => Bytes::copy_from_slice(raw),
    };
    let image_type = if whole { "application/vnd.oci.image.manifest.v1+json" } else { media_type };
    let image_digest = keep(image.clone());
    let mut evidence: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut bundles = Vec::new();
    for (kind, text, bytes) in &pieces {
        let digest = keep(Bytes::copy_from_slice(bytes));
        match kind % 3 {
            0 => {
                let mut layer =
                    descriptor("application/vnd.dev.cosign.simplesigning.v1+json", &digest, bytes.len());
                layer["annotations"] = json!({"dev.cosignproject.cosign/signature": text});
                evidence.entry("sig").or_default().push(layer);
            }
            1 => {
                let layer = descriptor("application/vnd.dsse.envelope.v1+json", &digest, bytes.len());
                evidence.entry("att").or_default().push(layer);
            }
            _ => {
                let layer = descriptor("application/vnd.dev.sigstore.bundle.v0.3+json", &digest, bytes.len());
                let manifest = json!({"schemaVersion": 2, "layers": [layer]}).to_string();
                let size = manifest.len();
                let digest = keep(manifest.into());
                bundles.push(descriptor("application/vnd.oci.image.manifest.v1+json", &digest, size));
            }
        }
    }
    for (suffix, layers) in evidence {
        let manifest = json!({"schemaVersion": 2, "layers": layers}).to_string();
        let tag = format!("sha256-{}.{suffix}", image_digest.hex());
        store.tags.insert(tag, ("application/vnd.oci.image.manifest.v1+json".into(), manifest.into()));
    }
    store.referrers = bundles;
    store.tags.insert("staged".into(), (image_type.to_owned(), image));
    let repository: Repository = "acme/billing".parse().expect("a repository");
    let reference = ManifestReference::Tag("staged".parse().expect("a tag"));
    let now = time::OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a time");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let verdict = runtime.block_on(verify(
        &store,
        &repository,
        &reference,
        &POLICY,
        Channel::Staged,
        Completeness::Any,
        now,
    ));
    let refusal = verdict.expect_err("nobody has a trusted key");
    assert!(!refusal.to_string().contains('\u{1b}'));
});
