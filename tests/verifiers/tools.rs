//! cosign in both majors and skopeo, with nothing of this machine's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::registry::Registry;
use crate::support::staging::{redact, text};

/// Both majors of cosign.
pub const BOTH: [&str; 2] = ["cosign2", "cosign3"];

/// The flags that verify with a key and without a transparency log, the same in both majors.
pub const OFFLINE: &str = "--insecure-ignore-tlog=true";

/// A verifier at work against one registry: its CA and credentials, and a home of its own.
pub struct Verifier {
    home: tempfile::TempDir,
    ca: Option<PathBuf>,
}

impl Verifier {
    /// Prepares what a user prepares: a CA file and a Docker configuration.
    pub fn of(registry: &Registry) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        if let Some(auth_file) = &registry.auth_file {
            fs::copy(auth_file, home.path().join("config.json")).expect("credentials");
        }
        Self { home, ca: registry.ca.clone() }
    }

    /// Returns a file in the verifier's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs one major of cosign.
    pub fn cosign(&self, major: &str, arguments: &[&str]) -> Output {
        let mut command = tool(major);
        command.args(arguments).env("HOME", self.home.path()).env("DOCKER_CONFIG", self.home.path());
        if let Some(ca) = &self.ca {
            command.env("SSL_CERT_FILE", ca);
        }
        command.output().expect("cosign runs")
    }

    /// Runs `cosign verify` with a public key.
    pub fn verify(&self, major: &str, key: &Path, image: &str) -> Output {
        self.cosign(major, &["verify", "--key", text(key), OFFLINE, image])
    }

    /// Runs `cosign verify-attestation` with a public key.
    pub fn verify_attestation(&self, major: &str, key: &Path, kind: &str, image: &str) -> Output {
        self.cosign(major, &["verify-attestation", "--key", text(key), OFFLINE, "--type", kind, image])
    }

    /// Runs `skopeo copy` to a directory under a policy that rejects everything but what `key` signed.
    pub fn skopeo_copy(&self, key: &Path, identity: &str, from: &str, to: &str) -> Output {
        let registry = from.split('/').next().expect("a registry");
        let policy = format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"{registry}":[{{"type":"sigstoreSigned","keyPath":"{}","signedIdentity":{identity}}}]}}}}}}"#,
            key.display()
        );
        fs::write(self.path("policy.json"), policy).expect("a policy");
        fs::create_dir_all(self.path("registries.d")).expect("a directory");
        let attached = format!("docker:\n  {registry}:\n    use-sigstore-attachments: true\n");
        fs::write(self.path("registries.d/registry.yaml"), attached).expect("a file");
        let (policy, registries) = (self.path("policy.json"), self.path("registries.d"));
        let (auth, certificates) = (self.path("config.json"), self.path("certificates"));
        let mut command = tool("skopeo");
        command.args([
            "--policy",
            text(&policy),
            "--registries.d",
            text(&registries),
            "copy",
            "--remove-signatures",
        ]);
        match &self.ca {
            Some(ca) => {
                fs::create_dir_all(&certificates).expect("a directory");
                fs::copy(ca, certificates.join("ca.crt")).expect("a CA");
                command.args(["--src-cert-dir", text(&certificates), "--src-authfile", text(&auth)]);
            }
            None => {
                command.arg("--src-tls-verify=false");
            }
        }
        command.args([&format!("docker://{from}"), to]).env("HOME", self.home.path());
        command.output().expect("skopeo runs")
    }
}

/// Any tag and digest of the repository that the image is pulled from.
pub const SAME_REPOSITORY: &str = r#"{"type":"matchRepository"}"#;

/// Returns the identity for a mirror: the signature names another place.
pub fn mirrored_from(repository: &str) -> String {
    format!(r#"{{"type":"exactRepository","dockerRepository":"{repository}"}}"#)
}

/// Returns a tool that `scripts/bootstrap` unpacked, with a clean environment.
pub fn tool(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin").join(name);
    assert!(path.exists(), "{} is missing; run scripts/bootstrap", path.display());
    let mut command = Command::new(path);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command
}

/// Returns what a tool said to people.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Fails with the tool's own words unless it ended with 0.
#[track_caller]
pub fn accepts(who: &str, output: &Output) {
    assert!(output.status.success(), "{who}: {:?}\n{}", output.status.code(), said(output));
}

/// Fails unless the tool ended by itself with another code than 0 and gave this reason.
#[track_caller]
pub fn rejects(who: &str, output: &Output, reason: &str) {
    let words = said(output);
    assert!(output.status.code().is_some_and(|code| code != 0), "{who} accepted:\n{words}");
    assert!(words.contains(reason), "{who} rejected for another reason than `{reason}`:\n{words}");
}

/// Replaces what differs from run to run and from machine to machine in a verdict.
pub fn redacted(text: &str) -> String {
    // The commit holds the base image's digest, and each machine makes base images of its own.
    let commit = regex::Regex::new("[0-9a-f]{12} on staging").expect("a pattern");
    commit.replace_all(&redact(text), "<commit> on staging").into_owned()
}
