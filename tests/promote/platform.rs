//! A platform of two components in a plain registry, its releases made by the library as a green hub makes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use airlock::cancel::Cancel;
use airlock::delivery::push::publish;
use airlock::delivery::sign::{self, EvidenceInput, UnsignedImage};
use airlock::delivery::verify::VerifiedImage;
use airlock::domain::digest::Digest;
use airlock::domain::evidence::EvidenceKind;
use airlock::domain::evidence::provenance::{
    CheckResult, Commit, Hermetic, HermeticCheck, Origin, Project, Provenance,
};
use airlock::domain::evidence::test_result::{PassedTestResult, TestOutcome, TestResult, TestStage};
use airlock::domain::image::{Repository, Tag};
use airlock::domain::release::{
    ComponentOrigin, ReleaseComponent, ReleaseEvidence, ReleaseHub, ReleaseImage, ReleaseInputs,
    ReleaseSidecar, ReleaseSource,
};
use airlock::domain::trust::{Channel, TrustPolicy};
use airlock::failure::Outcome;
use airlock::job_log::{JobLog, LogStyle};
use airlock::keys::Signer;
use airlock::keys::file::FileSigner;
use airlock::registry::remote::{RemoteRegistry, RemoteSettings, RetryPolicy};
use airlock::registry::{BlobContent, ImageStore, ManifestReference};
use airlock::release::compose::ReleaseInput;
use airlock::release::promote::{Promoted, PromotionParts, StillTheJob, promote};
use airlock::release::store::candidate;
use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;

use crate::registry::{Kind, Registry};

const BUILDER: &str = "https://gitlab.test/airlock";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The platform `acme` under the prefix `acme`.
pub struct Platform {
    pub registry: Registry,
    pub directory: tempfile::TempDir,
    image_key: FileSigner,
    attestation_key: FileSigner,
    release_key: FileSigner,
    policy: TrustPolicy,
}

/// A component as a release takes it: its name, and each image with its packages.
pub struct Component<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub images: &'a [(&'a str, &'a [&'a str])],
}

/// GitLab always confirms the hub's job.
struct Confirmed;

#[async_trait]
impl StillTheJob for Confirmed {
    async fn confirm(&self) -> Outcome<()> {
        Ok(())
    }
}

/// Version 1 of both components.
pub const FIRST: [Component<'_>; 2] = [
    Component {
        name: "billing",
        version: "1.4.0",
        images: &[("billing/api", &["libssl3 3.0.15", "zlib1g 1.2.13"]), ("billing/worker", &["bash 5.2"])],
    },
    Component { name: "ledger", version: "1.0.0", images: &[("ledger", &["libpq5 15.8"])] },
];

/// A later billing: a package of another version, one more, one less; and another second image.
pub const SECOND: [Component<'_>; 2] = [
    Component {
        name: "billing",
        version: "1.5.0",
        images: &[("billing/api", &["libssl3 3.0.17", "libxml2 2.9.14"]), ("billing/cron", &["bash 5.2"])],
    },
    Component { name: "ledger", version: "1.0.0", images: &[("ledger", &["libpq5 15.8"])] },
];

fn project(name: &str) -> Project {
    Project { id: if name == "billing" { 17 } else { 18 }, path: format!("acme/{name}") }
}

fn passed(stage: TestStage) -> PassedTestResult {
    PassedTestResult::new(TestResult {
        stage,
        closed_world: serde_json::Value::Null,
        outcome: TestOutcome::Passed,
        configuration: Vec::new(),
        url: None,
        passed_tests: Vec::new(),
        failed_tests: Vec::new(),
        script: vec!["make test".into()],
        exit_status: 0,
        counts: None,
    })
    .expect("it passed")
}

impl Platform {
    pub fn new() -> Self {
        let registry = Registry::start(Kind::PlainOpen);
        let directory = tempfile::tempdir().expect("a directory");
        let key = || FileSigner::ephemeral().expect("a key");
        let (image_key, attestation_key, release_key) = (key(), key(), key());
        let mut text = "schema = 1\n".to_owned();
        for (name, key) in
            [("image", &image_key), ("attestation", &attestation_key), ("release", &release_key)]
        {
            fs::write(directory.path().join(format!("{name}.pub")), key.public_key().to_pem())
                .expect("a file");
            text += &format!(
                "[[key]]\nname = \"{name}-2026\"\nuse = \"{name}\"\npublic = \"{name}.pub\"\n\
                 not_before = 2026-01-01T00:00:00Z\nnot_after = 2036-01-01T00:00:00Z\n"
            );
        }
        let staged = r#""spdx", "cyclonedx", "provenance", "test-result""#;
        for (channel, more) in [("staged", ""), ("candidate", r#", "hub-test-result", "promotion", "vsa""#)] {
            text += &format!(
                "[[require]]\nrepositories = [\"acme/**\"]\nchannel = \"{channel}\"\nevidence = [{staged}{more}]\n\
                 builder_id = \"{BUILDER}\"\nproject_from_repository = false\nmin_hermetic = 1\n"
            );
        }
        fs::write(directory.path().join("trust.toml"), &text).expect("a policy");
        let at = directory.path().to_owned();
        let read = move |name: &str| fs::read_to_string(at.join(name));
        let policy = TrustPolicy::parse(&text, "trust.toml", &read).expect("a policy");
        Self { registry, directory, image_key, attestation_key, release_key, policy }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A client of `host`, which stands for the registry.
    pub fn client(&self, host: &str) -> RemoteRegistry {
        let host = host.parse().expect("a host");
        RemoteRegistry::connect(RemoteSettings {
            host,
            ca: None,
            auth_file: None,
            retry: RetryPolicy::default(),
        })
        .expect("a client")
    }

    /// Stages an image as a delivery does; its content follows from its repository and packages.
    async fn staged(&self, component: &Component<'_>, name: &str, packages: &[&str]) -> VerifiedImage {
        let store = self.client(&self.registry.host);
        let repository: Repository = format!("acme/{name}").parse().expect("a repository");
        let layer = Bytes::from(format!("{name} with {packages:?}"));
        let config = Bytes::from(r#"{"architecture":"amd64","os":"linux","config":{}}"#);
        let described = |media_type: &str, bytes: &Bytes| serde_json::json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": described("application/vnd.oci.image.config.v1+json", &config),
            "layers": [described("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        });
        let image = UnsignedImage {
            repository: repository.clone(),
            layers: vec![(Digest::of(&layer), layer.len() as u64, BlobContent::Bytes(layer))],
            config,
            manifest: manifest.to_string().into(),
            manifest_media_type: MANIFEST.into(),
        };
        let listed: Vec<_> = packages
            .iter()
            .filter_map(|package| package.split_once(' '))
            .map(|(name, version)| serde_json::json!({"name": name, "versionInfo": version}))
            .collect();
        let now = OffsetDateTime::now_utc();
        let evidence = EvidenceInput {
            docker_reference: store.docker_reference(&repository),
            spdx: serde_json::json!({"spdxVersion": "SPDX-2.3", "packages": listed}).to_string().into(),
            cyclonedx: Bytes::from_static(br#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#),
            provenance: Provenance {
                source: format!("https://gitlab.test/acme/{}", component.name),
                reference: "refs/heads/staging".into(),
                entry_point: "stage-unit-test".into(),
                script: vec!["make stage-unit-test".into()],
                image: None,
                project: project(component.name),
                origin: Origin::GitLab { pipeline: 10, job: 100, runner: 1 },
                architecture: "amd64".into(),
                versions: BTreeMap::new(),
                hermetic: Hermetic {
                    level: 1,
                    checks: vec![HermeticCheck { name: "no route".into(), result: CheckResult::Held }],
                },
                commit: Commit { id: commit(component), tree: None },
                base_images: Vec::new(),
                other_dependencies: Vec::new(),
                builder_id: BUILDER.into(),
                invocation_id: "https://gitlab.test/-/jobs/100".into(),
                started_on: now,
                finished_on: now,
                byproducts: Vec::new(),
            },
            test_result: passed(TestStage::Unit),
        };
        let signed =
            sign::compose(image, &evidence, &self.attestation_key, &self.image_key).await.expect("signed");
        let published = publish(&store, &signed, &|_| ()).await.expect("published");
        published.verify(&store, &self.policy, Channel::Staged, now).await.expect("verified")
    }

    /// What a green hub run of these components hands over.
    pub async fn input(&self, components: &[Component<'_>]) -> ReleaseInput {
        let (mut listed, mut images) = (Vec::new(), Vec::new());
        for component in components {
            let mut of_component = Vec::new();
            for (name, packages) in component.images {
                let image = self.staged(component, name, packages).await;
                let envelope = |kind| image.verdict().evidence_of(kind).expect("evidence").envelope().clone();
                of_component.push(ReleaseImage {
                    repository: name.parse().expect("a repository"),
                    platform: "linux/amd64".into(),
                    manifest: image.digest().clone(),
                    config: Digest::of(image.config()),
                    evidence: ReleaseEvidence {
                        spdx: envelope(EvidenceKind::Spdx),
                        cyclonedx: envelope(EvidenceKind::CycloneDx),
                        provenance: envelope(EvidenceKind::Provenance),
                        test_result: envelope(EvidenceKind::TestResult),
                    },
                });
                images.push(image);
            }
            let Project { id, path } = project(component.name);
            listed.push(ReleaseComponent {
                name: component.name.into(),
                version: component.version.into(),
                origin: ComponentOrigin::Staged,
                source: ReleaseSource { project_id: id, project: path, commit: commit(component) },
                images: of_component,
            });
        }
        let store = self.client(&self.registry.host);
        let now = OffsetDateTime::now_utc();
        let prefix = "acme".parse().expect("a prefix");
        ReleaseInput {
            platform: "acme".into(),
            hub_version: "2.3.0".into(),
            hub: ReleaseHub {
                project_id: 9,
                project: "acme/hub".into(),
                commit: "2b3c4d5e6f".repeat(4),
                pipeline_id: 20,
                job_id: 200,
                compose: Digest::of(b"compose"),
            },
            components: listed,
            sidecars: vec![ReleaseSidecar {
                name: "postgres".into(),
                repository: "base/postgres".parse().expect("a repository"),
                manifest: Digest::of(b"postgres"),
                config: Digest::of(b"config"),
            }],
            inputs: ReleaseInputs { change_set: vec![], overrides: vec![], user_id: None },
            predecessor: candidate(&store, &self.policy, Some(&prefix), "acme", now)
                .await
                .expect("a candidate"),
            images,
            now,
        }
    }

    /// Promotes from a host with a state directory of its own, through `host`.
    pub async fn promote(&self, host: &str, state: &str, input: ReleaseInput) -> Outcome<Promoted> {
        let state_dir = self.path(state);
        fs::create_dir_all(&state_dir).expect("a directory");
        let store = self.client(host);
        let prefix: Repository = "acme".parse().expect("a prefix");
        let parts = PromotionParts {
            store: &store,
            release_key: &self.release_key,
            attestation_key: &self.attestation_key,
            policy: &self.policy,
            prefix: Some(&prefix),
            state_dir: &state_dir,
            builder_id: BUILDER,
        };
        let log = JobLog::new(Box::new(std::io::sink()), LogStyle::Terminal);
        let cancel = Cancel::listen().expect("signals");
        promote(&parts, input, &passed(TestStage::Integration), &Confirmed, &|_| (), &log, &cancel).await
    }

    /// Makes and promotes a release of these components.
    pub async fn released(&self, components: &[Component<'_>]) -> Promoted {
        let input = self.input(components).await;
        self.promote(&self.registry.host, "state", input).await.expect("promoted")
    }

    /// What a tag names; nothing where there is none.
    pub async fn named(&self, repository: &str, tag: &str) -> Option<Digest> {
        let tag: Tag = tag.parse().expect("a tag");
        let repository = repository.parse().expect("a repository");
        let store = self.client(&self.registry.host);
        let found = store.manifest(&repository, &ManifestReference::Tag(tag)).await.expect("the registry");
        found.map(|found| found.digest)
    }

    /// Prepares `airlock VERB…` on the registry that `host` stands for.
    pub fn command(&self, host: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airlock"));
        command.args(words).args(["--registry", host, "--prefix", "acme", "--trust"]);
        command.arg(self.path("trust.toml"));
        command.env_clear().env("HOME", self.directory.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    pub fn airlock(&self, words: &[&str]) -> Output {
        self.command(&self.registry.host, words).output().expect("the built binary runs")
    }
}

/// The commit that a component's images are of.
fn commit(component: &Component<'_>) -> String {
    Digest::of(format!("{} {}", component.name, component.version).as_bytes()).hex()[..40].to_owned()
}

/// Replaces what differs from run to run.
pub fn redact(text: &str, directory: &Path) -> String {
    let text = text.replace(directory.to_str().expect("UTF-8"), "<directory>");
    [
        (r"sha256:[0-9a-f]{64}", "sha256:<digest>"),
        (r"sha256:[0-9a-f]{12}\b", "sha256:<short>"),
        (r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z", "<time>"),
        (r"127\.0\.0\.1:[0-9]+", "127.0.0.1:<port>"),
    ]
    .iter()
    .fold(text, |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    })
}
