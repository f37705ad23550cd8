//! Global `ARG`s whose value is certain before the build.

use std::collections::BTreeMap;

use super::refusal::{RefusalReason, shown};

/// Arguments that BuildKit sets by itself, whatever the file says.
const PREDEFINED: &[&str] = &[
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SOURCE_DATE_EPOCH",
];

/// The global arguments; a name that was given twice, or not plainly, is no constant.
#[derive(Default)]
pub(super) struct Constants {
    values: BTreeMap<String, Option<String>>,
    /// An argument could not be split into name and value, so any name may have changed.
    uncertain: bool,
}

impl Constants {
    /// Takes the arguments of one global `ARG`.
    pub fn define(&mut self, arguments: &str) {
        for word in arguments.split([' ', '\t']).filter(|word| !word.is_empty()) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let unquoted = value.map(|value| {
                ['"', '\'']
                    .iter()
                    .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
                    .unwrap_or(value)
            });
            let odd = |text: &str| text.contains(['"', '\'', '\\', '`']);
            if !is_name(name) || unquoted.is_some_and(odd) {
                self.uncertain = true;
                continue;
            }
            let constant = unquoted
                .filter(|value| !value.is_empty() && !value.contains('$') && !is_predefined(name))
                .filter(|_| !self.values.contains_key(name));
            self.values.insert(name.to_owned(), constant.map(str::to_owned));
        }
    }

    /// Returns `reference` with `$NAME` and `${NAME}` replaced.
    pub fn resolve(&self, reference: &str) -> Result<String, RefusalReason> {
        let mut resolved = String::new();
        let mut rest = reference;
        while let Some((before, after)) = rest.split_once('$') {
            resolved.push_str(before);
            let (name, after) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').unwrap_or((braced, "")),
                None => {
                    let end =
                        after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                    after.split_at(end)
                }
            };
            let value = self.values.get(name).and_then(Option::as_deref).filter(|_| !self.uncertain);
            let value = value.ok_or_else(|| RefusalReason::Variable {
                reference: shown(reference),
                variable: shown(name),
            })?;
            resolved.push_str(value);
            rest = after;
        }
        resolved.push_str(rest);
        Ok(resolved)
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_predefined(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    PREDEFINED.contains(&name.as_str()) || name.starts_with("BUILDKIT_")
}
