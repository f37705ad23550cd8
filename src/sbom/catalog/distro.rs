//! The operating system: `os-release` (freedesktop.org) and Debian's `debian_version`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::fold::View;
use super::super::inventory::Distro;
use super::{Beyond, Cataloger, Findings, Limit, Parsed};

pub(super) const CATALOGER: Cataloger = Cataloger { wants, lies_on_the_way, parse, fold };

const PLACES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
const DEBIAN_VERSION: &str = "etc/debian_version";
const MAX_VALUE: usize = 256;

/// What one file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sbom) enum Raw {
    OsRelease(BTreeMap<String, String>),
    DebianVersion(String),
}

fn wants(path: &str) -> Option<Limit> {
    let known = PLACES.contains(&path) || path == DEBIAN_VERSION;
    known.then_some(Limit { bytes: 64 * 1024, beyond: Beyond::Gap })
}

fn lies_on_the_way(path: &str) -> bool {
    matches!(path, "etc" | "usr" | "usr/lib")
}

fn parse(path: &str, content: &[u8]) -> Parsed {
    let text = String::from_utf8_lossy(content);
    let raw = if path == DEBIAN_VERSION {
        Raw::DebianVersion(text.trim().chars().take(MAX_VALUE).collect())
    } else {
        Raw::OsRelease(os_release(&text))
    };
    Parsed { raw: Some(super::Raw::Distro(raw)), gaps: Vec::new() }
}

fn os_release(text: &str) -> BTreeMap<String, String> {
    const KEYS: [&str; 6] = ["ID", "ID_LIKE", "NAME", "PRETTY_NAME", "VERSION_ID", "BUILD_ID"];
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| KEYS.contains(key))
        .map(|(key, value)| (key.to_owned(), unquoted(value)))
        .collect()
}

/// Undoes the shell quoting that `os-release` allows.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut out = String::new();
    let mut chars = inner.unwrap_or(value).chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out.retain(|c| !c.is_control());
    out.chars().take(MAX_VALUE).collect()
}

fn fold(view: &View<'_>, findings: &mut Findings) {
    let found = PLACES.iter().find_map(|place| match view.raw_at(place)? {
        super::Raw::Distro(Raw::OsRelease(values)) => Some(values),
        _ => None,
    });
    let Some(values) = found else {
        if PLACES.iter().any(|place| view.is_redirected(place)) {
            findings.gaps.push("the operating system is unknown: `os-release` leads nowhere".to_owned());
        }
        return;
    };
    let word = |key: &str| values.get(key).filter(|value| is_word(value)).cloned();
    let Some(id) = word("ID") else {
        findings.gaps.push("the operating system is unknown: `os-release` has no usable `ID`".to_owned());
        return;
    };
    let mut version = word("VERSION_ID").or_else(|| word("BUILD_ID"));
    if let Some(super::Raw::Distro(Raw::DebianVersion(point))) = view.raw_at(DEBIAN_VERSION)
        && id == "debian"
        && version.as_ref().is_some_and(|major| refines(point, major))
    {
        version = Some(point.clone());
    }
    let like = values.get("ID_LIKE").map(String::as_str).unwrap_or_default();
    let name = values.get("PRETTY_NAME").or_else(|| values.get("NAME")).unwrap_or(&id).clone();
    findings.distro =
        Some(Distro { id, id_like: like.split_whitespace().map(str::to_owned).collect(), name, version });
}

fn is_word(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !value.is_empty() && value.len() <= 64 && value.bytes().all(plain)
}

/// Reports whether `point` is a point release of `major`: `12.11` of `12`, never `trixie/sid`.
fn refines(point: &str, major: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    point.len() <= 64 && point.strip_prefix(major).and_then(|rest| rest.strip_prefix('.')).is_some_and(digits)
}
