//! The two documents: golden files of a small image and the rules of those who read them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn small() -> Inventory {
    let base = debian(Tar::new())
        .file(
            STATUS,
            "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2+b8\nSource: bash (5.2.15-2)\n\
             Maintainer: Matthias Klose <doko@debian.org>\nPre-Depends: libc6 (>= 2.36)\n\n\
             Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\nSource: glibc\n\
             Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>\n",
        )
        .file("usr/share/doc/bash/copyright", "Format: x\n\nFiles: *\nLicense: GPL-3+\n\nFiles: y\nLicense: BSD-4-clause-UC\n")
        .file("usr/share/doc/libc6/copyright", "Format: x\n\nLicense: LGPL-2.1+ or permissive-fsf\n")
        .scan();
    let own = Tar::new().directory("app/").file("app/server", "hello").scan();
    fold_on_base(&[base, own])
}

pub(super) fn both(inventory: &Inventory) -> (Value, Value) {
    let manifest = Digest::of(b"manifest");
    let config = Digest::of(b"config");
    let layers = [diff_id(0), diff_id(1)];
    let subject = Subject {
        repository: "registry.example.internal/acme/billing/api",
        manifest: &manifest,
        config: &config,
        version: "1.4.2",
        created: time::macros::datetime!(2026-11-20 10:30:00.5 +2),
        revision: "0123456789abcdef0123456789abcdef01234567",
        source: "https://gitlab.example.internal/acme/billing",
        architecture: "amd64",
        layers: &layers,
    };
    let documents = (spdx(inventory, &subject), cyclonedx(inventory, &subject));
    assert_eq!(documents, (spdx(inventory, &subject), cyclonedx(inventory, &subject)));
    (serde_json::from_slice(&documents.0).unwrap(), serde_json::from_slice(&documents.1).unwrap())
}

/// The program's version changes with each release and may not change golden files.
fn without_version(document: &Value) -> String {
    let text = serde_json::to_string_pretty(document).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let text = text.replace(&format!("airlock-{version}"), "airlock-[version]").replace(
        &format!("\"name\": \"airlock\",\n          \"version\": \"{version}\""),
        "\"name\": \"airlock\",\n          \"version\": \"[version]\"",
    );
    let uuid = regex::Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
    uuid.replace_all(&text, "[uuid of version 5]").into_owned()
}

#[test]
fn writes_a_small_image_as_spdx() {
    insta::assert_snapshot!(without_version(&both(&small()).0));
}

#[test]
fn writes_a_small_image_as_cyclonedx() {
    insta::assert_snapshot!(without_version(&both(&small()).1));
}

#[test]
fn gives_another_identifier_to_another_image_or_format() {
    let (manifest, other, config) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3"));
    let subject = Subject {
        repository: "acme/api",
        manifest: &manifest,
        config: &config,
        version: "1.0.0",
        created: time::OffsetDateTime::UNIX_EPOCH,
        revision: "",
        source: "",
        architecture: "amd64",
        layers: &[],
    };
    let changed = Subject { manifest: &other, ..subject };
    let ids = [subject.uuid("a"), subject.uuid("b"), changed.uuid("a")];
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(subject.uuid("a"), ids[0]);
}

fn property<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["properties"].as_array()?.iter().find(|p| p["name"] == name)?["value"].as_str()
}

#[test]
fn keeps_the_rules_by_which_gitlab_reads_a_report() {
    let (_, document) = both(&small());
    assert_eq!(document["specVersion"], "1.6");
    let metadata = &document["metadata"];
    assert_eq!(property(metadata, "gitlab:meta:schema_version"), Some("1"));
    for (name, value) in [
        ("image:name", "registry.example.internal/acme/billing/api"),
        ("image:tag", "1.4.2"),
        ("operating_system:name", "debian"),
        ("operating_system:version", "12.11"),
    ] {
        assert_eq!(property(metadata, &format!("gitlab:container_scanning:{name}")), Some(value));
    }
    let components = document["components"].as_array().unwrap();
    for library in components.iter().filter(|component| component["type"] == "library") {
        assert!(library["purl"].as_str().unwrap().parse::<packageurl::PackageUrl<'_>>().is_ok());
        assert!(property(library, "aquasecurity:trivy:SrcName").is_some());
        assert_eq!(property(library, "aquasecurity:trivy:PkgType"), Some("debian"));
    }
    assert_eq!(components.iter().filter(|c| c["type"] == "operating-system").count(), 1);
}

#[test]
fn has_no_null_no_double_reference_and_no_reference_to_nothing() {
    fn walk(value: &Value, refs: &mut Vec<String>) {
        match value {
            Value::Null => panic!("a null"),
            Value::Array(items) => items.iter().for_each(|item| walk(item, refs)),
            Value::Object(object) => {
                refs.extend(object.get("bom-ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| walk(value, refs));
            }
            _ => {}
        }
    }
    for inventory in [small(), Inventory::default()] {
        let (spdx, cyclonedx) = both(&inventory);
        walk(&spdx, &mut Vec::new());
        let mut refs = Vec::new();
        walk(&cyclonedx, &mut refs);
        let unique: BTreeSet<&String> = refs.iter().collect();
        assert_eq!(unique.len(), refs.len());
        for edge in cyclonedx["dependencies"].as_array().unwrap() {
            let ends = edge["dependsOn"].as_array().into_iter().flatten().chain([&edge["ref"]]);
            ends.for_each(|end| assert!(unique.contains(&end.as_str().unwrap().to_owned()), "{end}"));
        }
    }
}

#[test]
fn never_publishes_a_source_with_a_user_in_its_address() {
    let digest = Digest::of(b"");
    for source in ["https://user:secret@gitlab.example/x", "git@host:x", "https://a b", "https:///x"] {
        let subject = Subject {
            repository: "a",
            manifest: &digest,
            config: &digest,
            version: "1",
            created: time::OffsetDateTime::UNIX_EPOCH,
            revision: "r",
            source,
            architecture: "amd64",
            layers: &[],
        };
        let (spdx, cyclonedx) =
            (spdx(&Inventory::default(), &subject), cyclonedx(&Inventory::default(), &subject));
        for document in [spdx, cyclonedx] {
            assert!(!String::from_utf8(document).unwrap().contains(source), "{source}");
        }
    }
}
