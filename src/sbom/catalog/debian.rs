//! Debian's packages: dpkg's database, distroless `status.d`, copyright files, file lists.

mod control;
mod copyright;
mod packages;

use serde::{Deserialize, Serialize};

use super::super::path;
use super::{Beyond, Cataloger, Limit, Parsed};
use control::Stanza;

pub(super) const CATALOGER: Cataloger = Cataloger { wants, lies_on_the_way, parse, fold: packages::fold };

/// What one file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sbom) enum Raw {
    Status(Vec<Stanza>),
    /// Licence short names of a machine-readable copyright file.
    Copyright(Vec<String>),
    /// Keys of the paths that a package owns, sorted.
    Owned(Vec<u64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Status,
    /// dpkg's copy; read only because `status` may be a hard link to it.
    StatusOld,
    Copyright,
    /// One path a line.
    List,
    /// A digest, two spaces, a path.
    Md5sums,
}

const DATABASE_LIMIT: u64 = 32 * 1024 * 1024;

fn kind(path: &str) -> Option<Kind> {
    if let Some(package) =
        path.strip_prefix("usr/share/doc/").and_then(|rest| rest.strip_suffix("/copyright"))
    {
        return (!package.contains('/')).then_some(Kind::Copyright);
    }
    let in_lib = |rest: &str| rest.is_empty() || rest.ends_with('/');
    for (end, kind) in [("lib/dpkg/status", Kind::Status), ("lib/dpkg/status-old", Kind::StatusOld)] {
        if path.strip_suffix(end).is_some_and(in_lib) {
            return Some(kind);
        }
    }
    let (directory, name) = path::split(path);
    if directory.strip_suffix("lib/dpkg/status.d").is_some_and(in_lib) {
        return Some(if name.ends_with(".md5sums") { Kind::Md5sums } else { Kind::Status });
    }
    if directory.strip_suffix("lib/dpkg/info").is_some_and(in_lib) {
        return match name.rsplit_once('.')?.1 {
            "list" => Some(Kind::List),
            "md5sums" => Some(Kind::Md5sums),
            _ => None,
        };
    }
    None
}

fn wants(path: &str) -> Option<Limit> {
    Some(match kind(path)? {
        Kind::Status => Limit { bytes: DATABASE_LIMIT, beyond: Beyond::Refuse },
        Kind::StatusOld => Limit { bytes: DATABASE_LIMIT, beyond: Beyond::Gap },
        Kind::Copyright => Limit { bytes: 8 * 1024 * 1024, beyond: Beyond::Gap },
        Kind::List | Kind::Md5sums => Limit { bytes: 32 * 1024 * 1024, beyond: Beyond::Gap },
    })
}

fn lies_on_the_way(path: &str) -> bool {
    let doc = path.strip_prefix("usr/share/doc/").is_some_and(|rest| !rest.contains('/'));
    doc || matches!(
        path,
        "usr" | "usr/share" | "usr/share/doc" | "var" | "var/lib" | "var/lib/dpkg" | "var/lib/dpkg/status.d"
    )
}

fn parse(path: &str, content: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let Some(kind) = kind(path) else { return parsed };
    let text = String::from_utf8_lossy(content);
    let raw = match kind {
        Kind::Status | Kind::StatusOld => {
            let (stanzas, unreadable) = control::stanzas(&text);
            if unreadable > 0 && kind == Kind::Status {
                parsed.gaps.push(format!(
                    "{unreadable} entries of `{path}` are not listed: no usable name or version, or too many"
                ));
            }
            Raw::Status(stanzas)
        }
        Kind::Copyright => Raw::Copyright(copyright::short_names(&text)),
        Kind::List => Raw::Owned(owned_keys(text.lines())),
        Kind::Md5sums => Raw::Owned(owned_keys(
            text.lines()
                .filter_map(|line| line.split_once(char::is_whitespace).map(|(_, path)| path.trim_start())),
        )),
    };
    parsed.raw = Some(super::Raw::Debian(raw));
    parsed
}

fn owned_keys<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let mut keys: Vec<u64> = paths
        .filter_map(|owned| path::clean(owned.as_bytes()).ok())
        .map(|owned| path::key(&path::with_usr(&owned)))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Returns the keys of the paths that a package owns according to the file at `path`.
pub(super) fn owned<'a>(path: &str, raw: &'a super::Raw) -> &'a [u64] {
    match raw {
        super::Raw::Debian(Raw::Owned(keys)) if kind(path).is_some() => keys,
        _ => &[],
    }
}
