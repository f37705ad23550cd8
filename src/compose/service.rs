//! One service: its keys mapped to what a closed stack may have, and Airlock's own limits beside them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::mounts::{Declared, FileKind, files, tmpfs, volumes};
use super::refusal::Refusing;
use super::values::{
    bytes, found, is_name, is_nothing, known, mapping, text, texts, thousandths, whole, written,
    written_list, written_map,
};
use super::{CompiledService, DependencyCondition, StackRequest, TEST_NETWORK, keys};
use crate::domain::digest::Digest;
use crate::domain::sandbox::SILENT_RESOLVER;

/// Capabilities that usual images need to start as root and become somebody else; all others are dropped.
pub const CAPABILITIES: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];
/// Most containers of one service.
const MAX_REPLICAS: u64 = 16;
/// Most bytes of shared memory.
const MAX_SHM: u64 = 256 * 1024 * 1024;
/// Label by which a service says that it is done when it has exited with 0.
pub const ONE_SHOT_LABEL: &str = "airlock.one-shot";

/// A compiled service: its part of the file, and what the wait for readiness needs.
pub(super) struct Service {
    pub(super) json: Value,
    pub(super) compiled: CompiledService,
    /// Networks of the file that it is on.
    pub(super) networks: Vec<String>,
}

/// Compiles a service whose image is known.
pub(super) fn compile(
    name: &str,
    value: &Value,
    image: &Digest,
    declared: &Declared<'_>,
    refusing: &mut Refusing,
) -> Service {
    let request = declared.request;
    let at = format!("services.{name}");
    let read = known(&at, value, keys::SERVICE, refusing);
    let place = |key: &str| format!("{at}.{key}");
    let mut out = Map::new();

    for key in ["command", "entrypoint"] {
        if let Some(value) = read.get(key) {
            out.insert(key.into(), written_list(texts(&place(key), value, refusing)));
        }
    }
    for key in ["domainname", "hostname", "stop_grace_period", "stop_signal", "user", "working_dir"] {
        if let Some(value) = read.get(key).and_then(|value| text(&place(key), value, refusing)) {
            // A host's name can be looked up like a service's: it must not be another's.
            let taken = |other: &String| other != name && other.eq_ignore_ascii_case(&value);
            if key == "hostname" && request.images.keys().any(taken) {
                refusing.refuse(place(key), format!("`{value}` is the name of another service"));
            }
            out.insert(key.into(), written(&value));
        }
    }
    for key in ["init", "read_only", "stdin_open", "tty"] {
        match read.get(key) {
            Some(Value::Bool(truth)) => drop(out.insert(key.into(), json!(truth))),
            Some(_) => refusing.refuse(place(key), "expected true or false"),
            None => {}
        }
    }
    if let Some(value) = read.get("environment") {
        out.insert("environment".into(), written_map(&environment(&place("environment"), value, refusing)));
    }
    if let Some(value) = read.get("expose") {
        out.insert("expose".into(), written_list(texts(&place("expose"), value, refusing)));
    }
    let mut has_health_check = false;
    if let Some(value) = read.get("healthcheck") {
        let (check, there) = health_check(&place("healthcheck"), value, request, refusing);
        has_health_check = there;
        out.insert("healthcheck".into(), check);
    }
    let depends_on = read
        .get("depends_on")
        .map_or_else(BTreeMap::new, |value| dependencies(&place("depends_on"), value, refusing));
    if !depends_on.is_empty() {
        let conditions = depends_on.iter().map(|(name, condition)| {
            (name.clone(), json!({"condition": condition.as_str(), "required": true}))
        });
        out.insert("depends_on".into(), Value::Object(conditions.collect()));
    }

    let own_labels =
        read.get("labels").map_or_else(BTreeMap::new, |value| labels(&place("labels"), value, refusing));
    let one_shot = match own_labels.get(ONE_SHOT_LABEL).map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let expected = format!("found `{other}`, expected \"true\" or \"false\"");
            refusing.refuse(format!("{}.{ONE_SHOT_LABEL}", place("labels")), expected);
            false
        }
    };
    let mut all_labels: BTreeMap<String, String> =
        own_labels.into_iter().filter(|(key, _)| key != ONE_SHOT_LABEL).collect();
    all_labels.extend(request.labels.clone());
    out.insert("labels".into(), written_map(&all_labels));

    let mut mounts = Vec::new();
    if let Some(value) = read.get("volumes") {
        mounts.extend(volumes(&place("volumes"), value, declared, refusing));
    }
    for (key, kind) in [("configs", FileKind::Config), ("secrets", FileKind::Secret)] {
        if let Some(value) = read.get(key) {
            mounts.extend(files(&place(key), value, kind, declared, refusing));
        }
    }
    if !mounts.is_empty() {
        out.insert("volumes".into(), Value::Array(mounts));
    }
    if let Some(value) = read.get("tmpfs") {
        out.insert("tmpfs".into(), Value::Array(tmpfs(&place("tmpfs"), value, declared, refusing)));
    }

    let networks = networks(name, &at, read.get("networks").copied(), request, &mut out, refusing);
    let deploy = read
        .get("deploy")
        .map_or_else(BTreeMap::new, |value| known(&place("deploy"), value, keys::DEPLOY, refusing));
    let replicas = replicas(&at, &read, &deploy, refusing);
    if replicas != 1 {
        out.insert("scale".into(), json!(replicas));
    }
    limits(&read, &deploy, request, &mut out);
    if let Some(driver) = read.get("logging").and_then(|logging| logging.get("driver"))
        && !driver.as_str().is_some_and(|driver| ["", "json-file", "local", "none"].contains(&driver))
    {
        let found = found(driver);
        refusing.refuse(
            place("logging.driver"),
            format!("found {found}; it would send the log away from the stack, where the test's artifacts are read from: expected `json-file`, or no `logging`"),
        );
    }
    fixed(image, request, &mut out);

    let compiled = CompiledService {
        image: image.clone(),
        has_health_check,
        runs_to_completion: one_shot,
        depends_on,
        replicas: u32::try_from(replicas).unwrap_or(1),
    };
    Service { json: Value::Object(out), compiled, networks }
}

/// What every service gets, whatever the file says.
fn fixed(image: &Digest, request: &StackRequest, out: &mut Map<String, Value>) {
    let profile = request.seccomp_on_host.display().to_string();
    for (key, value) in [
        ("image", json!(image.as_str())),
        ("pull_policy", json!("never")),
        ("restart", json!("no")),
        ("cap_drop", json!(["ALL"])),
        ("cap_add", json!(CAPABILITIES)),
        (
            "security_opt",
            json!(["no-new-privileges:true", format!("seccomp:{}", profile.replace('$', "$$"))]),
        ),
        ("dns", json!([SILENT_RESOLVER])),
        ("dns_search", json!(["."])),
        ("logging", json!({"driver": "json-file", "options": {"max-size": "8m", "max-file": "2"}})),
    ] {
        out.insert(key.into(), value);
    }
}

/// A file may ask for less than the host gives, never for more.
fn limits(
    read: &BTreeMap<&str, &Value>,
    deploy: &BTreeMap<&str, &Value>,
    request: &StackRequest,
    out: &mut Map<String, Value>,
) {
    let of_deploy =
        |key: &str| deploy.get("resources").and_then(|resources| resources.get("limits")?.get(key));
    let asked = |own: &str, deployed: &str| read.get(own).copied().or_else(|| of_deploy(deployed));
    let least = |asked: Option<u64>, limit: u64| asked.filter(|asked| *asked > 0).unwrap_or(limit).min(limit);
    let memory = least(asked("mem_limit", "memory").and_then(bytes), request.limits.memory_bytes);
    let cpus = least(asked("cpus", "cpus").and_then(thousandths), request.limits.cpu_millis);
    let pids = least(asked("pids_limit", "pids").and_then(whole), request.limits.pids.into());
    let shm = least(read.get("shm_size").copied().and_then(bytes), MAX_SHM.min(memory));
    out.insert("mem_limit".into(), json!(memory.to_string()));
    out.insert("memswap_limit".into(), json!(memory.to_string()));
    out.insert("cpus".into(), json!(cpus as f64 / 1000.0));
    out.insert("pids_limit".into(), json!(pids));
    out.insert("shm_size".into(), json!(shm.to_string()));
}

fn environment(at: &str, value: &Value, refusing: &mut Refusing) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in mapping(at, value, refusing) {
        let good = !name.is_empty()
            && name.len() <= 256
            && !name.contains(['=', '$', '\0'])
            && !name.chars().any(char::is_control);
        if !good {
            refusing.refuse(format!("{at}.{name}"), "this is no name of a variable");
        } else if value.is_null() {
            refusing.refuse(
                format!("{at}.{name}"),
                "without a value it would be taken from the runner's environment; write a value",
            );
        } else if let Some(value) = text(&format!("{at}.{name}"), value, refusing) {
            variables.insert(name.clone(), value);
        }
    }
    variables
}

fn labels(at: &str, value: &Value, refusing: &mut Refusing) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, value) in mapping(at, value, refusing) {
        let reserved = ["airlock.", "com.docker."].iter().any(|prefix| name.starts_with(prefix));
        if reserved && name != ONE_SHOT_LABEL {
            refusing
                .refuse(format!("{at}.{name}"), "labels of Airlock and of Docker are not the file's to set");
        } else if name.contains('$') || name.chars().any(char::is_control) || name.len() > 256 {
            refusing.refuse(format!("{at}.{name}"), "this is no name of a label");
        } else if let Some(value) = text(&format!("{at}.{name}"), value, refusing) {
            labels.insert(name.clone(), value);
        }
    }
    labels
}

fn health_check(at: &str, value: &Value, request: &StackRequest, refusing: &mut Refusing) -> (Value, bool) {
    let read = known(at, value, keys::HEALTHCHECK, refusing);
    if read.get("disable").is_some_and(|value| value.as_bool() == Some(true)) {
        return (json!({"disable": true}), false);
    }
    let mut check = Map::new();
    let mut there = false;
    if let Some(test) = read.get("test") {
        let test = texts(&format!("{at}.test"), test, refusing);
        there = !test.is_empty() && test.first().is_none_or(|first| first != "NONE");
        check.insert("test".into(), written_list(test));
    }
    for key in ["interval", "timeout", "start_period", "start_interval"] {
        let value = read.get(key).and_then(|value| text(&format!("{at}.{key}"), value, refusing));
        if let Some(value) = value.filter(|_| key != "start_interval" || request.start_interval) {
            check.insert(key.into(), written(&value));
        }
    }
    if let Some(retries) = read.get("retries") {
        match whole(retries) {
            Some(retries) if retries <= 10_000 => drop(check.insert("retries".into(), json!(retries))),
            _ => refusing.refuse(format!("{at}.retries"), "expected a number up to 10000"),
        }
    }
    (Value::Object(check), there)
}

fn dependencies(at: &str, value: &Value, refusing: &mut Refusing) -> BTreeMap<String, DependencyCondition> {
    let mut dependencies = BTreeMap::new();
    for (name, options) in mapping(at, value, refusing) {
        let read = known(&format!("{at}.{name}"), options, keys::DEPENDENCY, refusing);
        let condition = match read.get("condition").map(|condition| condition.as_str().unwrap_or_default()) {
            Some("service_started") | None => DependencyCondition::Started,
            Some("service_healthy") => DependencyCondition::Healthy,
            Some("service_completed_successfully") => DependencyCondition::CompletedSuccessfully,
            Some(other) => {
                refusing.refuse(format!("{at}.{name}"), format!("`{other}` is no condition of Compose's"));
                continue;
            }
        };
        dependencies.insert(name.clone(), condition);
    }
    dependencies
}

/// Puts the service on its networks and on the test's; returns the names of the former.
fn networks(
    service: &str,
    at: &str,
    value: Option<&Value>,
    request: &StackRequest,
    out: &mut Map<String, Value>,
    refusing: &mut Refusing,
) -> Vec<String> {
    let at = format!("{at}.networks");
    let mut names = Vec::new();
    let mut attached = Map::new();
    match value {
        Some(value @ Value::Object(_)) => {
            for (name, options) in mapping(&at, value, refusing) {
                let read = known(&format!("{at}.{name}"), options, keys::ATTACHMENT, refusing);
                let mut entry = Map::new();
                if let Some(aliases) = read.get("aliases") {
                    let aliases = texts(&format!("{at}.{name}.aliases"), aliases, refusing);
                    if let Some(bad) = aliases.iter().find(|alias| !is_name(alias)) {
                        refusing.refuse(format!("{at}.{name}.aliases"), format!("`{bad}` is no name"));
                    }
                    // What another service is called on the test's network stays its own; the engine's
                    // name server knows no difference between cases.
                    let taken = |alias: &&String| {
                        let mut others = request.images.keys().filter(|name| *name != service);
                        others.any(|name| name.eq_ignore_ascii_case(alias))
                    };
                    if let Some(taken) = aliases.iter().find(taken) {
                        refusing.refuse(
                            format!("{at}.{name}.aliases"),
                            format!("`{taken}` is the name of another service"),
                        );
                    }
                    entry.insert("aliases".into(), written_list(aliases));
                }
                attached.insert(name.clone(), Value::Object(entry));
                names.push(name.clone());
            }
        }
        None => {
            attached.insert("default".into(), json!({}));
            names.push("default".into());
        }
        Some(value) if is_nothing(value) => {}
        Some(_) => refusing.refuse(&at, "expected a mapping"),
    }
    if names.iter().any(|name| name == TEST_NETWORK) {
        refusing.refuse(
            &at,
            format!("`{TEST_NETWORK}` is Airlock's own network; every service is on it already"),
        );
    }
    attached.insert(TEST_NETWORK.into(), json!({"aliases": [service]}));
    out.insert("networks".into(), Value::Object(attached));
    names
}

fn replicas(
    at: &str,
    read: &BTreeMap<&str, &Value>,
    deploy: &BTreeMap<&str, &Value>,
    refusing: &mut Refusing,
) -> u64 {
    if let Some(mode) = deploy.get("mode").and_then(|mode| mode.as_str()).filter(|mode| *mode != "replicated")
    {
        refusing
            .refuse(format!("{at}.deploy.mode"), format!("`{mode}` needs a swarm: expected `replicated`"));
    }
    let resources = deploy.get("resources").and_then(|resources| resources.as_object());
    for (key, value) in resources.into_iter().flatten() {
        let more = value.as_object().is_none_or(|map| {
            map.iter()
                .any(|(key, value)| !["cpus", "memory", "pids"].contains(&key.as_str()) && !is_nothing(value))
        });
        if !["limits", "reservations"].contains(&key.as_str()) || more {
            refusing.refuse(
                format!("{at}.deploy.resources.{key}"),
                "of resources only `cpus`, `memory` and `pids` may be named",
            );
        }
    }
    let asked = read.get("scale").or_else(|| deploy.get("replicas")).copied();
    match asked.map(whole) {
        None => 1,
        Some(Some(number)) if (1..=MAX_REPLICAS).contains(&number) => number,
        Some(_) => {
            refusing.refuse(format!("{at}.scale"), format!("expected 1 to {MAX_REPLICAS} containers"));
            1
        }
    }
}
