//! The verifier against good images and a corpus of bad ones; each refusal has a golden message.

mod corpus;
mod good;
mod policy;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::*;
use crate::delivery::push::memory::MemoryStore;
use crate::delivery::push::publish;
use crate::delivery::sign::EvidenceInput;
use crate::delivery::sign::fixture::{Keys, NOW, image, input, repository};
use crate::domain::evidence::bundle::{BUNDLE_MEDIA_TYPE, KeyBundle};
use crate::domain::evidence::envelope::{Envelope, signed_bytes};
use crate::domain::evidence::layout::{
    ATTESTATION_LAYER, EvidenceTag, SIGNATURE_ANNOTATION, SIGNATURE_LAYER,
};
use crate::domain::evidence::simple_signing::SimpleSigning;
use crate::keys::Signer as _;
use crate::keys::file::FileSigner;

/// A store, the trusted keys, and the digest of image `a`, which is complete unless a test undoes it.
struct Bench {
    keys: Keys,
    store: MemoryStore,
    digest: Digest,
}

impl Bench {
    async fn new() -> Self {
        Self::with(&input()).await
    }

    async fn with(input: &EvidenceInput) -> Self {
        let bench = Self::unsigned().await;
        let signed = bench.keys.signed(image("a"), input).await;
        publish(&bench.store, &signed, &|_| ()).await.unwrap();
        bench
    }

    /// Returns a bench whose image is stored and has no evidence.
    async fn unsigned() -> Self {
        let (keys, store) = (Keys::new(), MemoryStore::default());
        let signed = keys.signed(image("a"), &input()).await;
        crate::delivery::push::push_image(&store, &signed, &|_| ()).await.unwrap();
        Self { keys, store, digest: signed.evidence().subject().clone() }
    }

    async fn verify_by(&self, policy: &TrustPolicy) -> Outcome<VerifiedImage> {
        self.verify_as(policy, Channel::Staged, Completeness::Any).await
    }

    async fn verify(&self) -> Outcome<VerifiedImage> {
        self.verify_by(&self.keys.policy()).await
    }

    async fn verify_as(
        &self,
        policy: &TrustPolicy,
        channel: Channel,
        completeness: Completeness,
    ) -> Outcome<VerifiedImage> {
        let reference = ManifestReference::Digest(self.digest.clone());
        verify(&self.store, &repository(), &reference, policy, channel, completeness, NOW).await
    }

    /// Returns the refusal's exit code and text, without what differs from run to run.
    fn told(&self, outcome: Outcome<VerifiedImage>) -> String {
        let failure = outcome.expect_err("a refusal");
        let mut text = failure.to_string();
        for (key, name) in [
            (&self.keys.image, "IMAGE"),
            (&self.keys.attestation, "ATTESTATION"),
            (&self.keys.stranger, "STRANGER"),
        ] {
            text = text.replace(&key.public_key().fingerprint(), &format!("SHA256:{name}"));
        }
        let digests = regex::Regex::new("(sha256[:-])[0-9a-f]{12}([0-9a-f]{52}|…)").unwrap();
        format!("exit {}\n{}", failure.cli_exit_code(), digests.replace_all(&text, "${1}DIGEST"))
    }

    fn put_blob(&self, bytes: Vec<u8>) -> (Digest, u64) {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        self.store.content().blobs.insert(digest.clone(), bytes.into());
        (digest, size)
    }

    fn layer(&self, media_type: &str, bytes: Vec<u8>, signature: &str) -> Descriptor {
        let (digest, size) = self.put_blob(bytes);
        let annotations = [(SIGNATURE_ANNOTATION.to_owned(), signature.to_owned())].into();
        let media_type = media_type.into();
        Descriptor { media_type, digest, size, artifact_type: None, annotations: Some(annotations) }
    }

    fn put_tag(&self, kind: EvidenceTag, layers: &[Descriptor]) {
        let bytes = serde_json::json!({"schemaVersion": 2, "layers": layers}).to_string();
        let digest = Digest::of(bytes.as_bytes());
        let mut content = self.store.content();
        content.manifests.insert(digest.clone(), (OCI_MANIFEST.into(), bytes.into()));
        content.tags.insert(kind.of(&self.digest), digest);
    }

    /// Makes `envelopes` the only attestations, in the legacy form.
    fn attest(&self, envelopes: &[Vec<u8>]) {
        let layers: Vec<Descriptor> =
            envelopes.iter().map(|json| self.layer(ATTESTATION_LAYER, json.clone(), "")).collect();
        self.put_tag(EvidenceTag::Attestation, &layers);
        self.store.content().referrers.clear();
    }

    /// Makes a simple signing payload about `digest` by `key` the only signature.
    async fn sign_legacy(&self, key: &FileSigner, digest: &Digest) {
        let payload = SimpleSigning::new("r/a", digest.clone()).to_payload();
        let signature = STANDARD.encode(key.sign(&payload).await.unwrap());
        self.put_tag(EvidenceTag::Signature, &[self.layer(SIGNATURE_LAYER, payload, &signature)]);
    }

    /// Adds a bundle as a referrer.
    fn refer(&self, bundle: Vec<u8>) {
        let layer = self.layer(BUNDLE_MEDIA_TYPE, bundle, "");
        let bytes = serde_json::json!({"schemaVersion": 2, "layers": [layer]}).to_string();
        let digest = Digest::of(bytes.as_bytes());
        let descriptor = Descriptor { digest: digest.clone(), size: bytes.len() as u64, ..layer };
        let mut content = self.store.content();
        content.manifests.insert(digest, (OCI_MANIFEST.into(), bytes.into()));
        content.referrers.entry(self.digest.clone()).or_default().push(descriptor);
    }

    /// Returns the stored envelopes of the legacy form.
    fn envelopes(&self) -> Vec<Vec<u8>> {
        let content = self.store.content();
        let manifest = &content.manifests[&content.tags[&EvidenceTag::Attestation.of(&self.digest)]].1;
        let manifest: EvidenceManifest = serde_json::from_slice(manifest).unwrap();
        manifest.layers.iter().map(|layer| content.blobs[&layer.digest].to_vec()).collect()
    }
}

async fn envelope(key: &FileSigner, payload: Vec<u8>) -> Envelope {
    let signature = key.sign(&signed_bytes(&payload)).await.unwrap();
    Envelope::new(payload, signature)
}

/// Returns the payload of an envelope, changed as text.
fn changed(json: &[u8], edit: impl Fn(String) -> String) -> Vec<u8> {
    let payload = Envelope::parse(json).unwrap().payload().to_vec();
    edit(String::from_utf8(payload).unwrap()).into_bytes()
}
