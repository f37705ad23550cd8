//! A whole host for tests: settings, keys, trust policy, registry, GitLab, runner, a small component.
//!
//! Everything is real but GitLab: the engine, Distribution, the built `airlock` binary. Base images are
//! those that `scripts/bootstrap` made; a missing part fails the test that needs it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::git_repository::GitRepository;
use super::gitlab::{FakeGitLab, JobPayload, Project};
use super::registry::{Kind, Registry};
use super::runner::{Runner, RunnerSettings};

/// The built binary.
pub const AIRLOCK: &str = env!("CARGO_BIN_EXE_airlock");
/// The project that the host's publish rule names.
pub const PROJECT_ID: u64 = 17;
pub const PROJECT_PATH: &str = "acme/billing";
/// The repository that the rule lists, below the store's prefix `acme`.
pub const REPOSITORY: &str = "acme/billing";
pub const JOB_NAME: &str = "stage-unit-test";
pub const SCRIPT: &str = "make stage-unit-test";

/// Returns an image that `scripts/bootstrap` made: `HELPER`, `PYTHON` or `DEBIAN`.
pub fn base_image(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/airlock-images.env");
    let text = fs::read_to_string(&file)
        .unwrap_or_else(|e| panic!("{}: {e}; run scripts/bootstrap", file.display()));
    text.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")))
        .unwrap_or_else(|| panic!("{name} is not in {}", file.display()))
        .to_owned()
}

/// Where a host stores images.
pub enum Place {
    /// A Distribution registry with TLS, a private CA and a password.
    Registry,
    /// A directory of OCI layouts.
    Layout,
    /// An address that the test itself answers on, in plain HTTP on loopback.
    Address(String),
}

/// A runner host with all that it is configured with; everything goes when it is dropped.
pub struct Host {
    pub gitlab: FakeGitLab,
    pub registry: Option<Registry>,
    pub directory: tempfile::TempDir,
    pub settings: PathBuf,
}

impl Host {
    /// Sets up a host; `change` may rewrite the settings' text before it is stored.
    pub fn new(place: Place, change: impl FnOnce(String) -> String) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let gitlab = FakeGitLab::start_on_bridge();
        let registry = matches!(place, Place::Registry).then(|| Registry::start(Kind::TlsWithPassword));
        let store = match (&place, &registry) {
            (_, Some(registry)) => format!(
                "registry = \"{}\"\nca = \"{}\"\nauth_file = \"{}\"\n",
                registry.host,
                registry.ca.as_ref().expect("a CA").display(),
                registry.auth_file.as_ref().expect("credentials").display()
            ),
            (Place::Address(address), _) => format!("registry = \"{address}\"\n"),
            _ => format!("layout = \"{}\"\n", at("store").display()),
        };
        fs::write(at("password"), "a test's own password\n").expect("a file");
        fs::set_permissions(at("password"), fs::Permissions::from_mode(0o600)).expect("a mode");
        for key in ["image", "attestation", "stranger"] {
            let path = at(key);
            let made = airlock(&["key", "generate", "--password-file", text(&at("password")), text(&path)]);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        fs::write(at("trust.toml"), trust_policy("image", "attestation")).expect("a file");
        let base = base_image("PYTHON");
        let (base_host, _) = base.split_once('/').expect("a host");
        let settings = format!(
            "schema = 1\nstate_dir = \"{state}\"\ntrust = \"{trust}\"\n\n[store]\n{store}prefix = \"acme\"\n\n\
             [keys]\nimage = \"file:{image}\"\nattestation = \"file:{attestation}\"\npassword_file = \"{password}\"\n\n\
             [gitlab]\nurl = \"{gitlab}\"\n\n[images]\nallow = [\"{base_host}/base/*\"]\n\n\
             [helper]\nimage = \"{helper}\"\n\n[sandbox]\nmemory_mib = 1024\nworkspace_mib = 256\ntmp_mib = 128\npids = 256\n\n\
             [provenance]\nbuilder_id = \"https://gitlab.test/airlock\"\n\n\
             [[publish]]\nproject_id = {PROJECT_ID}\nproject_path = \"{PROJECT_PATH}\"\nref = \"staging\"\n\
             job = \"{JOB_NAME}\"\nscript = [\"{SCRIPT}\"]\nrepositories = [\"billing\"]\n",
            state = at("state").display(),
            trust = at("trust.toml").display(),
            image = at("image.key").display(),
            attestation = at("attestation.key").display(),
            password = at("password").display(),
            gitlab = gitlab.url(),
            helper = base_image("HELPER"),
        );
        let file = at("host.toml");
        fs::write(&file, change(settings)).expect("a file");
        Self { gitlab, registry, settings: file, directory }
    }

    /// A host with a registry and settings as they are.
    pub fn with_registry() -> Self {
        Self::new(Place::Registry, |settings| settings)
    }

    /// A host with a directory of OCI layouts and settings as they are.
    pub fn with_layout() -> Self {
        Self::new(Place::Layout, |settings| settings)
    }

    /// Returns a path in the host's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Serves a repository as the project that may publish.
    pub fn serve(&self, repository: &GitRepository) -> Project {
        self.gitlab.serve(PROJECT_ID, PROJECT_PATH, repository)
    }

    /// Returns the staging job of a repository's head: the one job that publishes.
    pub fn staging_job(&self, project: &Project, repository: &GitRepository) -> JobPayload {
        self.gitlab
            .job_of(project, repository)
            .name(JOB_NAME)
            .branch("staging")
            .protected(Some(true))
            .image(&base_image("PYTHON"))
            .script(&[SCRIPT])
    }

    /// Returns a runner that drives the built binary with this host's settings.
    pub fn runner(&self) -> Runner<'_> {
        Runner::new(&self.gitlab, self.runner_settings())
    }

    /// Returns the settings of that runner.
    pub fn runner_settings(&self) -> RunnerSettings {
        let mut settings = RunnerSettings::airlock(AIRLOCK);
        let words = |stage: &str| -> Vec<String> {
            ["executor", stage, "--settings", text(&self.settings)].map(str::to_owned).into()
        };
        settings.config_args = Some(words("config"));
        settings.prepare_args = words("prepare");
        settings.run_args = words("run");
        settings.cleanup_args = words("cleanup");
        settings
    }

    /// Runs `airlock verify` on a reference below the registry or layout, with the host's policy.
    pub fn verify(&self, reference: &str, more: &[&str]) -> Output {
        let trust = self.path("trust.toml");
        let mut arguments = vec!["verify", "--trust", text(&trust)];
        arguments.extend(more);
        let store = self.path("store");
        let full = match &self.registry {
            Some(registry) => {
                let (ca, auth) =
                    (registry.ca.as_ref().expect("a CA"), registry.auth_file.as_ref().expect("a file"));
                arguments.extend(["--ca", text(ca), "--auth-file", text(auth)]);
                format!("{}/{reference}", registry.host)
            }
            None => {
                arguments.extend(["--layout", text(&store)]);
                reference.to_owned()
            }
        };
        arguments.push(&full);
        airlock(&arguments)
    }

    /// Returns the tags of the repository, channel and version tags and evidence alike.
    pub fn tags(&self) -> Vec<String> {
        match &self.registry {
            Some(registry) => {
                let directory = registry
                    .storage
                    .join("docker/registry/v2/repositories")
                    .join(REPOSITORY)
                    .join("_manifests/tags");
                names(&directory)
            }
            None => {
                let index = self.path("store").join(REPOSITORY).join("index.json");
                let Ok(bytes) = fs::read(index) else { return Vec::new() };
                let index: serde_json::Value = serde_json::from_slice(&bytes).expect("an index");
                index["manifests"]
                    .as_array()
                    .expect("manifests")
                    .iter()
                    .filter_map(|m| m["annotations"]["org.opencontainers.image.ref.name"].as_str())
                    .map(str::to_owned)
                    .collect()
            }
        }
    }

    /// Returns the version and channel tags: those that name an image for somebody who follows.
    pub fn image_tags(&self) -> Vec<String> {
        self.tags().into_iter().filter(|tag| !tag.starts_with("sha256-")).collect()
    }

    /// Returns what jobs of this host left in its state directory.
    pub fn jobs_in_state(&self) -> Vec<String> {
        names(&self.path("state/jobs"))
    }
}

/// Returns what carries the key of `job`'s label in the engine: containers, volumes and build tags.
pub fn left_in_engine(job: u64) -> Vec<String> {
    let mut left = Vec::new();
    for (what, arguments) in [
        ("container", vec!["ps", "--all", "--format", "{{.Label \"airlock.job\"}} {{.Names}}"]),
        ("volume", vec!["volume", "ls", "--format", "{{.Label \"airlock.job\"}} {{.Name}}"]),
        ("image", vec!["images", "--format", "{{.Repository}} {{.Tag}}"]),
    ] {
        let output = Command::new("docker").args(&arguments).output().expect("the docker client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let key = line.strip_prefix("airlock-build/").unwrap_or(line);
            if key.starts_with(&format!("{job}-")) {
                left.push(format!("{what} {line}"));
            }
        }
    }
    left
}

/// A component that builds in a second: one file, one test, one `RUN` step.
pub fn small_component() -> GitRepository {
    let mut repository = GitRepository::create("staging");
    write_small_component(&repository);
    repository.commit("first version");
    repository
}

/// Writes the small component's files.
pub fn write_small_component(repository: &GitRepository) {
    repository.write("Makefile", "stage-unit-test:\n\tpython3 -c 'import app; assert app.add(1, 2) == 3'\n");
    repository.write("app.py", "def add(a, b):\n    return a + b\n");
    repository.write("VERSION", "1.4.0\n");
    repository.write(".dockerignore", "Makefile\n");
    repository.write(
        "Dockerfile",
        format!(
            "FROM {}\nCOPY app.py /srv/app.py\nRUN echo built > /srv/built\nUSER 1000\n",
            base_image("PYTHON")
        ),
    );
}

/// Returns the policy that trusts two of the host's keys.
pub fn trust_policy(image: &str, attestation: &str) -> String {
    let key = |name: &str, key_use: &str| {
        format!(
            "[[key]]\nname = \"{name}-2026\"\nuse = \"{key_use}\"\npublic = \"{name}.pub\"\n\
             not_before = 2026-01-01T00:00:00Z\nnot_after = 2036-01-01T00:00:00Z\n\n"
        )
    };
    format!(
        "schema = 1\n\n{}{}[[require]]\nrepositories = [\"acme/**\"]\nchannel = \"any\"\n\
         evidence = [\"spdx\", \"cyclonedx\", \"provenance\", \"test-result\"]\n\
         builder_id = \"https://gitlab.test/airlock\"\nproject_from_repository = true\nmin_hermetic = 1\n",
        key(image, "image"),
        key(attestation, "attestation")
    )
}

/// Runs the built binary with a clean environment.
pub fn airlock(arguments: &[&str]) -> Output {
    Command::new(AIRLOCK)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .output()
        .expect("the built binary runs")
}

/// Replaces what differs from run to run, so that a message can stand in a golden file.
pub fn redact(text: &str) -> String {
    let patterns: BTreeMap<&str, &str> = BTreeMap::from([
        (r"sha256:[0-9a-f]{64}", "sha256:<digest>"),
        (r"sha256:[0-9a-f]{12}\b", "sha256:<short>"),
        (r"\b[0-9a-f]{40}\b", "<commit>"),
        (r"\.g[0-9a-f]{12}\b", ".g<commit>"),
        (r"\b20[0-9]{12}\b", "<time>"),
        (r"\b[0-9]+-[0-9a-f]{12}\b", "<job>"),
        (r"127\.0\.0\.1:[0-9]+", "127.0.0.1:<port>"),
        (r"172\.[0-9]+\.[0-9]+\.[0-9]+:[0-9]+", "<bridge>:<port>"),
        (r"/tmp/\.tmp[A-Za-z0-9]+", "<host>"),
        (r"section_(start|end):[0-9]+:", "section_$1:<unix>:"),
        (r"SHA256:[A-Za-z0-9+/]{43}", "SHA256:<key>"),
        (r"\b[0-9]+\.[0-9] s\b", "<time> s"),
    ]);
    patterns.iter().fold(text.to_owned(), |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    })
}

/// Returns a path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
