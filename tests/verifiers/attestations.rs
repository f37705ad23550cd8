//! What cosign prints is what Airlock wrote, and it says what is true.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::accepted::TYPES;
use crate::mirror::Mirror;
use crate::published::PUBLISHED;
use crate::support::staging::{PROJECT_ID, PROJECT_PATH, SCRIPT, base_image};
use crate::tools::{BOTH, accepts};

const URIS: [&str; 4] = [
    "https://spdx.dev/Document",
    "https://cyclonedx.org/bom",
    "https://slsa.dev/provenance/v1",
    "https://in-toto.io/attestation/test-result/v0.1",
];

#[test]
fn cosign_prints_the_very_statements_that_were_written() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    let written = mirror.legacy(image, "att");
    let key = PUBLISHED.public_key("attestation");
    for (kind, uri) in TYPES.into_iter().zip(URIS) {
        let entry = written.iter().find(|entry| entry.predicate() == uri).expect("an attestation");
        let envelope: Value = serde_json::from_slice(&entry.content).expect("an envelope");
        let statement = payload(&envelope);
        assert_eq!(statement["predicateType"], uri);
        let subjects = statement["subject"].as_array().expect("subjects");
        assert_eq!(subjects.len(), 1);
        assert_eq!(subjects[0]["digest"]["sha256"], image.hex());
        assert_eq!(subjects[0]["name"], PUBLISHED.repository());
        for major in BOTH {
            let output = mirror.verifier.verify_attestation(major, &key, kind, &mirror.name(image));
            accepts(major, &output);
            let lines = String::from_utf8(output.stdout).expect("UTF-8");
            let printed: Vec<Value> =
                lines.lines().map(|line| serde_json::from_str(line).expect("an envelope a line")).collect();
            assert_eq!(printed.len(), 1, "{major} {kind}");
            assert_eq!(printed[0]["payload"], envelope["payload"], "{major} {kind}");
        }
    }
    let report = PUBLISHED.host.verify(&format!("acme/billing@{}", image.digest), &["--json"]);
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    for (kind, uri) in ["spdx", "cyclonedx", "provenance", "test-result"].into_iter().zip(URIS) {
        let entry = written.iter().find(|entry| entry.predicate() == uri).expect("an attestation");
        let told = report["evidence"].as_array().expect("evidence").iter().find(|e| e["kind"] == kind);
        let digest = airlock::domain::digest::Digest::of(&entry.content).to_string();
        assert_eq!(told.expect("told")["envelope"], digest, "{kind}");
    }
}

#[test]
fn the_bills_of_materials_are_valid_and_name_the_packages_of_the_image() {
    let (spdx, cyclonedx) = (predicate(URIS[0]), predicate(URIS[1]));
    assert_valid(&spdx, "spdx-2.3.schema.json");
    assert_valid(&cyclonedx, "cyclonedx-1.6.schema.json");
    let packages = spdx["packages"].as_array().expect("packages");
    let named = |name: &str| packages.iter().any(|package| package["name"] == name);
    assert!(named("python3-minimal") || named("python3"), "no python among {} packages", packages.len());
    let components = cyclonedx["components"].as_array().expect("components");
    assert!(
        components
            .iter()
            .any(|c| c["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:deb/debian/python3")))
    );
}

#[test]
fn the_provenance_names_project_commit_builder_base_and_the_measured_level() {
    let image = &PUBLISHED.second;
    let provenance = predicate(URIS[2]);
    let text = provenance.to_string();
    assert_eq!(provenance["runDetails"]["builder"]["id"], "https://gitlab.test/airlock");
    let materials = provenance["buildDefinition"]["resolvedDependencies"].as_array().expect("dependencies");
    assert!(materials.iter().any(|m| m["digest"]["gitCommit"] == image.commit.as_str()), "{text}");
    let base = base_image("PYTHON");
    let (_, base) = base.split_once("@sha256:").expect("a digest");
    assert!(materials.iter().any(|m| m["digest"]["sha256"] == base), "{text}");
    let report = PUBLISHED.host.verify(&format!("acme/billing@{}", image.digest), &["--json"]);
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!(report["provenance"]["project"], PROJECT_PATH);
    assert_eq!(report["provenance"]["projectId"], PROJECT_ID);
    assert_eq!(report["provenance"]["hermetic"], 1);
    assert_eq!(report["provenance"]["mode"], "gitlab");
    insta::assert_snapshot!(shape(&provenance));
}

#[test]
fn the_test_result_is_of_the_lines_that_airlock_ran() {
    let result = predicate(URIS[3]);
    assert_eq!(result["result"], "PASSED");
    assert!(result.to_string().contains(SCRIPT), "{result}");
    insta::assert_snapshot!(shape(&result));
}

/// Returns the predicate of the second image's attestation of a type, as cosign 3 prints it.
fn predicate(uri: &str) -> Value {
    let registry = PUBLISHED.host.registry.as_ref().expect("a registry");
    let verifier = crate::tools::Verifier::of(registry);
    let name = format!("{}@{}", PUBLISHED.repository(), PUBLISHED.second.digest);
    let output = verifier.verify_attestation("cosign3", &PUBLISHED.public_key("attestation"), uri, &name);
    accepts("cosign3", &output);
    payload(&serde_json::from_slice(&output.stdout).expect("one envelope"))["predicate"].clone()
}

fn payload(envelope: &Value) -> Value {
    let payload = STANDARD.decode(envelope["payload"].as_str().expect("a payload")).expect("base64");
    serde_json::from_slice(&payload).expect("a statement")
}

/// Returns every key of a document with its value's kind: a golden file of what is told, not of the values.
fn shape(document: &Value) -> String {
    fn walk(path: &str, value: &Value, lines: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| walk(&format!("{path}.{key}"), value, lines));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(&format!("{path}[]"), item, lines)),
            Value::String(_) => drop(lines.insert(format!("{path}: text"))),
            Value::Number(_) => drop(lines.insert(format!("{path}: number"))),
            Value::Bool(_) | Value::Null => drop(lines.insert(format!("{path}: {value}"))),
        }
    }
    let mut lines = std::collections::BTreeSet::new();
    walk("", document, &mut lines);
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// Validates against a schema that `scripts/bootstrap` fetched, with those that it refers to.
fn assert_valid(document: &Value, name: &str) {
    let schema = |name: &str| -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/schemas").join(name);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}; run scripts/bootstrap", path.display()));
        serde_json::from_str(&text).expect("JSON")
    };
    let others = ["spdx.schema.json", "jsf-0.82.schema.json"].map(schema);
    let addresses =
        ["http://cyclonedx.org/schema/spdx.schema.json", "http://cyclonedx.org/schema/jsf-0.82.schema.json"];
    let mut registry = jsonschema::Registry::new();
    for (address, other) in addresses.iter().zip(&others) {
        registry = registry.add(*address, other).expect("a schema");
    }
    let registry = registry.prepare().expect("schemas");
    let validator = jsonschema::options()
        .with_registry(&registry)
        .should_validate_formats(true)
        .build(&schema(name))
        .expect("a schema");
    let errors: Vec<String> =
        validator.iter_errors(document).take(10).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
}
