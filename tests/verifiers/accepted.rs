//! What was published is accepted: by both majors of cosign, by skopeo under a policy that rejects by
//! default, and by `airlock verify`; by digest, by version and by channel.

use std::process::Command;

use crate::mirror::Mirror;
use crate::published::PUBLISHED;
use crate::support::staging::{REPOSITORY, text};
use crate::tools::{BOTH, SAME_REPOSITORY, Verifier, accepts, mirrored_from, tool};

/// What `--type` is called for each kind of evidence.
pub const TYPES: [&str; 4] =
    ["spdxjson", "cyclonedx", "slsaprovenance1", "https://in-toto.io/attestation/test-result/v0.1"];

/// Returns the three names that a user may have for the second image.
fn names() -> [String; 3] {
    let (repository, image) = (PUBLISHED.repository(), &PUBLISHED.second);
    [
        format!("{repository}@{}", image.digest),
        format!("{repository}:{}", image.version),
        format!("{repository}:staged"),
    ]
}

fn verifier() -> Verifier {
    Verifier::of(PUBLISHED.host.registry.as_ref().expect("a registry"))
}

#[test]
fn cosign_accepts_signature_and_attestations_by_digest_version_and_channel() {
    let verifier = verifier();
    let (image_key, attestation_key) = (PUBLISHED.public_key("image"), PUBLISHED.public_key("attestation"));
    for major in BOTH {
        for name in names() {
            accepts(major, &verifier.verify(major, &image_key, &name));
            for kind in TYPES {
                accepts(major, &verifier.verify_attestation(major, &attestation_key, kind, &name));
            }
        }
    }
}

#[test]
fn cosign_takes_the_private_authority_as_a_flag_too() {
    let mirror_home = tempfile::tempdir().expect("a directory");
    let registry = PUBLISHED.host.registry.as_ref().expect("a registry");
    let ca = registry.ca.as_ref().expect("a CA");
    std::fs::copy(registry.auth_file.as_ref().expect("a file"), mirror_home.path().join("config.json"))
        .expect("credentials");
    let key = PUBLISHED.public_key("image");
    for major in BOTH {
        let output = tool(major)
            .env("HOME", mirror_home.path())
            .env("DOCKER_CONFIG", mirror_home.path())
            .args([
                "verify",
                "--key",
                text(&key),
                "--insecure-ignore-tlog=true",
                "--registry-cacert",
                text(ca),
            ])
            .arg(&names()[0])
            .output()
            .expect("cosign runs");
        accepts(major, &output);
    }
}

#[test]
fn skopeo_accepts_under_a_policy_that_rejects_by_default_and_the_copy_runs() {
    let verifier = verifier();
    let archive = verifier.path("image.tar");
    let tag = format!("airlock-test/copied:{}", PUBLISHED.second.version);
    let to = format!("docker-archive:{}:{tag}", archive.display());
    accepts(
        "skopeo",
        &verifier.skopeo_copy(&PUBLISHED.public_key("image"), SAME_REPOSITORY, &names()[2], &to),
    );

    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().expect("the docker client");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    docker(&["load", "--quiet", "--input", text(&archive)]);
    let told = docker(&["run", "--rm", "--network=none", "--read-only", &tag]);
    docker(&["rmi", &tag]);
    assert_eq!(told, "42");
}

#[test]
fn everybody_still_accepts_after_the_registry_collected_its_garbage() {
    let mirror = Mirror::new();
    let config = mirror.registry.storage.with_file_name("config.yml");
    let collected = Command::new("docker-registry")
        .arg("garbage-collect")
        .arg(&config)
        .env_clear()
        .output()
        .expect("it runs");
    accepts("garbage-collect", &collected);
    let (image_key, attestation_key) = (PUBLISHED.public_key("image"), PUBLISHED.public_key("attestation"));
    for image in [&PUBLISHED.first, &PUBLISHED.second] {
        let name = mirror.name(image);
        for major in BOTH {
            accepts(major, &mirror.verifier.verify(major, &image_key, &name));
            for kind in TYPES {
                accepts(major, &mirror.verifier.verify_attestation(major, &attestation_key, kind, &name));
            }
        }
        accepts("airlock", &mirror.verify(&PUBLISHED.host.path("trust.toml"), &name, &[]));
        let to = format!("dir:{}", mirror.verifier.path(image.hex()).display());
        let identity = mirrored_from(&PUBLISHED.repository());
        accepts("skopeo", &mirror.verifier.skopeo_copy(&image_key, &identity, &name, &to));
    }
}

#[test]
fn airlock_accepts_by_digest_version_and_channel() {
    let image = &PUBLISHED.second;
    for name in [
        format!("{REPOSITORY}@{}", image.digest),
        format!("{REPOSITORY}:{}", image.version),
        format!("{REPOSITORY}:staged"),
    ] {
        let output = PUBLISHED.host.verify(&name, &["--json"]);
        accepts("airlock", &output);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["digest"], image.digest.as_str());
        assert_eq!(report["provenance"]["commit"], image.commit.as_str());
    }
    let first = PUBLISHED.host.verify(&format!("{REPOSITORY}:{}", PUBLISHED.first.version), &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&first.stdout).expect("JSON");
    assert_eq!(report["digest"], PUBLISHED.first.digest.as_str());
}
