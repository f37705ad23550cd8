//! Two components of two projects, signed by the real code, in a layout that counts reads of tags.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;

use crate::cancel::Cancel;
use crate::delivery::push;
use crate::delivery::sign::fixture::{Keys, NOW, input};
use crate::delivery::sign::{EvidenceInput, UnsignedImage};
use crate::domain::digest::Digest;
use crate::domain::evidence::layout::OCI_MANIFEST;
use crate::domain::evidence::provenance::{Origin, Project};
use crate::domain::hub::{HubInputs, HubManifest};
use crate::domain::image::{Repository, Tag};
use crate::domain::job::PublishRule;
use crate::domain::release::{Release, ReleaseHub, ReleaseInputs};
use crate::domain::trust::TrustPolicy;
use crate::failure::{Failure, Outcome};
use crate::hub::snapshot::{Patience, Projects, Snapshot, SnapshotParts, take};
use crate::job_log::{JobLog, LogStyle};
use crate::registry::layout::LayoutDirectory;
use crate::registry::{BlobContent, Descriptor, ImageStore, ManifestReference, StoreError, StoredManifest};
use crate::release::store::VerifiedRelease;

pub(super) const FIRST: &str = "1111111111111111111111111111111111111111";
pub(super) const SECOND: &str = "2222222222222222222222222222222222222222";

/// An image that a test publishes: what its provenance and its labels say.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) repository: &'static str,
    pub(super) commit: &'static str,
    pub(super) version: Option<&'static str>,
    pub(super) revision: &'static str,
    pub(super) platform: (&'static str, &'static str),
    pub(super) project: Project,
    pub(super) reference: &'static str,
    pub(super) origin: Origin,
}

impl Image {
    pub(super) fn of(repository: &'static str, commit: &'static str, pipeline: u64) -> Self {
        let (id, path) =
            if repository.starts_with("billing") { (17, "acme/billing") } else { (18, "acme/ledger") };
        Self {
            repository,
            commit,
            version: Some(if commit == FIRST { "1.0.0-a" } else { "1.1.0-b" }),
            revision: commit,
            platform: ("linux", "amd64"),
            project: Project { id, path: path.into() },
            reference: "staging",
            origin: Origin::GitLab { pipeline, job: 9, runner: 4 },
        }
    }

    fn unsigned(&self) -> UnsignedImage {
        let bytes = Bytes::from(format!("a layer of {} at {}", self.repository, self.commit));
        let layer = (Digest::of(&bytes), bytes.len() as u64, BlobContent::Bytes(bytes));
        let mut labels = BTreeMap::from([("org.opencontainers.image.revision", self.revision)]);
        labels.extend(self.version.map(|version| ("org.opencontainers.image.version", version)));
        let config = json!({
            "architecture": self.platform.1, "os": self.platform.0, "config": {"Labels": labels},
        });
        let config = Bytes::from(config.to_string());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(&config), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer.0, "size": layer.1,
            }],
        });
        UnsignedImage {
            repository: full(self.repository),
            layers: vec![layer],
            config,
            manifest: manifest.to_string().into(),
            manifest_media_type: OCI_MANIFEST.into(),
        }
    }

    fn evidence(&self) -> EvidenceInput {
        let mut input = input();
        input.provenance.project = self.project.clone();
        input.provenance.reference = self.reference.into();
        input.provenance.origin = self.origin.clone();
        input.provenance.commit.id = self.commit.into();
        input
    }
}

pub(super) fn full(repository: &str) -> Repository {
    format!("acme/{repository}").parse().unwrap()
}

pub(super) fn manifest() -> HubManifest {
    HubManifest::parse(
        "schema = 1\nplatform = \"acme\"\n\
         [components.billing]\nproject_id = 17\n\
         services = { api = \"billing/api\", migrate = \"billing/api\", worker = \"billing/worker\" }\n\
         [components.ledger]\nproject_id = 18\nservices = { ledger = \"ledger\" }\n",
    )
    .unwrap()
}

pub(super) fn rules() -> Vec<PublishRule> {
    let rule = |id: u64, path: &str, repositories: &[&str]| PublishRule {
        project_id: id,
        project_path: path.into(),
        ref_name: "staging".into(),
        job: "stage-unit-test".into(),
        script: vec!["make stage-unit-test".into()],
        repositories: repositories.iter().map(|name| name.parse().unwrap()).collect(),
    };
    vec![rule(17, "acme/billing", &["billing/api", "billing/worker"]), rule(18, "acme/ledger", &["ledger"])]
}

/// A layout whose channel tags are counted, and change after they were read a number of times.
pub(super) struct Counting {
    pub(super) inner: LayoutDirectory,
    pub(super) reads: Mutex<Vec<String>>,
    /// After so many reads of channel tags, `:staged` of the repository names the digest.
    pub(super) later: Mutex<Vec<(usize, Repository, Digest)>>,
}

pub(super) struct Bench {
    pub(super) keys: Keys,
    pub(super) store: Counting,
    _directory: tempfile::TempDir,
    said: Shared,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Bench {
    /// An empty store.
    pub(super) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let inner = LayoutDirectory::open(directory.path().join("store")).unwrap();
        let store = Counting { inner, reads: Mutex::default(), later: Mutex::default() };
        Self { keys: Keys::new(), store, _directory: directory, said: Shared::default() }
    }

    /// Both components staged: billing of the first commit, ledger of the second.
    pub(super) async fn staged() -> Self {
        let bench = Self::empty();
        for image in [
            Image::of("billing/api", FIRST, 501),
            Image::of("billing/worker", FIRST, 501),
            Image::of("ledger", SECOND, 502),
        ] {
            bench.stage(&image).await;
        }
        bench
    }

    /// Publishes an image with all of its evidence and tags it.
    pub(super) async fn stage(&self, image: &Image) -> Digest {
        let digest = self.publish(image).await;
        self.tag(image.repository, &digest).await;
        digest
    }

    /// Publishes an image with all of its evidence; no tag names it.
    pub(super) async fn publish(&self, image: &Image) -> Digest {
        let signed = self.keys.signed(image.unsigned(), &image.evidence()).await;
        push::publish(&self.store.inner, &signed, &|_| ()).await.unwrap();
        signed.evidence().subject().clone()
    }

    /// Publishes an image whose evidence is signed by keys that nobody trusts.
    pub(super) async fn publish_as_stranger(&self, image: &Image) -> Digest {
        let signed = Keys::new().signed(image.unsigned(), &image.evidence()).await;
        push::publish(&self.store.inner, &signed, &|_| ()).await.unwrap();
        signed.evidence().subject().clone()
    }

    /// Stores an image without any evidence.
    pub(super) async fn push_unsigned(&self, image: &Image) -> Digest {
        let signed = self.keys.signed(image.unsigned(), &image.evidence()).await;
        push::push_image(&self.store.inner, &signed, &|_| ()).await.unwrap();
        signed.evidence().subject().clone()
    }

    pub(super) async fn tag(&self, repository: &str, digest: &Digest) {
        retag(&self.store.inner, &full(repository), digest).await;
    }

    pub(super) async fn snapshot(&self) -> Outcome<Snapshot> {
        self.snapshot_with(HubInputs::default(), None, &self.keys.policy(), Projects::Published(&rules()))
            .await
    }

    pub(super) async fn snapshot_with(
        &self,
        inputs: HubInputs,
        predecessor: Option<VerifiedRelease>,
        policy: &TrustPolicy,
        projects: Projects<'_>,
    ) -> Outcome<Snapshot> {
        let prefix = "acme".parse().unwrap();
        let parts = SnapshotParts {
            store: &self.store,
            policy,
            prefix: Some(&prefix),
            projects,
            predecessor,
            now: NOW,
            patience: Patience { total: Duration::from_millis(1500), pause: Duration::from_millis(20) },
        };
        let log = JobLog::new(Box::new(self.said.clone()), LogStyle::Terminal);
        take(parts, &manifest(), inputs, &log, &Cancel::listen().unwrap()).await
    }

    /// Returns the log and, where there is one, the failure, without what differs from run to run.
    pub(super) fn told(&self, failure: Option<&Failure>) -> String {
        let said = String::from_utf8(self.said.0.lock().unwrap().clone()).unwrap();
        let failure = failure.map(|failure| format!("\n{failure}")).unwrap_or_default();
        let text = format!("{}{failure}", said.trim_start());
        let text = text.replace(&self.store.place(), "<store>");
        let keys = regex::Regex::new("SHA256:[A-Za-z0-9+/]{43}").unwrap();
        keys.replace_all(&text, "SHA256:<key>").into_owned()
    }

    /// Asserts that the snapshot is refused with the golden message of this name.
    pub(super) async fn refused(&self, name: &str) {
        let failure = self.snapshot().await.expect_err(name);
        insta::assert_snapshot!(format!("refused_{name}"), self.told(Some(&failure)));
    }
}

/// A release with these components, as the platform's `:candidate` names it.
pub(super) fn candidate(snapshot: &Snapshot) -> VerifiedRelease {
    let components = snapshot.release_parts().unwrap().components;
    let release = Release {
        schema_version: 1,
        platform: "acme".into(),
        version: "2.3.0-r42".into(),
        sequence: 42,
        previous: None,
        created_at: "2026-11-22T10:15:00Z".into(),
        expires_at: "2027-11-22T10:15:00Z".into(),
        hub: ReleaseHub {
            project_id: 9,
            project: "acme/hub".into(),
            commit: FIRST.into(),
            pipeline_id: 501,
            job_id: 9001,
            compose: Digest::of(b"compose"),
        },
        components,
        sidecars: Vec::new(),
        inputs: ReleaseInputs { change_set: Vec::new(), overrides: Vec::new(), user_id: None },
    };
    VerifiedRelease::unchecked("acme/acme/release".parse().unwrap(), release)
}

async fn retag(store: &LayoutDirectory, repository: &Repository, digest: &Digest) {
    let found =
        store.manifest(repository, &ManifestReference::Digest(digest.clone())).await.unwrap().unwrap();
    let tag: Tag = "staged".parse().unwrap();
    store.put_manifest(repository, &found.media_type, found.bytes, Some(&tag)).await.unwrap();
}

#[async_trait]
impl ImageStore for Counting {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn docker_reference(&self, repository: &Repository) -> String {
        self.inner.docker_reference(repository)
    }

    async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        self.inner.has_blob(repository, digest).await
    }

    async fn put_blob(&self, _: &Repository, _: &Digest, _: u64, _: BlobContent) -> Result<(), StoreError> {
        panic!("a snapshot writes nothing")
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        self.inner.blob(repository, digest, limit).await
    }

    async fn blob_to_file(
        &self,
        _: &Repository,
        _: &Digest,
        _: u64,
        _: &std::path::Path,
    ) -> Result<bool, StoreError> {
        panic!("a snapshot copies no blob")
    }

    async fn manifest(
        &self,
        repository: &Repository,
        reference: &ManifestReference,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let found = self.inner.manifest(repository, reference).await;
        if let ManifestReference::Tag(tag) = reference
            // Tags that carry a digest's name only say where its evidence is.
            && !tag.as_str().starts_with("sha256-")
        {
            let count = {
                let mut reads = self.reads.lock().unwrap();
                reads.push(format!("{repository}:{tag}"));
                reads.len()
            };
            // The lock must not be held while the tag is written.
            let due: Vec<_> =
                self.later.lock().unwrap().extract_if(.., |(after, ..)| count >= *after).collect();
            for (_, repository, digest) in due {
                retag(&self.inner, &repository, &digest).await;
            }
        }
        found
    }

    async fn put_manifest(
        &self,
        _: &Repository,
        _: &str,
        _: Bytes,
        _: Option<&Tag>,
    ) -> Result<Digest, StoreError> {
        panic!("a snapshot writes nothing")
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        limit: usize,
    ) -> Result<Vec<Descriptor>, StoreError> {
        self.inner.referrers(repository, subject, limit).await
    }

    async fn put_referrer(
        &self,
        _: &Repository,
        _: &Digest,
        _: &str,
        _: Bytes,
    ) -> Result<Digest, StoreError> {
        panic!("a snapshot writes nothing")
    }

    async fn tags(&self, repository: &Repository, limit: usize) -> Result<Vec<Tag>, StoreError> {
        self.inner.tags(repository, limit).await
    }
}
