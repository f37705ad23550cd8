//! Images, tags and names that somebody planted before the job: none of them is signed or trusted.

use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::attack::Attack;
use crate::published_image::PublishedImage;
use crate::support::runner::JobState;
use crate::support::staging::{Host, REPOSITORY, base_image};

/// Another client of the registry, who may push but holds no key.
struct Stranger<'a>(&'a Host);

impl Stranger<'_> {
    /// Pushes an unsigned image under a tag and returns its digest.
    fn push(&self, tag: &str) -> String {
        let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
        let config = self.blob(&serde_json::to_vec(&config).expect("JSON"));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1},
            "layers": []
        });
        let bytes = serde_json::to_vec(&manifest).expect("JSON");
        self.put(&format!("manifests/{tag}"), &bytes, "application/vnd.oci.image.manifest.v1+json");
        digest(&bytes)
    }

    fn blob(&self, bytes: &[u8]) -> (String, usize) {
        let answer =
            self.curl(&["-X", "POST", "-D", "-", "-o", "/dev/null", &self.url("blobs/uploads/")], b"");
        let location = answer
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("location")))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_else(|| panic!("no place to upload to: {answer}"));
        let separator = if location.contains('?') { '&' } else { '?' };
        let to = format!("{location}{separator}digest={}", digest(bytes));
        self.curl(
            &["-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", "@-", &to],
            bytes,
        );
        (digest(bytes), bytes.len())
    }

    fn put(&self, path: &str, bytes: &[u8], kind: &str) {
        let kind = format!("Content-Type: {kind}");
        self.curl(&["-X", "PUT", "-H", &kind, "--data-binary", "@-", &self.url(path)], bytes);
    }

    /// Returns the digest that a tag names.
    fn named_by(&self, tag: &str) -> String {
        let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
        digest(self.curl(&["-H", accept, &self.url(&format!("manifests/{tag}"))], b"").as_bytes())
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/v2/{REPOSITORY}/{path}", self.0.registry.as_ref().expect("a registry").host)
    }

    fn curl(&self, arguments: &[&str], input: &[u8]) -> String {
        use std::io::Write;
        let ca = self.0.registry.as_ref().and_then(|r| r.ca.clone()).expect("a CA");
        let mut child = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-u", "airlock:correct horse battery", "--cacert"])
            .arg(ca)
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("`curl` is installed");
        child.stdin.take().expect("its input").write_all(input).expect("the bytes");
        let output = child.wait_with_output().expect("curl ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "curl {arguments:?}: {text}");
        text
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The version tag that the component's head will get: a stranger can tell it as well.
fn version_tag(attack: &Attack) -> String {
    let time = attack.repository.git(&["show", "-s", "--format=%cd", "--date=format-local:%Y%m%d%H%M%S"]);
    format!("1.4.0-{time}.g{}", &attack.repository.head()[..12])
}

#[test]
fn an_unsigned_image_under_the_version_tag_is_neither_signed_nor_replaced() {
    let attack = Attack::on(Host::with_registry(), |_| {});
    let stranger = Stranger(&attack.host);
    let tag = version_tag(&attack);
    let planted = stranger.push(&tag);
    let ended = attack.run(&attack.job());
    assert!(matches!(ended.outcome.state, JobState::Failed { .. }), "{:?}", ended.outcome.state);
    assert_eq!(stranger.named_by(&tag), planted);
    // Not even evidence: neither the planted image's nor our own.
    assert_eq!(attack.host.tags(), [tag.as_str()]);
    let verified = attack.host.verify(&format!("{REPOSITORY}:{tag}"), &[]);
    assert_eq!(verified.status.code(), Some(10), "{}", String::from_utf8_lossy(&verified.stderr));
    insta::assert_snapshot!(ended.message());
}

#[test]
fn an_unsigned_image_under_the_channel_tag_has_no_say() {
    let attack = Attack::on(Host::with_registry(), |_| {});
    let stranger = Stranger(&attack.host);
    let planted = stranger.push("staged");
    attack.published(&attack.job());
    assert_ne!(stranger.named_by("staged"), planted);
    let verified = attack.host.verify(&format!("{REPOSITORY}@{planted}"), &[]);
    assert_eq!(verified.status.code(), Some(10), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn a_guessed_engine_tag_is_not_what_is_published() {
    let attack = Attack::new();
    let id = attack.enqueue(&attack.job());
    // A job's key is its id and twelve digits of the scope, which everybody on the host can compute.
    let scope = digest(format!("{}\n", attack.host.gitlab.url()).as_bytes())[7..19].to_owned();
    let tag = format!("airlock-build/{id}-{scope}:billing");
    let planted = Command::new("docker").args(["tag", &base_image("PYTHON"), &tag]).status();
    assert!(planted.expect("the docker client").success());
    let ended = attack.run_queued(id);
    assert_eq!(ended.outcome.state, JobState::Success);
    let image = PublishedImage::staged(&attack.host);
    assert_eq!(image.paths(), ["srv/.dockerignore", "srv/Dockerfile", "srv/VERSION", "srv/app.py"]);
}

#[test]
fn labels_of_the_dockerfile_do_not_forge_where_the_image_comes_from() {
    let attack = Attack::with(|repository| {
        repository.write(
            "Dockerfile",
            "FROM scratch\nLABEL org.opencontainers.image.revision=forged org.opencontainers.image.version=9.9.9 \
             org.opencontainers.image.source=http://mallory.test airlock.job=forged\nCOPY . /srv/\n",
        );
    });
    attack.published(&attack.job());
    let image = PublishedImage::staged(&attack.host);
    let labels = &image.config["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.revision"], Value::from(attack.repository.head()));
    assert_eq!(labels["org.opencontainers.image.version"], Value::from(version_tag(&attack)));
    assert_eq!(
        labels["org.opencontainers.image.source"],
        Value::from(format!("{}/acme/billing.git", attack.host.gitlab.url()))
    );
}

#[test]
fn a_repository_that_the_rule_does_not_list_is_refused() {
    insta::assert_snapshot!(manifest("[[image]]\nrepository = \"payments\"\n"));
}

#[test]
fn another_projects_repository_beside_ones_own_is_refused() {
    insta::assert_snapshot!(manifest(
        "[[image]]\nrepository = \"billing\"\n[[image]]\nrepository = \"payments/api\"\n"
    ));
}

#[test]
fn a_repository_with_another_registrys_name_or_a_digest_is_refused() {
    insta::assert_snapshot!(manifest(
        "[[image]]\nrepository = \"mallory.test:5000/billing\"\n[[image]]\nrepository = \"billing@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n\
         [[image]]\nrepository = \"../payments\"\n"
    ));
}

#[test]
fn a_manifest_that_names_a_digest_to_sign_is_refused() {
    insta::assert_snapshot!(manifest(
        "[[image]]\nrepository = \"billing\"\ndigest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n"
    ));
}

/// The message for a manifest with these lines.
fn manifest(lines: &str) -> String {
    let attack = Attack::with(|repository| {
        repository.write("airlock.toml", format!("schema = 1\n{lines}"));
    });
    attack.refused(&attack.job())
}
