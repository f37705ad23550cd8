//! Which files a Compose file has Compose read, besides itself: only those of the commit.
//!
//! What else stands in the sandbox is the helper image's own and no secret, but an environment that comes
//! from there would not be what the hub's commit says.

use serde_json::Value;

use crate::compose::{MAX_CONFIG_BYTES, TREE_IN_SANDBOX};
use crate::delivery::commit::CommitTree;
use crate::job_log::printable;

/// Returns a sentence for every file that is not one of the commit's; `raw` is the uninterpolated file.
pub(super) fn outside(raw: &[u8], tree: &CommitTree) -> Vec<String> {
    let file: Value = match serde_json::from_slice(raw) {
        Ok(file) => file,
        Err(error) => return vec![format!("what Compose wrote is not JSON: {error}")],
    };
    let mut sentences = Vec::new();
    for (service, value) in file.get("services").and_then(Value::as_object).into_iter().flatten() {
        for key in ["env_file", "label_file"] {
            let paths: Vec<&Value> = match value.get(key) {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(items)) => items.iter().collect(),
                Some(one) => vec![one],
            };
            for path in paths {
                let path = path.get("path").unwrap_or(path).as_str().unwrap_or_default();
                if let Some(why) = refusal(path, tree) {
                    sentences.push(printable(&format!("`services.{service}.{key}`: `{path}` {why}")));
                }
            }
        }
    }
    sentences
}

fn refusal(path: &str, tree: &CommitTree) -> Option<&'static str> {
    if path.contains('$') {
        return Some("is put together from variables: write the path out");
    }
    let Some(inside) = path.strip_prefix(TREE_IN_SANDBOX).and_then(|rest| rest.strip_prefix('/')) else {
        return Some("is outside the hub's tree; only files of its commit are read");
    };
    if inside.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Some("climbs; write the path without `.` and `..`");
    }
    // One that is not there is Compose's to judge: it may be optional.
    tree.read(inside, MAX_CONFIG_BYTES)
        .is_err()
        .then_some("is or lies behind a symbolic link, or is too large; name a plain file")
}
