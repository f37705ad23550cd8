//! What a service mounts: volumes of the stack, memory, and files of the hub's tree, read-only.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::refusal::Refusing;
use super::values::{bytes, is_mount_point, is_nothing, known, list, text, texts, whole, written};
use super::{StackRequest, TREE_IN_SANDBOX, TreePath, keys};

/// Most entries of one of a service's lists of mounts.
const MAX_MOUNTS: usize = 64;

/// What the file declares at its top, as far as mounts need it.
pub(super) struct Declared<'a> {
    pub(super) request: &'a StackRequest,
    pub(super) volumes: Vec<&'a str>,
    /// Path in the tree of every config and secret.
    pub(super) configs: BTreeMap<&'a str, String>,
    pub(super) secrets: BTreeMap<&'a str, String>,
}

/// Returns the path in the tree that a path in the sandbox stands for, if a bind may name it.
pub(super) fn tree_path(
    at: &str,
    source: &str,
    request: &StackRequest,
    refusing: &mut Refusing,
) -> Option<String> {
    let inside = match source.strip_prefix(TREE_IN_SANDBOX) {
        Some("") => "",
        Some(rest) if rest.starts_with('/') => rest.trim_matches('/'),
        _ => {
            refusing.refuse(
                at,
                format!("`{source}` is outside the hub's tree; only files of its commit can be mounted"),
            );
            return None;
        }
    };
    if inside.is_empty() {
        refusing.refuse(at, "the whole tree cannot be mounted; name a directory or a file in it");
        return None;
    }
    if inside.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        refusing.refuse(at, format!("`{source}` climbs; write the path without `.` and `..`"));
        return None;
    }
    let mut way = String::new();
    for part in inside.split('/') {
        if !way.is_empty() {
            way.push('/');
        }
        way.push_str(part);
        match request.tree.get(&way) {
            Some(TreePath::File | TreePath::Directory) => {}
            Some(TreePath::Link) => {
                refusing.refuse(at, format!("`{way}` is a symbolic link, which the engine would follow on the host; name what it points to"));
                return None;
            }
            None => {
                refusing.refuse(at, format!("there is no `{way}` in the hub's commit"));
                return None;
            }
        }
    }
    Some(way)
}

/// A read-only bind of something in the tree.
fn bind(request: &StackRequest, path: &str, target: &str) -> Value {
    json!({
        "type": "bind",
        "source": written(&request.tree_on_host.join(path).display().to_string()),
        "target": written(target),
        "read_only": true,
        "bind": {"create_host_path": false},
    })
}

/// Compiles `volumes`.
pub(super) fn volumes(
    at: &str,
    value: &Value,
    declared: &Declared<'_>,
    refusing: &mut Refusing,
) -> Vec<Value> {
    let mut mounts = Vec::new();
    for (number, item) in list(at, value, MAX_MOUNTS, refusing).iter().enumerate() {
        let at = format!("{at}[{number}]");
        mounts.extend(volume(&at, item, declared, refusing));
    }
    mounts
}

fn volume(at: &str, item: &Value, declared: &Declared<'_>, refusing: &mut Refusing) -> Option<Value> {
    let read = known(at, item, keys::MOUNT, refusing);
    let Some(target) = read.get("target") else {
        refusing.refuse(at, "it has no `target`");
        return None;
    };
    let target = text(at, target, refusing)?;
    if !is_mount_point(&target) {
        refusing.refuse(
            at,
            format!(
                "`{target}` cannot be mounted at: expected an absolute path outside /proc, /sys and /dev"
            ),
        );
        return None;
    }
    let read_only = read.get("read_only").is_some_and(|value| value.as_bool() == Some(true));
    let source = match read.get("source") {
        Some(source) => Some(text(at, source, refusing)?),
        None => None,
    };
    match read.get("type").and_then(|kind| kind.as_str()) {
        Some("volume") => {
            let nothing_more = |key: &str, allowed: &[&str]| {
                read.get(key).is_none_or(|value| {
                    value.as_object().is_some_and(|map| {
                        map.iter().all(|(key, value)| allowed.contains(&key.as_str()) || is_nothing(value))
                    })
                })
            };
            if !nothing_more("volume", &["nocopy"]) {
                refusing.refuse(at, "of `volume` only `nocopy` may be set");
            }
            let mut mount = json!({"type": "volume", "target": written(&target), "read_only": read_only});
            if let Some(source) = source {
                if !declared.volumes.contains(&source.as_str()) {
                    refusing.refuse(at, format!("there is no volume `{source}` at the top of the file"));
                    return None;
                }
                mount["source"] = written(&source);
            }
            if let Some(nocopy) = read.get("volume").and_then(|volume| volume.get("nocopy")) {
                mount["volume"] = json!({"nocopy": nocopy.as_bool() == Some(true)});
            }
            Some(mount)
        }
        Some("bind") => {
            let Some(source) = source else {
                refusing.refuse(at, "a bind has no `source`");
                return None;
            };
            let path = tree_path(at, &source, declared.request, refusing)?;
            if !read_only {
                refusing.refuse(at, "a file of the hub's commit can only be mounted read-only: add `:ro` or `read_only: true`");
                return None;
            }
            if let Some(Value::Object(options)) = read.get("bind")
                && options.iter().any(|(key, value)| key != "create_host_path" && !is_nothing(value))
            {
                refusing.refuse(at, "of `bind` nothing may be set: propagation and labels reach the host");
            }
            Some(bind(declared.request, &path, &target))
        }
        Some("tmpfs") => {
            let options = read.get("tmpfs");
            let asked =
                options.and_then(|options| options.get("size")).and_then(bytes).filter(|size| *size > 0);
            let limit = declared.request.limits.tmp_bytes;
            let mut memory = json!({"size": asked.unwrap_or(limit).min(limit)});
            if let Some(mode) = options.and_then(|options| options.get("mode")).and_then(whole) {
                memory["mode"] = json!(mode & 0o1777);
            }
            Some(json!({"type": "tmpfs", "target": written(&target), "tmpfs": memory}))
        }
        other => {
            let other = other.unwrap_or("none");
            refusing
                .refuse(at, format!("the mount's type is `{other}`: expected `volume`, `bind` or `tmpfs`"));
            None
        }
    }
}

/// Compiles the short form of `tmpfs`: a path, and options of which the size is bounded.
pub(super) fn tmpfs(at: &str, value: &Value, declared: &Declared<'_>, refusing: &mut Refusing) -> Vec<Value> {
    let limit = declared.request.limits.tmp_bytes;
    let mut mounts = Vec::new();
    for entry in texts(at, value, refusing) {
        let (target, options) = entry.split_once(':').unwrap_or((&entry, ""));
        if !is_mount_point(target) {
            refusing.refuse(
                at,
                format!(
                    "`{target}` cannot be mounted at: expected an absolute path outside /proc, /sys and /dev"
                ),
            );
            continue;
        }
        let mut size = limit;
        let mut kept = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", asked)) => match bytes(&Value::String(asked.to_owned())) {
                    Some(asked) if asked > 0 => size = asked.min(limit),
                    _ => refusing.refuse(at, format!("`{option}` is no size")),
                },
                Some(("mode", mode)) if mode.len() <= 4 && mode.bytes().all(|b| matches!(b, b'0'..=b'7')) => {
                    kept.push(option.to_owned());
                }
                Some(("uid" | "gid", id)) if id.parse::<u32>().is_ok() => kept.push(option.to_owned()),
                None if matches!(option, "rw" | "ro" | "noexec" | "nosuid" | "nodev" | "exec") => {
                    kept.push(option.to_owned());
                }
                _ => refusing.refuse(at, format!("the option `{option}` is not one of size, mode, uid, gid, rw, ro, exec, noexec, nosuid, nodev")),
            }
        }
        kept.push(format!("size={size}"));
        mounts.push(written(&format!("{target}:{}", kept.join(","))));
    }
    mounts
}

/// Which of the two kinds of files.
#[derive(Clone, Copy)]
pub(super) enum FileKind {
    Config,
    Secret,
}

/// Compiles `configs` and `secrets`: read-only binds of files in the tree.
pub(super) fn files(
    at: &str,
    value: &Value,
    kind: FileKind,
    declared: &Declared<'_>,
    refusing: &mut Refusing,
) -> Vec<Value> {
    let (known_files, default) = match kind {
        FileKind::Config => (&declared.configs, "/"),
        FileKind::Secret => (&declared.secrets, "/run/secrets/"),
    };
    let mut mounts = Vec::new();
    for (number, item) in list(at, value, MAX_MOUNTS, refusing).iter().enumerate() {
        let at = format!("{at}[{number}]");
        let read = match item {
            Value::String(_) => BTreeMap::from([("source", item)]),
            item => known(&at, item, keys::FILE_USE, refusing),
        };
        let Some(source) = read.get("source") else {
            refusing.refuse(&at, "it has no `source`");
            continue;
        };
        let Some(source) = text(&at, source, refusing) else { continue };
        let target = match read.get("target").and_then(|target| text(&at, target, refusing)) {
            Some(target) if target.starts_with('/') => target,
            Some(target) => format!("{default}{target}"),
            None => format!("{default}{source}"),
        };
        if !is_mount_point(&target) {
            refusing.refuse(&at, format!("`{target}` cannot be mounted at"));
            continue;
        }
        match known_files.get(source.as_str()) {
            Some(path) => mounts.push(bind(declared.request, path, &target)),
            None => refusing.refuse(
                &at,
                format!("there is no `{source}` at the top of the file, or it is refused there"),
            ),
        }
    }
    mounts
}
