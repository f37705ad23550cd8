//! Values of a Compose file: bounded, and of the one shape that each key has.
//!
//! `docker compose config` writes every `$` of a value as `$$`. Values are read without, and written with,
//! so that the host's Compose never interpolates anything.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::keys::Rule;
use super::refusal::Refusing;

/// Most characters of a text.
const MAX_TEXT: usize = 32 * 1024;
/// Most entries of a list or a mapping.
pub(super) const MAX_ENTRIES: usize = 1024;

/// Returns whether a value asks for nothing: what a key's absence would say as well.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Checks every key of a mapping against its list; returns the entries that are read on.
pub(super) fn known<'a>(
    at: &str,
    value: &'a Value,
    keys: &[(&str, Rule)],
    refusing: &mut Refusing,
) -> BTreeMap<&'a str, &'a Value> {
    let empty = BTreeMap::new();
    let map = match value {
        Value::Null => return empty,
        Value::Object(map) => map,
        _ => {
            refusing.refuse(at, "expected a mapping");
            return empty;
        }
    };
    let mut read = BTreeMap::new();
    for (key, value) in map.iter().filter(|(key, _)| !key.starts_with("x-")) {
        match keys.iter().find(|(known, _)| known == key).map(|(_, rule)| rule) {
            None => refusing.refuse(
                format!("{at}.{key}"),
                format!(
                    "found {}; Airlock does not know this key, so it cannot tell what it would reach: remove it",
                    found(value)
                ),
            ),
            Some(Rule::Refused(why)) => {
                if !is_nothing(value) {
                    refusing.refuse(format!("{at}.{key}"), format!("found {}; {why}", found(value)));
                }
            }
            Some(Rule::Kept | Rule::Rewritten) => {
                if !value.is_null() {
                    read.insert(key.as_str(), value);
                }
            }
        }
    }
    read
}

/// Shows what a file asked for, on one line.
pub(super) fn found(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return format!("`{text}`");
    }
    format!("`{}…`", text.chars().take(MOST).collect::<String>())
}

/// Returns a mapping that is one and has no more entries than are read; whatever is left out in silence
/// would be a stack that its author did not write.
pub(super) fn mapping<'a>(
    at: &str,
    value: &'a Value,
    refusing: &mut Refusing,
) -> Vec<(&'a String, &'a Value)> {
    match value {
        Value::Object(map) if map.len() > MAX_ENTRIES => {
            refusing.refuse(at, format!("it has {} entries, at most {MAX_ENTRIES} are read", map.len()));
            Vec::new()
        }
        Value::Object(map) => map.iter().collect(),
        _ => {
            refusing.refuse(at, "expected a mapping");
            Vec::new()
        }
    }
}

/// Returns the items of a list that is one and has no more of them than `most`.
pub(super) fn list<'a>(at: &str, value: &'a Value, most: usize, refusing: &mut Refusing) -> &'a [Value] {
    match value {
        Value::Array(items) if items.len() <= most => items,
        Value::Array(items) => {
            refusing.refuse(at, format!("it has {} entries, at most {most} are read", items.len()));
            &[]
        }
        _ => {
            refusing.refuse(at, "expected a list");
            &[]
        }
    }
}

/// Returns the entries of a mapping, each with a name that is one. `x-` is no mark of an extension here:
/// Compose takes `services.x-api` for a service.
pub(super) fn entries<'a>(
    at: &str,
    value: Option<&'a Value>,
    refusing: &mut Refusing,
) -> Vec<(&'a str, &'a Value)> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Vec::new() };
    mapping(at, value, refusing)
        .into_iter()
        .filter(|(key, _)| {
            let good = is_name(key);
            if !good {
                refusing.refuse(
                    format!("{at}.{key}"),
                    "expected a name of letters, digits, `.`, `_` and `-`, at most 63 characters",
                );
            }
            good
        })
        .map(|(key, value)| (key.as_str(), value))
        .collect()
}

/// Compose's alphabet for names of services, networks and volumes.
pub(super) fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric();
    name.len() <= 63
        && name.bytes().next().is_some_and(word)
        && name.bytes().all(|b| word(b) || matches!(b, b'.' | b'_' | b'-'))
}

/// Reads a text as it was before `docker compose config` wrote it.
pub(super) fn text(at: &str, value: &Value, refusing: &mut Refusing) -> Option<String> {
    let text = match value {
        Value::String(text) => text.replace("$$", "$"),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => {
            refusing.refuse(at, "expected a text");
            return None;
        }
    };
    if text.len() > MAX_TEXT || text.contains('\0') {
        refusing.refuse(at, format!("expected a text of at most {MAX_TEXT} bytes without a zero byte"));
        return None;
    }
    Some(text)
}

/// Reads a list of texts; one text alone counts as a list of one.
pub(super) fn texts(at: &str, value: &Value, refusing: &mut Refusing) -> Vec<String> {
    match value {
        Value::Array(_) => list(at, value, MAX_ENTRIES, refusing)
            .iter()
            .filter_map(|item| text(at, item, refusing))
            .collect(),
        value => text(at, value, refusing).into_iter().collect(),
    }
}

/// Writes a text so that Compose reads exactly it.
pub(super) fn written(text: &str) -> Value {
    Value::String(text.replace('$', "$$"))
}

/// Writes a list of texts.
pub(super) fn written_list(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Value {
    Value::Array(texts.into_iter().map(|text| written(text.as_ref())).collect())
}

/// Writes a mapping of texts.
pub(super) fn written_map<'a>(entries: impl IntoIterator<Item = (&'a String, &'a String)>) -> Value {
    let map: Map<String, Value> =
        entries.into_iter().map(|(key, text)| (key.clone(), written(text))).collect();
    Value::Object(map)
}

/// Reads a count of bytes: a number, or a text with a unit (`64m`).
pub(super) fn bytes(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let text = text.trim().to_ascii_lowercase();
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number: u64 = text[..digits].parse().ok()?;
            let unit: u64 = match text[digits..].trim() {
                "" | "b" => 1,
                "k" | "kb" | "kib" => 1 << 10,
                "m" | "mb" | "mib" => 1 << 20,
                "g" | "gb" | "gib" => 1 << 30,
                _ => return None,
            };
            number.checked_mul(unit)
        }
        _ => None,
    }
}

/// Reads a number of processors in thousandths.
pub(super) fn thousandths(value: &Value) -> Option<u64> {
    let number: f64 = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (number.is_finite() && (0.0..=1_000_000.0).contains(&number)).then_some((number * 1000.0) as u64)
}

/// Reads a whole number.
pub(super) fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Returns whether a path is absolute, leads nowhere else, and covers nothing of the kernel's.
pub(super) fn is_mount_point(path: &str) -> bool {
    let parts_are_plain = path
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
    let of_the_kernel = ["/proc", "/sys", "/dev"]
        .iter()
        .any(|place| path == *place || path.starts_with(&format!("{place}/")));
    parts_are_plain
        && !of_the_kernel
        && path.len() <= 1024
        && !path.contains([':', ','])
        && !path.chars().any(char::is_control)
}
