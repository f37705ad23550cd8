//! The lines for cosign in README.md and docs/release.md, run as they are written but for names and digests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use crate::site::Site;
use crate::support::staging::text;
use crate::tools::{BOTH, accepts, rejects, tool};

/// A key file of a documented line, and what it may not be replaced by.
const KEYS: [&str; 3] = ["image.pub", "attestation.pub", "release.pub"];

/// Returns every line of a page's code that calls cosign.
fn lines(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).expect("the page");
    text.lines().filter(|line| line.starts_with("cosign ")).map(str::to_owned).collect()
}

/// cosign in both majors accepts what the pages say it accepts, and rejects the same with any other key.
pub fn are_true(site: &Site, candidate: &serde_json::Value) {
    let registry = site.host.registry.as_ref().expect("a registry");
    let home = tempfile::tempdir().expect("a directory");
    fs::copy(registry.auth_file.as_ref().expect("credentials"), home.path().join("config.json"))
        .expect("credentials");
    for key in KEYS.iter().chain(&["stranger.pub"]) {
        fs::copy(site.host.path(key), home.path().join(key)).expect("a key");
    }
    let release = candidate["digest"].as_str().expect("a digest");
    let image = candidate["release"]["components"][0]["images"][0]["manifest"].as_str().expect("a digest");
    let [release_hex, image_hex] = [release, image].map(|digest| digest.trim_start_matches("sha256:"));
    let names: [(&str, String); 4] = [
        (
            "REGISTRY/PREFIX/PLATFORM/release@sha256:…",
            format!("{}/acme/acme/release@{release}", registry.host),
        ),
        ("REGISTRY/REPOSITORY@sha256:…", format!("{}/acme/billing@{image}", registry.host)),
        (
            "REGISTRY/acme/acme/release@sha256:DIGEST",
            format!("{}/acme/acme/release@sha256:{release_hex}", registry.host),
        ),
        ("REGISTRY/acme/billing@sha256:DIGEST", format!("{}/acme/billing@sha256:{image_hex}", registry.host)),
    ];
    let written: Vec<String> = ["README.md", "docs/release.md"].iter().flat_map(|page| lines(page)).collect();
    assert!(written.len() >= 10, "{written:?}");
    for major in BOTH {
        let programs = home.path().join(major);
        fs::create_dir(&programs).expect("a directory");
        symlink(tool(major).get_program(), programs.join("cosign")).expect("a link");
        let run = |line: &str| -> Output {
            Command::new("sh")
                .args(["-c", line])
                .current_dir(home.path())
                .env_clear()
                .env("PATH", format!("{}:/usr/bin:/bin", text(&programs)))
                .env("HOME", home.path())
                .env("DOCKER_CONFIG", home.path())
                .env("SSL_CERT_FILE", registry.ca.as_ref().expect("a CA"))
                .output()
                .expect("sh runs")
        };
        for line in &written {
            let mut real = line.clone();
            for (name, with) in &names {
                real = real.replace(name, with);
            }
            assert!(!real.contains("REGISTRY") && !real.contains('…'), "{real}");
            accepts(major, &run(&real));
            let key = KEYS.iter().find(|key| real.contains(*key)).expect("a key");
            for other in KEYS.iter().chain(&["stranger.pub"]).filter(|other| *other != key) {
                // Cosign 3 takes any bundle by the given key for a signature: why the keys must differ, and
                // why a verifier is given the image key alone.
                if (major, *key, *other) == ("cosign3", "image.pub", "attestation.pub") {
                    continue;
                }
                rejects(major, &run(&real.replace(key, other)), why(major, &real, other));
            }
        }
    }
}

/// What cosign says when nothing of what was asked for is by the key.
fn why(major: &str, line: &str, key: &str) -> &'static str {
    match (major, line.contains("verify-attestation"), key) {
        ("cosign2", false, _) => "no matching signatures: invalid signature",
        ("cosign2", true, _) => "no matching attestations: accepted signatures do not match threshold",
        // It found the bundle of the image's signature, which is by this key and not of the type.
        (_, true, "image.pub") => "none of the attestations matched the predicate type",
        _ => "could not verify envelope: accepted signatures do not match threshold",
    }
}
