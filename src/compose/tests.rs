//! The compiler alone, without the program that resolves a file: every key of every list, and what newer
//! Compose programs write and 2.26 does not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::failure::Failure;

fn request() -> StackRequest {
    StackRequest {
        project: "p".into(),
        images: BTreeMap::from([("api".to_owned(), Digest::of(b"api"))]),
        tree: BTreeMap::new(),
        tree_on_host: "/tree".into(),
        seccomp_on_host: "/seccomp.json".into(),
        labels: BTreeMap::new(),
        limits: ServiceLimits { memory_bytes: 1 << 30, cpu_millis: 1000, pids: 64, tmp_bytes: 1 << 20 },
        start_interval: true,
    }
}

fn refused(file: &Value) -> String {
    Failure::from(compile(file.to_string().as_bytes(), &request()).unwrap_err()).to_string()
}

/// A file with one key set at the level that a list of keys is about, and the path of that key.
fn with_key(part: &str, key: &str, value: &Value) -> (Value, String) {
    let way = match part {
        "top level" => vec![],
        "service" => vec!["services", "api"],
        "service network" => vec!["services", "api", "networks", "default"],
        "service volume" => vec!["services", "api", "volumes", "0"],
        "service config or secret" => vec!["services", "api", "secrets", "0"],
        "dependency" => vec!["services", "api", "depends_on", "db"],
        "healthcheck" => vec!["services", "api", "healthcheck"],
        "deploy" => vec!["services", "api", "deploy"],
        "network" => vec!["networks", "front"],
        "volume" => vec!["volumes", "data"],
        "config or secret" => vec!["configs", "c"],
        other => panic!("no file for the keys of `{other}`"),
    };
    let mut file = json!({key: value});
    let mut at = key.to_owned();
    for step in way.iter().rev() {
        file = if *step == "0" { json!([file]) } else { json!({*step: file}) };
        at = if *step == "0" { format!("[0].{at}") } else { format!("{step}.{at}").replace(".[", "[") };
    }
    if file.get("services").is_none() {
        file["services"] = json!({"api": {}});
    }
    if way.is_empty() {
        at = format!("compose.{at}");
    }
    (file, at)
}

/// The reason for which a file is refused at this path.
fn reason(file: &Value, at: &str) -> String {
    let refusals = compile(file.to_string().as_bytes(), &request()).expect_err(at);
    let found = refusals.all().iter().find(|refusal| refusal.at == at);
    found.unwrap_or_else(|| panic!("not refused at `{at}`: {refusals}")).to_string()
}

#[test]
fn every_refused_key_is_refused_where_it_stands() {
    let values = [json!(true), json!(7), json!("on"), json!(["a"]), json!({"a": "b"})];
    let mut reasons = Vec::new();
    for (part, list) in keys::ALL {
        for (key, _) in list.iter().filter(|(_, rule)| matches!(rule, keys::Rule::Refused(_))) {
            for value in &values {
                let (file, at) = with_key(part, key, value);
                let reason = reason(&file, &at);
                if value == "on" {
                    reasons.push(reason);
                }
            }
        }
    }
    insta::assert_snapshot!(reasons.join("\n"));
}

#[test]
fn a_key_that_no_list_knows_is_refused_at_every_level() {
    let reasons: Vec<String> = keys::ALL
        .iter()
        .map(|(part, _)| with_key(part, "tomorrow", &json!(false)))
        .map(|(file, at)| reason(&file, &at))
        .collect();
    insta::assert_snapshot!(reasons.join("\n"));
}

#[test]
fn a_mount_or_a_file_without_its_place_is_refused_and_not_left_out() {
    let service = json!({
        "volumes": [{"type": "volume"}, {"type": "bind", "target": "/a", "read_only": true}],
        "secrets": [{"target": "/a"}],
    });
    insta::assert_snapshot!(refused(&json!({"services": {"api": service}})));
}

#[test]
fn an_alias_is_another_services_name_in_any_case() {
    let service = |aliases: Value| json!({"networks": {"default": {"aliases": aliases}}});
    let mut request = request();
    request.images.insert("db".to_owned(), Digest::of(b"db"));
    let file = json!({"services": {"api": service(json!(["Api", "DB"])), "db": {}}});
    let refusals = compile(file.to_string().as_bytes(), &request).unwrap_err();
    insta::assert_snapshot!(refusals, @"`services.api.networks.default.aliases`: `DB` is the name of another service");
}

#[test]
fn a_dollar_is_written_so_that_compose_reads_it_as_it_is() {
    let service = json!({
        "command": ["echo", "$$HOME", "$HOME", "$$$$"],
        "environment": {"A": "5$$"},
        "labels": {"a": "${B}"},
        "healthcheck": {"test": ["CMD-SHELL", "test $$A"]},
    });
    let file = json!({"services": {"api": service}});
    let stack = compile(file.to_string().as_bytes(), &request()).unwrap();
    let compiled: Value = serde_json::from_slice(&stack.json).unwrap();
    let api = &compiled["services"]["api"];
    assert_eq!(api["command"], json!(["echo", "$$HOME", "$$HOME", "$$$$"]));
    assert_eq!(api["environment"]["A"], "5$$");
    assert_eq!(api["labels"]["a"], "$${B}");
    assert_eq!(api["healthcheck"]["test"][1], "test $$A");
}

#[test]
fn a_start_interval_is_left_out_for_an_engine_that_does_not_know_it() {
    let check = json!({"interval": "30s", "start_interval": "1s"});
    let file = json!({"services": {"api": {"healthcheck": check.clone()}}});
    let compiled = |start_interval| {
        let request = StackRequest { start_interval, ..request() };
        let stack = compile(file.to_string().as_bytes(), &request).unwrap();
        let compiled: Value = serde_json::from_slice(&stack.json).unwrap();
        compiled["services"]["api"]["healthcheck"].clone()
    };
    assert_eq!(compiled(true), check);
    assert_eq!(compiled(false), json!({"interval": "30s"}));
}

#[test]
fn limits_may_be_lowered_and_never_raised() {
    let limits = |service: Value| {
        let file = json!({"services": {"api": service}});
        let stack = compile(file.to_string().as_bytes(), &request()).unwrap();
        let compiled: Value = serde_json::from_slice(&stack.json).unwrap();
        let api = &compiled["services"]["api"];
        ["mem_limit", "memswap_limit", "cpus", "pids_limit", "shm_size"].map(|key| api[key].to_string())
    };
    let most = limits(json!({}));
    assert_eq!(most, ["\"1073741824\"", "\"1073741824\"", "1", "64", "\"268435456\""].map(str::to_owned));
    let more =
        json!({"mem_limit": "9g", "memswap_limit": -1, "cpus": 64, "pids_limit": -1, "shm_size": "9g"});
    assert_eq!(limits(more), most);
    let less = json!({"mem_limit": "64m", "cpus": 0.5, "deploy": {"resources": {"limits": {"pids": 9}}}});
    let lowered = ["\"67108864\"", "\"67108864\"", "0.5", "9", "\"67108864\""].map(str::to_owned);
    assert_eq!(limits(less), lowered);
}

#[test]
fn what_only_newer_compose_programs_know_is_refused() {
    let service = json!({
        "use_api_socket": true,
        "provider": {"type": "sh"},
        "pre_start": [{"image": "evil"}],
        "models": {"llm": null},
        "volumes": [{"type": "image", "source": "evil", "target": "/a", "image": {"subpath": "a"}}],
        "networks": {"default": {"interface_name": "eth9", "gw_priority": 1}},
        "env_file": [{"path": "/etc/passwd"}],
        "a key of tomorrow": 1,
    });
    insta::assert_snapshot!(refused(
        &json!({"services": {"api": service}, "models": {"llm": {"model": "m"}}})
    ));
}

#[test]
fn what_newer_compose_programs_write_without_asking_for_anything_is_compiled() {
    let service = json!({
        "command": null, "entrypoint": null, "use_api_socket": false, "privileged": false, "ports": [],
        "build": null, "networks": {"default": null}, "volumes": [],
    });
    let networks =
        json!({"default": {"name": "p_default", "ipam": {}, "external": false, "enable_ipv4": true}});
    let file = json!({"name": "p", "services": {"api": service}, "networks": networks});
    let stack = compile(file.to_string().as_bytes(), &request()).unwrap();
    assert!(stack.networks.contains("p-airlock-test") && stack.networks.contains("p-default"));
}

#[test]
fn a_list_that_is_too_long_is_refused_and_not_cut() {
    let many: BTreeMap<String, &str> = (0..1025).map(|i| (format!("l{i}"), "")).collect();
    let mounts = vec![json!({"type": "volume", "target": "/a"}); 65];
    insta::assert_snapshot!(refused(&json!({"services": {"api": {"labels": many, "volumes": mounts}}})));
}

#[test]
fn what_is_no_compose_file_is_refused() {
    let too_large = vec![b' '; usize::try_from(MAX_CONFIG_BYTES).unwrap() + 1];
    let broken: [&[u8]; 5] = [b"", b"[]", b"{\"services\": \"\xff\"}", b"{\"services\": []}", &too_large];
    let texts: Vec<String> = broken
        .iter()
        .map(|bytes| Failure::from(compile(bytes, &request()).unwrap_err()).to_string())
        .collect();
    insta::assert_snapshot!(texts.join("\n\n"));
}
