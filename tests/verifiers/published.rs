//! The images of two staging jobs in a registry with TLS, shared by every test of this binary.

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::LazyLock;

use crate::support::git_repository::GitRepository;
use crate::support::staging::{Host, PROJECT_PATH, REPOSITORY, base_image, text};

/// One published image.
pub struct Image {
    pub digest: String,
    /// Its version tag.
    pub version: String,
    /// The commit that it was built from, and that commit's time.
    pub commit: String,
    pub committed: String,
}

impl Image {
    /// Returns the digest's digits.
    pub fn hex(&self) -> &str {
        self.digest.strip_prefix("sha256:").expect("a SHA-256 digest")
    }
}

/// What two staging jobs left behind; `:staged` names the second image.
pub struct Published {
    pub host: Host,
    pub first: Image,
    pub second: Image,
    /// Closed by the end of this process, which nothing else tells the shared registry.
    _guard: ChildStdin,
}

/// The shared images.
pub static PUBLISHED: LazyLock<Published> = LazyLock::new(publish);

impl Published {
    /// Returns `registry/repository`.
    pub fn repository(&self) -> String {
        format!("{}/{REPOSITORY}", self.registry())
    }

    /// Returns the registry's address.
    pub fn registry(&self) -> &str {
        &self.host.registry.as_ref().expect("a registry").host
    }

    /// Returns where the registry keeps its files.
    pub fn storage(&self) -> &Path {
        &self.host.registry.as_ref().expect("a registry").storage
    }

    /// Returns the file of a public key: `image`, `attestation` or `stranger`.
    pub fn public_key(&self, name: &str) -> PathBuf {
        self.host.path(&format!("{name}.pub"))
    }
}

fn publish() -> Published {
    let host = Host::with_registry();
    let mut repository = component_that_runs();
    let first = publish_head(&host, &repository);
    repository.write(
        "app.py",
        "def add(a, b):\n    return b + a\n\n\nif __name__ == '__main__':\n    print(add(40, 2))\n",
    );
    repository.commit("second version");
    let second = publish_head(&host, &repository);
    assert_ne!(first.digest, second.digest);
    let registry = host.registry.as_ref().expect("a registry");
    let files = [registry.storage.parent().expect("a directory"), host.directory.path()];
    let guard = end_with_this_process(registry.process.id(), &files);
    Published { host, first, second, _guard: guard }
}

/// A component whose image does something that can be seen.
pub fn component_that_runs() -> GitRepository {
    let mut repository = GitRepository::create("staging");
    repository.write("Makefile", "stage-unit-test:\n\tpython3 -c 'import app; assert app.add(1, 2) == 3'\n");
    repository.write(
        "app.py",
        "def add(a, b):\n    return a + b\n\n\nif __name__ == '__main__':\n    print(add(40, 2))\n",
    );
    repository.write("VERSION", "1.4.0\n");
    repository.write(".dockerignore", "Makefile\n");
    repository.write(
        "Dockerfile",
        format!(
            "FROM {}\nCOPY app.py /srv/app.py\nRUN echo built > /srv/built\nUSER 1000\nENTRYPOINT [\"python3\", \"/srv/app.py\"]\n",
            base_image("PYTHON")
        ),
    );
    repository.commit("first version");
    repository
}

/// Runs the staging job of the repository's head and returns what `:staged` names then.
pub fn publish_head(host: &Host, repository: &GitRepository) -> Image {
    let before = host.image_tags();
    let project = host.serve(repository);
    host.gitlab.enqueue(&host.staging_job(&project, repository));
    host.runner().run_one().expect_success();
    let mut versions = host.image_tags();
    versions.retain(|tag| tag != "staged" && !before.contains(tag));
    let [version] = versions.as_slice() else { panic!("one new version tag, not {versions:?}") };
    let verified = host.verify(&format!("{REPOSITORY}:staged"), &["--json"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!(report["provenance"]["project"], PROJECT_PATH);
    Image {
        digest: report["digest"].as_str().expect("a digest").to_owned(),
        version: version.clone(),
        commit: repository.head(),
        committed: repository.git(&[
            "show",
            "--no-patch",
            "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
            "--format=%cd",
        ]),
    }
}

/// Ends the registry and removes its files once this process is gone, however it ended.
///
/// A static is never dropped; a pipe that only this process holds open is closed by the kernel.
#[expect(clippy::zombie_processes, reason = "it outlives this process on purpose")]
fn end_with_this_process(registry: u32, files: &[&Path]) -> ChildStdin {
    let script = "trap '' INT TERM; cat >/dev/null; kill \"$1\"; shift; rm -rf -- \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "guard", &registry.to_string()]);
    command.args(files.iter().map(|path| text(path)));
    let mut guard =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell");
    guard.stdin.take().expect("its standard input")
}

/// Reads a registry's file of a digest.
pub fn stored_blob(storage: &Path, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").expect("a SHA-256 digest");
    storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
}

/// Returns the directory of what a registry knows about the shared repository's manifests.
pub fn stored_manifests(storage: &Path) -> PathBuf {
    storage.join("docker/registry/v2/repositories").join(REPOSITORY).join("_manifests")
}
