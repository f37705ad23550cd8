//! Both documents against the formats' own schemas, and the scanner against a real dpkg.
//!
//! The schemas are downloaded by `scripts/bootstrap`; without them these tests fail.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use airlock::domain::digest::Digest;
use airlock::sbom::{
    Inventory, Layer, LayerFragment, LayerOrigin, Subject, cyclonedx, fold, scan_layer, spdx,
};
use serde_json::Value;

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/schemas").join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `scripts/bootstrap` first", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Validates with the referenced schemas given, so that nothing is fetched from a network.
fn assert_valid(document: &[u8], schema_name: &str) {
    let others: Vec<(String, Value)> = ["spdx.schema.json", "jsf-0.82.schema.json"]
        .iter()
        .map(|name| (format!("http://cyclonedx.org/schema/{name}"), schema(name)))
        .collect();
    let mut registry = jsonschema::Registry::new();
    for (address, other) in &others {
        registry = registry.add(address.as_str(), other).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let schema = schema(schema_name);
    let validator =
        jsonschema::options().with_registry(&registry).should_validate_formats(true).build(&schema).unwrap();
    let document: Value = serde_json::from_slice(document).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .take(10)
        .map(|error| {
            format!("{}: {}", error.instance_path(), error.to_string().chars().take(300).collect::<String>())
        })
        .collect();
    assert!(errors.is_empty(), "{schema_name}: {errors:#?}");
}

fn documents(inventory: &Inventory) -> (Vec<u8>, Vec<u8>) {
    let (manifest, config, layer) = (Digest::of(b"manifest"), Digest::of(b"config"), Digest::of(b"layer"));
    let subject = Subject {
        repository: "registry.example.internal/acme/billing/api",
        manifest: &manifest,
        config: &config,
        version: "1.4.2",
        created: time::macros::datetime!(2026-11-20 10:30:00 UTC),
        revision: "0123456789abcdef0123456789abcdef01234567",
        source: "https://gitlab.example.internal/acme/billing",
        architecture: "amd64",
        layers: &[layer],
    };
    (spdx(inventory, &subject), cyclonedx(inventory, &subject))
}

fn inventory(fragment: &LayerFragment) -> Inventory {
    fold(&[Layer { diff_id: &Digest::of(b"layer"), fragment, origin: LayerOrigin::Own }])
}

/// This machine's own package database, copyright files and system description as a layer.
fn host_layer() -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--create", "--file=-", "--directory=/", "--ignore-failed-read", "--warning=none"])
        .args(["etc/os-release", "etc/debian_version", "usr/lib/os-release", "usr/bin/bash", "usr/bin/dpkg"])
        .args(["etc/hostname", "usr/share/doc", "var/lib/dpkg"])
        .output()
        .expect("tar runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn finds_exactly_the_packages_that_dpkg_lists() {
    let inventory = inventory(&scan_layer(&host_layer()[..]).unwrap());
    let found: BTreeSet<String> = (inventory.packages().iter())
        .map(|p| format!("{} {} {}", p.name, p.version, p.architecture.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(found.len(), inventory.package_count());

    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}|${Package} ${Version} ${Architecture}\n"])
        .output()
        .expect("dpkg-query runs");
    let expected: BTreeSet<String> = String::from_utf8(query.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once('|'))
        .filter(|(status, _)| !matches!(*status, "config-files" | "not-installed"))
        .map(|(_, package)| package.to_owned())
        .collect();
    assert!(expected.len() > 50, "this machine has no usual dpkg database");
    assert_eq!(found, expected);
    assert_eq!(inventory.gaps(), Vec::<String>::new());

    let own: Vec<&str> = inventory.own_files().listed().iter().map(|file| file.path.as_str()).collect();
    assert!(!own.contains(&"/usr/bin/bash") && !own.contains(&"/usr/bin/dpkg"), "dpkg owns these");
    assert!(own.contains(&"/etc/hostname"), "{own:?}");
}

#[test]
fn writes_documents_of_a_real_system_that_both_schemas_accept() {
    let layer = host_layer();
    let inventory_once = inventory(&scan_layer(&layer[..]).unwrap());
    let licensed = inventory_once.packages().iter().filter(|package| !package.licences.is_empty()).count();
    assert!(licensed * 2 > inventory_once.package_count(), "only {licensed} packages have a licence");
    let (spdx, cyclonedx) = documents(&inventory_once);
    assert_valid(&spdx, "spdx-2.3.schema.json");
    assert_valid(&cyclonedx, "cyclonedx-1.6.schema.json");

    let again = inventory(&scan_layer(&layer[..]).unwrap());
    assert!((spdx, cyclonedx) == documents(&again), "two runs differ");
}

#[test]
fn writes_documents_of_an_empty_image_that_both_schemas_accept() {
    let (spdx, cyclonedx) = documents(&Inventory::default());
    assert_valid(&spdx, "spdx-2.3.schema.json");
    assert_valid(&cyclonedx, "cyclonedx-1.6.schema.json");
}

#[test]
fn notices_a_document_that_is_not_valid() {
    let (_, cyclonedx) = documents(&Inventory::default());
    let broken = String::from_utf8(cyclonedx).unwrap().replace("post-build", "some-time");
    assert!(
        std::panic::catch_unwind(|| assert_valid(broken.as_bytes(), "cyclonedx-1.6.schema.json")).is_err()
    );
}

#[test]
fn uses_only_licence_identifiers_that_the_schema_knows() {
    let known = schema("spdx.schema.json");
    let known: BTreeSet<&str> = known["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let unknown: Vec<String> = (::spdx::identifiers::LICENSES.iter())
        .filter_map(|licence| match airlock::sbom::Licence::of_debian(licence.name)? {
            airlock::sbom::Licence::Id(id) => Some(id),
            _ => None,
        })
        .filter(|id| !known.contains(id.as_str()))
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
}
