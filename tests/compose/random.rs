//! Made-up input: nothing panics, and nothing forbidden is ever in what was compiled.

use std::collections::BTreeMap;

use airlock::compose::keys::ALL;
use airlock::compose::{TreePath, compile};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Map, Value, json};

use super::bench::request;
use super::checker::forbidden;

fn tree() -> BTreeMap<String, TreePath> {
    BTreeMap::from([
        ("conf".to_owned(), TreePath::Directory),
        ("conf/app.toml".to_owned(), TreePath::File),
        ("link".to_owned(), TreePath::Link),
    ])
}

/// Values that mean something somewhere, so that made-up files get far.
fn words() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!("/builds/hub/conf"),
        json!("/builds/hub/conf/app.toml"),
        json!("/builds/hub/link/a"),
        json!("/builds/hub/../etc"),
        json!("/etc"),
        json!("/data"),
        json!("bind"),
        json!("volume"),
        json!("tmpfs"),
        json!("host"),
        json!("${A}"),
        json!("$$$A"),
        json!("api"),
        json!("db"),
        json!("c"),
        json!("airlock-test"),
        json!("default"),
        json!("json-file"),
        json!("service_healthy"),
        json!("8m"),
        json!("/t:size=99g,mode=777"),
        json!(true),
        json!(false),
        json!(null),
        json!(0),
        json!(7),
        json!(1e300),
        json!(-1),
        json!("-1"),
        json!([]),
        json!({}),
    ])
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![4 => words(), 1 => any::<String>().prop_map(Value::from)];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key(), inner, 0..5).prop_map(object),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let known: Vec<String> = ALL
        .iter()
        .flat_map(|(_, keys)| keys.iter().map(|(key, _)| (*key).to_owned()))
        .chain(["api", "db", "c", "default", "A", "airlock.x", "com.docker.x"].map(str::to_owned))
        .collect();
    prop_oneof![20 => prop::sample::select(known), 1 => any::<String>()]
}

fn object(entries: BTreeMap<String, Value>) -> Value {
    Value::Object(entries.into_iter().collect())
}

/// A service with a few keys that a compiler could let through.
fn service() -> impl Strategy<Value = Value> {
    let kept: Vec<&str> = ALL
        .iter()
        .filter(|(part, _)| *part == "service")
        .flat_map(|(_, keys)| keys.iter())
        .filter(|(_, rule)| !matches!(rule, airlock::compose::keys::Rule::Refused(_)))
        .map(|(key, _)| *key)
        .collect();
    let mount = (words(), words(), any::<bool>(), words()).prop_map(
        |(kind, source, read_only, target)| json!({"type": kind, "source": source, "read_only": read_only, "target": target}),
    );
    let texts = prop::collection::btree_map("[A-Za-z.$]{1,12}", any::<String>(), 0..4)
        .prop_map(|map| object(map.into_iter().map(|(key, text)| (key, Value::from(text))).collect()));
    prop_oneof![
        (prop::sample::select(kept), value()).prop_map(|(key, value)| json!({key: value})),
        prop::collection::vec(mount, 0..3).prop_map(|mounts| json!({"volumes": mounts})),
        (texts.clone(), texts)
            .prop_map(|(environment, labels)| json!({"environment": environment, "labels": labels})),
        prop::collection::vec(any::<String>(), 0..4)
            .prop_map(|words| json!({"command": words, "tmpfs": ["/t"]})),
        words().prop_map(
            |limit| json!({"mem_limit": limit, "cpus": limit, "pids_limit": limit, "shm_size": limit})
        ),
    ]
}

fn judged(config: &[u8]) -> bool {
    let Ok(stack) = compile(config, &request(config, tree(), &[])) else { return false };
    let file = serde_json::from_slice(&stack.json).unwrap();
    let wrong = forbidden(&file, "airlock-7");
    assert!(wrong.is_empty(), "{wrong:?}");
    // What was compiled once is canonical: no other spelling of it has another digest.
    assert_eq!(serde_json_canonicalizer::to_vec(&file).unwrap(), stack.json);
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_compiled_or_refused(bytes: Vec<u8>) {
        judged(&bytes);
    }

    #[test]
    fn any_json_is_compiled_or_refused(value in value()) {
        judged(value.to_string().as_bytes());
    }

    #[test]
    fn what_is_compiled_is_closed(api in service(), db in service(), volumes in value()) {
        let file = json!({"services": {"api": api, "db": db}, "volumes": volumes, "networks": {"c": null}});
        judged(file.to_string().as_bytes());
    }
}

#[test]
fn made_up_services_do_reach_the_compiled_file() {
    // A property over refusals alone would prove nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let compiled = (0..200)
        .filter(|_| {
            let api = service().new_tree(&mut runner).unwrap().current();
            let services = Map::from_iter([("api".to_owned(), api)]);
            judged(json!({"services": services, "volumes": {"api": null}}).to_string().as_bytes())
        })
        .count();
    assert!(compiled > 40, "only {compiled} of 200 were compiled");
}
