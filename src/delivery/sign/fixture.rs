//! A small image, its evidence, keys and a policy that trusts them: where tests of delivery start.

use bytes::Bytes;
use time::OffsetDateTime;
use time::macros::datetime;

use super::{EvidenceInput, SignedImage, UnsignedImage, compose};
use crate::domain::digest::Digest;
use crate::domain::evidence::layout::OCI_MANIFEST;
use crate::domain::evidence::test_result::{PassedTestResult, TestResult};
use crate::domain::evidence::{provenance, test_result};
use crate::domain::image::Repository;
use crate::domain::trust::TrustPolicy;
use crate::keys::Signer as _;
use crate::keys::file::FileSigner;
use crate::registry::BlobContent;

/// When the tests take place.
pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-22 12:00:00 UTC);

/// The trusted keys, and one that nobody knows.
pub(crate) struct Keys {
    pub(crate) image: FileSigner,
    pub(crate) attestation: FileSigner,
    pub(crate) stranger: FileSigner,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let key = || FileSigner::ephemeral().unwrap();
        Self { image: key(), attestation: key(), stranger: key() }
    }

    /// Returns a policy that demands everything of `acme/**`, changed from its text by `edit`.
    pub(crate) fn policy_with(&self, edit: impl Fn(String) -> String) -> TrustPolicy {
        let text = r#"schema = 1
[[key]]
name = "image-2026"
use = "image"
public = "image"
not_before = 2026-01-01T00:00:00Z
not_after = 2028-01-01T00:00:00Z
[[key]]
name = "attestation-2026"
use = "attestation"
public = "attestation"
not_before = 2026-01-01T00:00:00Z
not_after = 2028-01-01T00:00:00Z
[[require]]
repositories = ["acme/**"]
channel = "any"
evidence = ["spdx", "cyclonedx", "provenance", "test-result"]
builder_id = "https://airlock.example/builder/gitlab/v1"
project_from_repository = true
min_hermetic = 1
"#;
        let read = |name: &str| {
            let signer = match name {
                "image" => &self.image,
                "attestation" => &self.attestation,
                _ => &self.stranger,
            };
            Ok(signer.public_key().to_pem())
        };
        TrustPolicy::parse(&edit(text.to_owned()), "/etc/airlock/trust.toml", &read).unwrap()
    }

    pub(crate) fn policy(&self) -> TrustPolicy {
        self.policy_with(|text| text)
    }

    pub(crate) async fn signed(&self, image: UnsignedImage, input: &EvidenceInput) -> SignedImage {
        compose(image, input, &self.attestation, &self.image).await.unwrap()
    }
}

pub(crate) fn repository() -> Repository {
    "acme/billing/api".parse().unwrap()
}

/// Returns an image of two layers that differ with `seed`.
pub(crate) fn image(seed: &str) -> UnsignedImage {
    let layer = |n: u8| {
        let bytes = Bytes::from(format!("layer {n} of {seed}"));
        (Digest::of(&bytes), bytes.len() as u64, BlobContent::Bytes(bytes))
    };
    let layers = vec![layer(1), layer(2)];
    let config = Bytes::from_static(br#"{"architecture":"amd64","os":"linux"}"#);
    let described: Vec<_> = layers
        .iter()
        .map(|(digest, size, _)| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size,
            })
        })
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(&config), "size": config.len(),
        },
        "layers": described,
    });
    UnsignedImage {
        repository: repository(),
        layers,
        config,
        manifest: manifest.to_string().into(),
        manifest_media_type: OCI_MANIFEST.into(),
    }
}

pub(crate) fn input() -> EvidenceInput {
    EvidenceInput {
        docker_reference: "registry.example:5000/acme/billing/api".into(),
        spdx: Bytes::from_static(br#"{"spdxVersion":"SPDX-2.3","name":"api"}"#),
        cyclonedx: Bytes::from_static(br#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#),
        provenance: provenance::tests::sample(),
        test_result: PassedTestResult::new(passed()).unwrap(),
    }
}

pub(crate) fn passed() -> TestResult {
    test_result::tests::sample()
}
