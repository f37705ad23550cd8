//! What differs first between two images of one commit: the words after `not reproducible:`.
//!
//! Layers come first, because a person can do something about them; times and labels never differ.

use serde_json::Value;

use super::shown;

/// Returns the first difference between the image made now and the one that was published.
///
/// All four are taken as hostile text: what is not a configuration or manifest is said to be none.
pub fn first_difference(
    our_manifest: &[u8],
    our_config: &[u8],
    their_manifest: &[u8],
    their_config: &[u8],
) -> String {
    if (our_manifest, our_config) == (their_manifest, their_config) {
        return "none, the two images are the same".to_owned();
    }
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
    let (ours, theirs) = (parse(our_config), parse(their_config));
    if !theirs.is_object() {
        return "the published configuration is not a JSON object".to_owned();
    }
    layer(&ours, &theirs)
        .or_else(|| value("", &ours, &theirs))
        .or_else(|| value("manifest", &parse(our_manifest), &parse(their_manifest)))
        .unwrap_or_else(|| "only the spelling of the two configurations or manifests".to_owned())
}

fn layer(ours: &Value, theirs: &Value) -> Option<String> {
    let diff_ids = |config: &Value| config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    let (our_ids, their_ids) = (diff_ids(ours), diff_ids(theirs));
    let i = (0..our_ids.len().max(their_ids.len())).find(|i| our_ids.get(*i) != their_ids.get(*i))?;
    let side = |ids: &[Value]| ids.get(i).map_or_else(|| "none".to_owned(), short);
    let step = (our_ids.get(i).and_then(|_| step(ours, i)))
        .or_else(|| step(theirs, i))
        .map_or_else(String::new, |step| format!(" (`{step}`)"));
    Some(format!(
        "layer {} of {}{step}: now {}, published {}",
        i + 1,
        our_ids.len().max(their_ids.len()),
        side(&our_ids),
        side(&their_ids)
    ))
}

/// Returns the instruction that made a layer, as the history tells it.
fn step(config: &Value, layer: usize) -> Option<String> {
    let with_layer = |entry: &&Value| entry["empty_layer"].as_bool() != Some(true);
    let entry = config["history"].as_array()?.iter().filter(with_layer).nth(layer)?;
    entry["created_by"].as_str().map(|step| shown(step.trim().as_bytes())).filter(|step| !step.is_empty())
}

fn value(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match (ours, theirs) {
        _ if ours == theirs => None,
        (Value::Object(ours), Value::Object(theirs)) => {
            let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
            keys.sort();
            keys.dedup();
            let side = |object: &serde_json::Map<_, _>, key| object.get(key).cloned().unwrap_or_default();
            keys.into_iter()
                .find_map(|key| value(&below(&shown(key.as_bytes())), &side(ours, key), &side(theirs, key)))
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            let side = |list: &[Value], i| list.get(i).cloned().unwrap_or_default();
            (0..ours.len().max(theirs.len()))
                .find_map(|i| value(&format!("{path}[{i}]"), &side(ours, i), &side(theirs, i)))
        }
        _ => Some(format!("`{path}`: now {}, published {}", short(ours), short(theirs))),
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => match text.parse::<crate::domain::digest::Digest>() {
            Ok(digest) => format!("sha256:{}", digest.short()),
            Err(_) => format!("`{}`", shown(text.as_bytes())),
        },
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(object) => format!("a map of {}", object.len()),
        other => format!("`{}`", shown(other.to_string().as_bytes())),
    }
}
