//! `airlock verify`: absent, unknown, wrong, missing and refused are different answers, each with its
//! exit code and its golden message, in text and as JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use airlock::domain::evidence::envelope::{Envelope, signed_bytes};
use airlock::keys;
use serde_json::{Value, json};

use crate::mirror::{Entry, Mirror, SIGNATURE};
use crate::published::{PUBLISHED, stored_blob, stored_manifests};
use crate::support::registry::{Kind, Registry};
use crate::support::staging::{REPOSITORY, airlock, text, trust_policy};
use crate::tools::{accepts, redacted, said};

const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Compares exit code and message, and demands that nothing went to standard output.
#[track_caller]
fn answers(name: &str, code: i32, output: &Output) {
    assert_eq!(output.status.code(), Some(code), "{name}: {}", said(output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{name}");
    insta::assert_snapshot!(name, redacted(&said(output)));
}

/// The same question with `--json`: the same code, and the refusal as a document.
#[track_caller]
fn answers_as_json(name: &str, code: i32, output: &Output) {
    assert_eq!(output.status.code(), Some(code), "{name}: {}", said(output));
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{name}: {e}: {}", String::from_utf8_lossy(&output.stdout)));
    assert_eq!(document["exitCode"], code);
    let text = serde_json::to_string_pretty(&document).expect("JSON");
    insta::assert_snapshot!(format!("{name}_as_json"), redacted(&text));
}

fn trust() -> PathBuf {
    PUBLISHED.host.path("trust.toml")
}

/// Writes a policy beside the host's keys.
fn policy(name: &str, text: String) -> PathBuf {
    let path = PUBLISHED.host.path(name);
    fs::write(&path, text).expect("a policy");
    path
}

#[test]
fn what_was_published_is_verified() {
    let output = PUBLISHED.host.verify(&format!("{REPOSITORY}:staged"), &[]);
    accepts("airlock", &output);
    assert_eq!(said(&output), "");
    insta::assert_snapshot!("verified", redacted(&String::from_utf8_lossy(&output.stdout)));
    let output = PUBLISHED.host.verify(&format!("{REPOSITORY}:staged"), &["--json"]);
    accepts("airlock", &output);
    let mut report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["verifiedAt"] = "<now>".into();
    report["provenance"]["job"] = "<job>".into();
    insta::assert_snapshot!(
        "verified_as_json",
        redacted(&serde_json::to_string_pretty(&report).expect("JSON"))
    );
}

#[test]
fn an_unsigned_image_has_no_signature() {
    let mirror = Mirror::new();
    mirror.remove_evidence(&PUBLISHED.second);
    let name = mirror.name(&PUBLISHED.second);
    answers("unsigned", 10, &mirror.verify(&trust(), &name, &[]));
    answers_as_json("unsigned", 10, &mirror.verify(&trust(), &name, &["--json"]));
}

#[test]
fn an_absent_image_is_absent() {
    let host = &PUBLISHED.host;
    answers("no_such_tag", 11, &host.verify(&format!("{REPOSITORY}:v9.9.9"), &[]));
    answers_as_json("no_such_tag", 11, &host.verify(&format!("{REPOSITORY}:v9.9.9"), &["--json"]));
    let digest = format!("sha256:{}", "0".repeat(64));
    answers("no_such_digest", 11, &host.verify(&format!("{REPOSITORY}@{digest}"), &[]));
    answers("no_such_repository", 11, &host.verify("acme/nothing:staged", &[]));
}

#[test]
fn an_image_of_a_key_that_the_policy_does_not_name_is_unknown() {
    let mirror = Mirror::new();
    let name = mirror.name(&PUBLISHED.second);
    let strange = policy("stranger.toml", trust_policy("stranger", "attestation"));
    answers("unknown_key", 12, &mirror.verify(&strange, &name, &[]));
    answers_as_json("unknown_key", 12, &mirror.verify(&strange, &name, &["--json"]));
    let swapped = policy("swapped.toml", trust_policy("attestation", "image"));
    answers("keys_of_the_other_use", 12, &mirror.verify(&swapped, &name, &[]));
    let text = trust_policy("image", "attestation").replace("2036-01-01", "2026-01-02");
    answers("expired_key", 12, &mirror.verify(&policy("expired.toml", text), &name, &[]));
    let text = trust_policy("image", "stranger");
    answers("unknown_attestation_key", 12, &mirror.verify(&policy("strange-att.toml", text), &name, &[]));
}

#[test]
fn the_evidence_of_another_image_is_wrong() {
    let mirror = Mirror::new();
    mirror.copy_evidence(&PUBLISHED.first, &PUBLISHED.second);
    let name = mirror.name(&PUBLISHED.second);
    answers("evidence_of_another_image", 13, &mirror.verify(&trust(), &name, &[]));
    answers_as_json("evidence_of_another_image", 13, &mirror.verify(&trust(), &name, &["--json"]));
}

#[test]
fn missing_evidence_is_named() {
    let mirror = Mirror::new();
    for predicate in [PROVENANCE, TEST_RESULT] {
        mirror.change_evidence(&PUBLISHED.second, predicate, |_, _| None);
    }
    let name = mirror.name(&PUBLISHED.second);
    answers("missing_attestations", 14, &mirror.verify(&trust(), &name, &[]));
    answers_as_json("missing_attestations", 14, &mirror.verify(&trust(), &name, &["--json"]));
}

#[test]
fn a_policy_that_says_no_is_its_own_answer() {
    let mirror = Mirror::new();
    let name = mirror.name(&PUBLISHED.second);
    let with = |file: &str, from: &str, to: &str| {
        let text = trust_policy("image", "attestation");
        assert!(text.contains(from));
        mirror.verify(&policy(file, text.replace(from, to)), &name, &[])
    };
    answers("not_hermetic_enough", 15, &with("hermetic.toml", "min_hermetic = 1", "min_hermetic = 2"));
    answers(
        "another_builder",
        15,
        &with("builder.toml", "https://gitlab.test/airlock", "https://other.test/airlock"),
    );
    answers("no_rule_covers_it", 15, &with("uncovered.toml", "acme/**", "other/**"));
    let hermetic = PUBLISHED.host.path("hermetic.toml");
    answers_as_json("not_hermetic_enough", 15, &mirror.verify(&hermetic, &name, &["--json"]));
}

#[test]
fn a_genuine_failed_test_outweighs_every_passed_one() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    let mut entries = mirror.legacy(image, "att");
    let passed = entries.iter().find(|entry| entry.predicate() == TEST_RESULT).expect("a test result");
    let payload = Envelope::parse(&passed.content).expect("an envelope").payload().to_vec();
    let failed = String::from_utf8(payload).expect("UTF-8").replace("PASSED", "FAILED").into_bytes();
    let key = format!("file:{}", PUBLISHED.host.path("attestation.key").display());
    let signer = keys::open(&key, "a test's own password".to_owned().into()).expect("the key opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let signature = runtime.block_on(signer.sign(&signed_bytes(&failed))).expect("a signature");
    let annotations = passed.annotations.clone();
    entries.push(Entry { annotations, content: Envelope::new(failed, signature).to_json() });
    mirror.put_legacy(image, "att", &entries);
    answers("failed_test", 15, &mirror.verify(&trust(), &mirror.name(image), &[]));
}

#[test]
fn junk_beside_the_good_evidence_is_passed_over() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    let mut entries = mirror.bundles(image);
    let signature = json!({"dev.sigstore.bundle.predicateType": SIGNATURE});
    for content in
        [&b""[..], b"{}", b"[[[[[[", b"{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\"}"]
    {
        entries.insert(0, Entry { annotations: signature.clone(), content: content.to_vec() });
    }
    mirror.put_bundles(image, &entries);
    let mut referrers = mirror.referrers(image);
    // One that is no image manifest, one that names nothing, and what is no descriptor.
    let other = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
                       "digest": PUBLISHED.first.digest, "size": 1, "annotations": signature});
    referrers.insert(0, other);
    mirror.put_index(image, &referrers);
    let mut signatures = mirror.legacy(image, "sig");
    signatures.insert(0, Entry { annotations: json!({}), content: b"{}".to_vec() });
    mirror.put_legacy(image, "sig", &signatures);
    let output = mirror.verify(&trust(), &mirror.name(image), &[]);
    accepts("airlock", &output);
    insta::assert_snapshot!("verified_beside_junk", redacted(&String::from_utf8_lossy(&output.stdout)));
}

#[test]
fn ten_thousand_junk_referrers_cost_a_bounded_number_of_requests() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    let genuine = mirror.referrers(image);
    // Each claims to be what is looked at first: small and an image signature.
    let junk = (0..10_000).map(|number: u32| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{number:064x}"),
               "size": 1, "annotations": {"dev.sigstore.bundle.predicateType": SIGNATURE}})
    });
    let all: Vec<Value> = junk.chain(genuine).collect();
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": all});
    // The registry itself refuses an index that names what it has not: written behind its back.
    let bytes = serde_json::to_vec(&index).expect("JSON");
    assert!(bytes.len() < 4 * 1024 * 1024, "{}", bytes.len());
    let digest = airlock::domain::digest::Digest::of(&bytes).to_string();
    let storage = &mirror.registry.storage;
    let write = |path: &Path, content: &[u8]| {
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, content).expect("a file");
    };
    write(&stored_blob(storage, &digest), &bytes);
    let hex = digest.strip_prefix("sha256:").expect("a digest");
    let manifests = stored_manifests(storage);
    let tag = manifests.join("tags").join(format!("sha256-{}", image.hex()));
    write(&manifests.join("revisions/sha256").join(hex).join("link"), digest.as_bytes());
    write(&tag.join("index/sha256").join(hex).join("link"), digest.as_bytes());
    write(&tag.join("current/link"), digest.as_bytes());
    let output = mirror.verify(&trust(), &mirror.name(image), &[]);
    accepts("airlock", &output);
    insta::assert_snapshot!(
        "verified_among_ten_thousand",
        redacted(&String::from_utf8_lossy(&output.stdout))
    );
}

#[test]
fn a_registry_that_cannot_be_asked_is_no_answer_about_the_image() {
    let staged = format!("{}:staged", PUBLISHED.repository());
    let trust = trust();
    let ask = |ca: &Path, auth: Option<&Path>, reference: &str| {
        let mut arguments = vec!["verify", "--trust", text(&trust), "--ca", text(ca)];
        if let Some(auth) = auth {
            arguments.extend(["--auth-file", text(auth)]);
        }
        arguments.push(reference);
        airlock(&arguments)
    };
    let registry = PUBLISHED.host.registry.as_ref().expect("a registry");
    let (ca, auth) = (registry.ca.as_ref().expect("a CA"), registry.auth_file.as_ref().expect("a file"));
    let other = Registry::start(Kind::TlsWithPassword);
    answers("wrong_authority", 3, &ask(other.ca.as_ref().expect("a CA"), Some(auth), &staged));
    answers("no_password", 3, &ask(ca, None, &staged));
    let wrong = PUBLISHED.host.path("wrong-auth.json");
    // "airlock:wrong"
    let content = format!(r#"{{"auths":{{"{}":{{"auth":"YWlybG9jazp3cm9uZw=="}}}}}}"#, PUBLISHED.registry());
    fs::write(&wrong, content).expect("a file");
    fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    answers("wrong_password", 3, &ask(ca, Some(&wrong), &staged));
    let host = other.host.clone();
    let (other_ca, other_auth) =
        (PUBLISHED.host.path("other-ca.pem"), PUBLISHED.host.path("other-auth.json"));
    fs::copy(other.ca.as_ref().expect("a CA"), &other_ca).expect("a file");
    fs::copy(other.auth_file.as_ref().expect("a file"), &other_auth).expect("a file");
    drop(other);
    let away = ask(&other_ca, Some(&other_auth), &format!("{host}/{REPOSITORY}:staged"));
    answers("registry_away", 3, &away);
    let json = airlock(&[
        "verify",
        "--json",
        "--trust",
        text(&trust),
        "--ca",
        text(&other_ca),
        "--auth-file",
        text(&other_auth),
        &format!("{host}/{REPOSITORY}:staged"),
    ]);
    answers_as_json("registry_away", 3, &json);
}

#[test]
fn what_is_no_image_is_refused() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    // The fallback tag names an index, the tag of the signature an image without a platform.
    let index = format!("{}/{REPOSITORY}:sha256-{}", mirror.registry.host, image.hex());
    answers("an_index", 16, &mirror.verify(&trust(), &index, &[]));
    mirror.damage_blob(mirror.manifest(&image.version)["config"]["digest"].as_str().expect("a digest"));
    answers("damaged_config", 3, &mirror.verify(&trust(), &mirror.name(image), &[]));
}
