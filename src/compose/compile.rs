//! The whole file: services, and the networks and volumes that they use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::mounts::{Declared, tree_path};
use super::refusal::Refusing;
use super::values::{entries, is_nothing, known, text, written};
use super::{
    CompiledStack, ComposeRefusals, DependencyCondition, MAX_CONFIG_BYTES, StackRequest, TEST_NETWORK, keys,
    order, service,
};

/// Compiles what `docker compose config --format json` wrote.
///
/// # Errors
/// Everything that the file asks for and a closed stack may not have, all at once.
pub fn compile(config: &[u8], request: &StackRequest) -> Result<CompiledStack, ComposeRefusals> {
    let mut refusing = Refusing::default();
    let file = match parse(config) {
        Ok(file) => file,
        Err(why) => {
            refusing.refuse("compose", why);
            return refusing.finish(empty(request));
        }
    };
    let read = known("compose", &file, keys::TOP, &mut refusing);
    let get = |key: &str| read.get(key).copied();
    let network_names = networks(get("networks"), &mut refusing);
    let volume_names = volumes(get("volumes"), &mut refusing);
    let declared = Declared {
        request,
        volumes: volume_names,
        configs: files("configs", get("configs"), request, &mut refusing),
        secrets: files("secrets", get("secrets"), request, &mut refusing),
    };

    let mut services = Map::new();
    let mut compiled = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (name, value) in entries("services", get("services"), &mut refusing) {
        let Some(image) = request.images.get(name) else {
            refusing.refuse(
                format!("services.{name}"),
                "`airlock-hub.toml` knows no image for it: name it in the `services` of a component, or as a sidecar",
            );
            continue;
        };
        let one = service::compile(name, value, image, &declared, &mut refusing);
        for network in &one.networks {
            if !network_names.contains(&network.as_str()) && network != "default" {
                refusing.refuse(
                    format!("services.{name}.networks"),
                    format!("there is no network `{network}` at the top of the file"),
                );
            }
        }
        used.extend(one.networks);
        services.insert(name.to_owned(), one.json);
        compiled.insert(name.to_owned(), one.compiled);
    }
    for name in request.images.keys().filter(|name| !compiled.contains_key(*name)) {
        refusing.refuse(
            format!("services.{name}"),
            "`airlock-hub.toml` names this service, and the Compose file has none of that name",
        );
    }
    order::check(&compiled, &mut refusing);
    // A service that somebody waits for to complete is done when it has.
    let completed: BTreeSet<String> = compiled
        .values()
        .flat_map(|service| &service.depends_on)
        .filter(|(_, condition)| **condition == DependencyCondition::CompletedSuccessfully)
        .map(|(name, _)| name.clone())
        .collect();
    for name in completed {
        if let Some(service) = compiled.get_mut(&name) {
            service.runs_to_completion = true;
        }
    }

    used.insert(TEST_NETWORK.to_owned());
    let in_engine = |name: &str| format!("{}-{name}", request.project);
    let networks: Map<String, Value> =
        used.iter().map(|name| (name.clone(), json!({"external": true, "name": in_engine(name)}))).collect();
    let labels: Map<String, Value> =
        request.labels.iter().map(|(key, value)| (key.clone(), written(value))).collect();
    let volumes: Map<String, Value> = declared
        .volumes
        .iter()
        .map(|name| ((*name).to_owned(), json!({"name": in_engine(name), "labels": labels})))
        .collect();
    let file = json!({
        "name": request.project,
        "services": services,
        "networks": networks,
        "volumes": volumes,
    });
    let stack = CompiledStack {
        json: serde_json_canonicalizer::to_vec(&file).unwrap_or_default(),
        project: request.project.clone(),
        services: compiled,
        networks: used.iter().map(|name| in_engine(name)).collect(),
    };
    if stack.json.is_empty() {
        refusing.refuse("compose", "it holds numbers that canonical JSON cannot write");
    }
    refusing.finish(stack)
}

fn parse(config: &[u8]) -> Result<Value, String> {
    if config.len() as u64 > MAX_CONFIG_BYTES {
        return Err(format!("it has more than {MAX_CONFIG_BYTES} bytes when it is resolved"));
    }
    let file: Value = serde_json::from_slice(config).map_err(|e| format!("it is not JSON: {e}"))?;
    if file.is_object() { Ok(file) } else { Err("it is not a mapping".to_owned()) }
}

fn empty(request: &StackRequest) -> CompiledStack {
    CompiledStack {
        json: Vec::new(),
        project: request.project.clone(),
        services: BTreeMap::new(),
        networks: BTreeSet::new(),
    }
}

fn networks<'a>(value: Option<&'a Value>, refusing: &mut Refusing) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (name, value) in entries("networks", value, refusing) {
        let at = format!("networks.{name}");
        let read = known(&at, value, keys::NETWORK, refusing);
        refuse_driver(&at, read.get("driver").copied(), &["bridge", "default"], refusing);
        if name == TEST_NETWORK {
            refusing.refuse(&at, "this is the name of Airlock's own network; choose another");
        }
        names.push(name);
    }
    names
}

fn volumes<'a>(value: Option<&'a Value>, refusing: &mut Refusing) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (name, value) in entries("volumes", value, refusing) {
        let at = format!("volumes.{name}");
        let read = known(&at, value, keys::VOLUME, refusing);
        refuse_driver(&at, read.get("driver").copied(), &["local"], refusing);
        names.push(name);
    }
    names
}

fn refuse_driver(at: &str, driver: Option<&Value>, allowed: &[&str], refusing: &mut Refusing) {
    if let Some(driver) = driver.filter(|driver| !is_nothing(driver))
        && !driver.as_str().is_some_and(|driver| allowed.contains(&driver))
    {
        refusing.refuse(
            format!("{at}.driver"),
            format!("a driver reaches the host; only `{}` may be named", allowed[0]),
        );
    }
}

/// Returns the path in the tree of every config or secret.
fn files<'a>(
    what: &str,
    value: Option<&'a Value>,
    request: &StackRequest,
    refusing: &mut Refusing,
) -> BTreeMap<&'a str, String> {
    let mut paths = BTreeMap::new();
    for (name, value) in entries(what, value, refusing) {
        let at = format!("{what}.{name}");
        let read = known(&at, value, keys::FILE_OBJECT, refusing);
        let Some(file) = read.get("file") else { continue };
        let at = format!("{at}.file");
        let Some(file) = text(&at, file, refusing) else { continue };
        if let Some(path) = tree_path(&at, &file, request, refusing) {
            paths.insert(name, path);
        }
    }
    paths
}
