//! The host's own keys and its own trust policy, wrong in every way that an administrator can find.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::bench::Job;
use crate::support::staging::{Host, airlock, text, trust_policy};

#[test]
fn keys_that_cannot_be_used_are_told_before_anything_runs() {
    let host = Host::with_layout();
    let job = Job::new(&host);
    job.prepare().expect_success();
    let settings = fs::read_to_string(&host.settings).expect("the settings");
    let key = host.path("image.key");
    let good = fs::read(&key).expect("the key");
    let write = |path: &std::path::Path, content: &[u8], mode: u32| {
        fs::write(path, content).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let mut golden = String::new();
    let mut case = |name: &str| {
        let called = job.run("build_script").expect_system_failure();
        assert!(!called.stdout.contains("make stage-unit-test"), "{name}: the test ran\n{}", called.stdout);
        golden.push_str(&format!("── {name}\n{}\n", called.golden()));
    };

    write(&key, &good, 0o644);
    case("readable by others");
    write(&key, b"-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n", 0o600);
    case("another kind of key");
    fs::remove_file(&key).expect("a file");
    case("missing");
    write(&key, &good, 0o600);
    write(&host.path("password"), b"not the password\n", 0o600);
    case("wrong password");
    fs::remove_file(host.path("password")).expect("a file");
    case("password file is missing");
    write(&host.path("password"), b"a test's own password\n", 0o600);
    fs::write(&host.settings, settings.replace("attestation.key", "image.key")).expect("a file");
    case("one key for two uses");
    fs::write(&host.settings, settings.replace("file:", "vault:secret@")).expect("a file");
    case("a scheme of a later version");
    fs::write(&host.settings, &settings).expect("a file");
    let trust = fs::read_to_string(host.path("trust.toml")).expect("the policy");
    fs::write(host.path("trust.toml"), trust.replace("use = ", "weight = 2\nuse = ")).expect("a file");
    case("unknown key in the trust policy");
    fs::remove_file(host.path("trust.toml")).expect("a file");
    case("trust policy is missing");

    assert!(!golden.contains("a test's own password"));
    insta::assert_snapshot!(golden);
    job.expect_nothing_published_and_nothing_left();
}

#[test]
fn a_trust_policy_that_does_not_trust_our_own_keys_stops_at_the_read_back() {
    let host = Host::with_layout();
    let job = Job::new(&host);
    fs::write(host.path("trust.toml"), trust_policy("stranger", "attestation")).expect("a file");
    job.prepare().expect_success();
    let called = job.run("build_script").expect_system_failure();
    insta::assert_snapshot!(called.golden());
    assert!(called.stdout.contains("pushed  sig-bundle"), "the evidence is there:\n{}", called.stdout);
    job.expect_nothing_published_and_nothing_left();
}

#[test]
fn a_key_is_never_overwritten_and_needs_a_password() {
    let host = Host::with_layout();
    let before = fs::read(host.path("image.key")).expect("the key");
    let (key, password) = (host.path("image"), host.path("password"));
    let again = airlock(&["key", "generate", "--password-file", text(&password), text(&key)]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(fs::read(host.path("image.key")).expect("the key"), before);
    let without = airlock(&["key", "generate", text(&host.path("other"))]);
    assert_eq!(without.status.code(), Some(2));
    let words = |output: &std::process::Output| {
        crate::support::staging::redact(&String::from_utf8_lossy(&output.stderr))
    };
    insta::assert_snapshot!(format!("── exists\n{}\n── no password\n{}", words(&again), words(&without)));
}
