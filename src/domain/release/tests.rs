//! Tests of the release document.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A release of two components and a sidecar.
pub(crate) fn sample() -> Release {
    let image = |repository: &str| ReleaseImage {
        repository: repository.parse().unwrap(),
        platform: "linux/amd64".into(),
        manifest: Digest::of(repository.as_bytes()),
        config: Digest::of(b"config"),
        evidence: ReleaseEvidence {
            spdx: Digest::of(b"spdx"),
            cyclonedx: Digest::of(b"cyclonedx"),
            provenance: Digest::of(b"provenance"),
            test_result: Digest::of(b"test-result"),
        },
    };
    let component = |name: &str, images: Vec<ReleaseImage>| ReleaseComponent {
        name: name.into(),
        version: "1.4.0-20261122101500.g1a2b3c4d5e6f".into(),
        origin: ComponentOrigin::Staged,
        source: ReleaseSource {
            project_id: 17,
            project: format!("acme/{name}"),
            commit: "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b".into(),
        },
        images,
    };
    Release {
        schema_version: 1,
        platform: "acme".into(),
        version: "2.3.0-r1".into(),
        sequence: 1,
        previous: None,
        created_at: "2026-11-22T10:15:00Z".into(),
        expires_at: "2027-11-22T10:15:00Z".into(),
        hub: ReleaseHub {
            project_id: 9,
            project: "acme/hub".into(),
            commit: "2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c".into(),
            pipeline_id: 501,
            job_id: 9001,
            compose: Digest::of(b"compose"),
        },
        components: vec![
            component("billing", vec![image("billing/api"), image("billing/worker")]),
            component("ledger", vec![image("ledger")]),
        ],
        sidecars: vec![ReleaseSidecar {
            name: "postgres".into(),
            repository: "base/postgres".parse().unwrap(),
            manifest: Digest::of(b"postgres"),
            config: Digest::of(b"postgres config"),
        }],
        inputs: ReleaseInputs { change_set: vec![], overrides: vec![], user_id: Some(5) },
    }
}

#[test]
fn the_document_is_the_formats_and_is_read_back() {
    let bytes = sample().to_canonical_json();
    insta::assert_snapshot!(String::from_utf8(bytes.clone()).unwrap());
    assert_eq!(Release::parse(&bytes).unwrap(), sample());
}

#[test]
fn what_is_no_release_of_ours_is_refused_with_the_reason() {
    let changes: [(&str, fn(&mut Value)); 17] = [
        ("an unknown key", |v| v["extra"] = json!(1)),
        ("an unknown key inside", |v| v["hub"]["extra"] = json!(1)),
        ("another schema", |v| v["schemaVersion"] = json!(2)),
        ("a platform that is a path", |v| v["platform"] = json!("../acme")),
        ("no sequence", |v| v["sequence"] = json!(0)),
        ("a fraction", |v| v["sequence"] = json!(1.5)),
        ("a first release with one", |v| v["previous"] = json!(Digest::of(b"x").to_string())),
        ("a version of another sequence", |v| v["version"] = json!("2.3.0-r2")),
        ("a version that is no tag", |v| v["version"] = json!("a b-r1")),
        ("a local time", |v| v["createdAt"] = json!("2026-11-22T10:15:00+01:00")),
        ("a fraction of a second", |v| v["createdAt"] = json!("2026-11-22T10:15:00.5Z")),
        ("over before it began", |v| v["expiresAt"] = json!("2026-11-22T10:14:59Z")),
        ("no component", |v| v["components"] = json!([])),
        ("components out of order", |v| v["components"].as_array_mut().unwrap().reverse()),
        ("a component twice", |v| v["components"][1] = v["components"][0].clone()),
        ("an image of two components", |v| {
            v["components"][1]["images"] = v["components"][0]["images"].clone()
        }),
        ("a digest that is none", |v| v["components"][0]["images"][0]["manifest"] = json!("sha256:1")),
    ];
    let mut told = String::new();
    for (name, change) in changes {
        let mut value = serde_json::to_value(sample()).unwrap();
        change(&mut value);
        let bytes = serde_json_canonicalizer::to_vec(&value).unwrap();
        told.push_str(&format!("{name}: {}\n", Release::parse(&bytes).expect_err(name)));
    }
    let mut bytes = sample().to_canonical_json();
    bytes.push(b'\n');
    told.push_str(&format!("a newline more: {}\n", Release::parse(&bytes).unwrap_err()));
    let pretty = serde_json::to_vec_pretty(&sample()).unwrap();
    told.push_str(&format!("pretty: {}\n", Release::parse(&pretty).unwrap_err()));
    let large = vec![b' '; MAX_RELEASE_BYTES as usize + 1];
    told.push_str(&format!("too large: {}\n", Release::parse(&large).unwrap_err()));
    insta::assert_snapshot!(told);
}

proptest! {
    #[test]
    fn any_bytes_are_a_release_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Release::parse(&bytes);
    }

    #[test]
    fn what_is_written_is_read_back(sequence in 2u64..1 << 53, name in "[a-z]{1,8}(-[a-z0-9]{1,4})?", user in any::<Option<u32>>()) {
        let mut release = sample();
        release.sequence = sequence;
        release.previous = Some(Digest::of(b"previous"));
        release.version = format!("1.0.0-rc.1-r{sequence}");
        release.platform = name;
        release.inputs.user_id = user.map(u64::from);
        prop_assert_eq!(Release::parse(&release.to_canonical_json()).unwrap(), release);
    }
}
