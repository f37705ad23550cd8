//! Tests of the provenance predicate, and the provenance that other modules' tests start from.

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::domain::digest::Digest;
use crate::domain::evidence::{EvidenceKind, statement};

/// Returns provenance of `acme/billing` as a GitLab job makes it.
pub(crate) fn sample() -> Provenance {
    let image = |name: &str| -> PinnedImage {
        format!("registry.example:5000/base/{name}@{}", Digest::of(name.as_bytes())).parse().unwrap()
    };
    Provenance {
        source: "https://gitlab.example/acme/billing".into(),
        reference: "refs/heads/staging".into(),
        entry_point: "stage-unit-test".into(),
        script: vec!["make stage-unit-test".into()],
        image: Some(image("python")),
        project: Project { id: 17, path: "acme/billing".into() },
        origin: Origin::GitLab { pipeline: 501, job: 9001, runner: 4 },
        architecture: "amd64".into(),
        versions: BTreeMap::from([("airlock".into(), "0.1.0".into())]),
        hermetic: Hermetic {
            level: 1,
            checks: vec![
                HermeticCheck { name: "no route".into(), result: CheckResult::Held },
                HermeticCheck { name: "no vsock".into(), result: CheckResult::NotMeasured },
            ],
        },
        commit: Commit { id: "1a2b3c4d5e".repeat(4), tree: Some("ab".repeat(20)) },
        base_images: vec![image("debian")],
        other_dependencies: vec![],
        builder_id: "https://airlock.example/builder/gitlab/v1".into(),
        invocation_id: "https://gitlab.example/acme/billing/-/jobs/9001".into(),
        started_on: datetime!(2026-11-22 10:15:00 UTC),
        finished_on: datetime!(2026-11-22 10:17:30 UTC),
        byproducts: vec![Resource {
            name: Some("config".into()),
            uri: None,
            digest: BTreeMap::from([("sha256".into(), Digest::of(b"config").hex().into())]),
            media_type: None,
        }],
    }
}

fn payload(predicate: &[u8]) -> Vec<u8> {
    statement::compose(EvidenceKind::Provenance, "r/a", &Digest::of(b"image"), predicate).unwrap()
}

#[test]
fn the_predicate_is_slsas() {
    let value: serde_json::Value = serde_json::from_slice(&sample().to_predicate()).unwrap();
    insta::assert_json_snapshot!(value);
}

#[test]
fn what_is_written_is_read_back_and_unknown_fields_are_read_over() {
    assert_eq!(Provenance::parse(&payload(&sample().to_predicate())).unwrap(), sample());
    let local = Provenance { origin: Origin::Local, image: None, ..sample() };
    assert_eq!(Provenance::parse(&payload(&local.to_predicate())).unwrap(), local);
    let mut value: serde_json::Value = serde_json::from_slice(&sample().to_predicate()).unwrap();
    value["buildDefinition"]["externalParameters"]["variables"] = serde_json::json!({"A": "b"});
    value["runDetails"]["later"] = serde_json::json!(1);
    assert_eq!(Provenance::parse(&payload(value.to_string().as_bytes())).unwrap(), sample());
}

#[test]
fn refuses_what_is_strange_in_what_it_reads() {
    let refusals: Vec<String> = [
        ("/buildDefinition/buildType", serde_json::json!("urn:other")),
        ("/buildDefinition/resolvedDependencies", serde_json::json!([])),
        ("/buildDefinition/resolvedDependencies/0/digest/gitCommit", serde_json::json!("HEAD")),
        ("/buildDefinition/resolvedDependencies/0/digest/gitTree", serde_json::json!("")),
        ("/buildDefinition/resolvedDependencies/1/digest/sha256", serde_json::json!("00")),
        ("/buildDefinition/internalParameters/hermetic/level", serde_json::json!(5)),
        ("/buildDefinition/internalParameters/hermetic/level", serde_json::json!("4")),
        ("/buildDefinition/internalParameters/mode", serde_json::json!("local")),
        ("/buildDefinition/internalParameters/mode", serde_json::json!("other")),
        ("/buildDefinition/internalParameters/project/path", serde_json::json!("acme\u{1b}[2J")),
        ("/buildDefinition/externalParameters/script", serde_json::json!(vec!["x"; 5000])),
        ("/buildDefinition/externalParameters/image", serde_json::json!("python:latest")),
        ("/runDetails/metadata/startedOn", serde_json::json!("yesterday")),
        ("/runDetails/metadata/startedOn", serde_json::json!("9999-12-31T23:59:59-01:00")),
    ]
    .into_iter()
    .map(|(pointer, value)| {
        let mut predicate: serde_json::Value = serde_json::from_slice(&sample().to_predicate()).unwrap();
        *predicate.pointer_mut(pointer).unwrap() = value;
        Provenance::parse(&payload(predicate.to_string().as_bytes())).unwrap_err().to_string()
    })
    .collect();
    insta::assert_debug_snapshot!(refusals);
}

#[test]
fn a_project_covers_its_own_repositories_alone() {
    let covers = |repository| sample().project_covers(repository);
    assert!(covers("acme/billing") && covers("acme/billing/api"));
    assert!(
        !covers("acme/billing2") && !covers("acme") && !covers("x/acme/billing") && !covers("acme/Billing")
    );
    let nobody = Provenance { project: Project { id: 1, path: String::new() }, ..sample() };
    assert!(!nobody.project_covers("/a") && !nobody.project_covers("acme"));
}

proptest! {
    #[test]
    fn any_predicate_is_provenance_or_an_error(pointer in 1_usize..40, text in "\\PC{0,40}", number in any::<i64>()) {
        let mut value: serde_json::Value = serde_json::from_slice(&sample().to_predicate()).unwrap();
        let replaced = if number % 2 == 0 { serde_json::json!(text) } else { serde_json::json!(number) };
        replace_nth(&mut value, &mut pointer.clone(), &replaced);
        if let Ok(read) = Provenance::parse(&payload(value.to_string().as_bytes())) {
            prop_assert_eq!(Provenance::parse(&payload(&read.to_predicate())).unwrap().commit, read.commit);
        }
    }

    #[test]
    fn any_bytes_are_provenance_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Provenance::parse(&bytes);
    }
}

fn replace_nth(value: &mut serde_json::Value, n: &mut usize, with: &serde_json::Value) {
    if *n == 0 {
        *value = with.clone();
    }
    *n = n.wrapping_sub(1);
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| replace_nth(item, n, with)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|item| replace_nth(item, n, with)),
        _ => {}
    }
}
