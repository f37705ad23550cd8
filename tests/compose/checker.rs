//! What must never stand in a compiled file, judged from the file alone and without the compiler's own lists.

use serde_json::Value;

/// Everything that a compiled service may have; the values of the others are looked at below.
const SERVICE: &[&str] = &[
    "cap_add",
    "cap_drop",
    "command",
    "cpus",
    "depends_on",
    "dns",
    "dns_search",
    "domainname",
    "entrypoint",
    "environment",
    "expose",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "labels",
    "logging",
    "mem_limit",
    "memswap_limit",
    "networks",
    "pids_limit",
    "pull_policy",
    "read_only",
    "restart",
    "scale",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "tmpfs",
    "tty",
    "user",
    "volumes",
    "working_dir",
];
const TREE: &str = "/var/lib/airlock/$$7/tree/";

/// Returns what is wrong with a compiled file of this project.
pub fn forbidden(file: &Value, project: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |good: bool, what: String| {
        if !good {
            wrong.push(what);
        }
    };
    let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
    for (key, _) in map(file) {
        check(["name", "networks", "services", "volumes"].contains(&key.as_str()), format!("top {key}"));
    }
    check(file["name"] == project, "the project's name".into());
    for (name, network) in map(&file["networks"]) {
        let own = network["external"] == true && network["name"] == format!("{project}-{name}");
        check(own && map(&network).len() == 2, format!("network {network}"));
    }
    for (name, volume) in map(&file["volumes"]) {
        let own = volume["name"] == format!("{project}-{name}") && volume["labels"]["airlock.job"] == "7";
        check(own && map(&volume).len() == 2, format!("volume {volume}"));
    }
    for (name, service) in map(&file["services"]) {
        let mut check = |good: bool, what: &str| check(good, format!("{name}: {what}: {service}"));
        for key in map(&service).keys() {
            check(SERVICE.contains(&key.as_str()), key);
        }
        let image = service["image"].as_str().and_then(|image| image.strip_prefix("sha256:"));
        check(image.is_some_and(|id| id.len() == 64), "image");
        check(service["cap_drop"] == serde_json::json!(["ALL"]), "cap_drop");
        let capabilities = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];
        check(service["cap_add"] == serde_json::json!(capabilities), "cap_add");
        let profile = ["no-new-privileges:true", "seccomp:/var/lib/airlock/$$7/seccomp.json"];
        check(service["security_opt"] == serde_json::json!(profile), "security_opt");
        check(service["pull_policy"] == "never" && service["restart"] == "no", "pull or restart");
        check(service["dns"] == serde_json::json!(["192.0.2.1"]), "dns");
        check(service["logging"]["driver"] == "json-file", "logging");
        let number = |key: &str| match &service[key] {
            Value::String(text) => text.parse().unwrap_or(f64::NAN),
            value => value.as_f64().unwrap_or(f64::NAN),
        };
        check((1.0..=1_073_741_824.0).contains(&number("mem_limit")), "mem_limit");
        check(number("memswap_limit") == number("mem_limit"), "memswap_limit");
        check(number("shm_size") >= 1.0 && number("shm_size") <= number("mem_limit"), "shm_size");
        check((1.0..=512.0).contains(&number("pids_limit")), "pids_limit");
        check(number("cpus") > 0.0 && number("cpus") <= 2.0, "cpus");
        check(service.get("scale").is_none() || (1.0..=16.0).contains(&number("scale")), "scale");
        check(service["labels"]["airlock.job"] == "7", "the job's label");
        let reserved = |label: &String| label.starts_with("airlock.") || label.starts_with("com.docker.");
        let others: Vec<_> = map(&service["labels"]).into_iter().filter(|(key, _)| reserved(key)).collect();
        check(others.len() == 1, "reserved labels");
        check(service["networks"]["airlock-test"].is_object(), "the test's network");
        for (network, attached) in map(&service["networks"]) {
            check(file["networks"].get(&network).is_some(), "an unknown network");
            check(map(&attached).keys().all(|key| key == "aliases"), "an attachment");
        }
        for dependency in map(&service["depends_on"]).keys() {
            check(file["services"].get(dependency).is_some(), "a dependency");
        }
        for mount in service["volumes"].as_array().into_iter().flatten() {
            match mount["type"].as_str() {
                Some("bind") => {
                    let source = mount["source"].as_str().unwrap_or_default();
                    let inside = source.strip_prefix(TREE).is_some_and(|path| {
                        path.split('/').all(|part| !["", ".", "..", "link"].contains(&part))
                    });
                    check(inside && mount["read_only"] == true, "a bind");
                    check(mount["bind"] == serde_json::json!({"create_host_path": false}), "bind options");
                }
                Some("volume") => {
                    let declared = mount["source"].as_str().is_none_or(|v| file["volumes"].get(v).is_some());
                    check(declared && map(&mount["volume"]).keys().all(|key| key == "nocopy"), "a volume");
                }
                Some("tmpfs") => {
                    let size = mount["tmpfs"]["size"].as_u64().unwrap_or(u64::MAX);
                    check((1..=64 << 20).contains(&size), "a tmpfs");
                }
                _ => check(false, "a mount"),
            }
        }
        for memory in service["tmpfs"].as_array().into_iter().flatten() {
            let options =
                memory.as_str().and_then(|text| text.split_once(':')).map_or("", |(_, options)| options);
            let sizes: Vec<u64> =
                options.split(',').filter_map(|option| option.strip_prefix("size=")?.parse().ok()).collect();
            check(sizes.len() == 1 && (1..=64 << 20).contains(&sizes[0]), "a tmpfs");
        }
    }
    interpolated(file, &mut wrong);
    wrong
}

/// Nothing is left that Compose would replace: every `$` stands twice.
fn interpolated(value: &Value, wrong: &mut Vec<String>) {
    match value {
        Value::String(text) if text.replace("$$", "").contains('$') => wrong.push(format!("`$` in {text:?}")),
        Value::Array(items) => items.iter().for_each(|item| interpolated(item, wrong)),
        Value::Object(map) => {
            for (key, value) in map {
                if key.contains('$') {
                    wrong.push(format!("`$` in the key {key:?}"));
                }
                interpolated(value, wrong);
            }
        }
        _ => {}
    }
}
