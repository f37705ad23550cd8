//! Paths inside a layer: relative, clean, compared literally and never through a symbolic link.

use sha2::{Digest as _, Sha256};

/// Longest path that is accepted, in bytes (Linux' `PATH_MAX`).
const MAX_PATH_BYTES: usize = 4096;
/// Deepest path that is accepted.
const MAX_DEPTH: usize = 256;

/// Why a path in a layer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("path `{0}` climbs out of the image")]
    ClimbsOut(String),
    #[error("path `{0}…` is longer than 4096 bytes or deeper than 256 directories")]
    TooLong(String),
    #[error("path `{0}` contains a NUL byte")]
    Nul(String),
}

/// Returns the path without `./`, leading `/` and doubled `/`; the image's root is the empty text.
///
/// Bytes that are not UTF-8 become `\xNN`, so that two different paths stay different.
pub(super) fn clean(raw: &[u8]) -> Result<String, PathError> {
    let shown = |raw: &[u8]| raw[..raw.len().min(100)].escape_ascii().to_string();
    if raw.len() > MAX_PATH_BYTES {
        return Err(PathError::TooLong(shown(raw)));
    }
    if raw.contains(&0) {
        return Err(PathError::Nul(shown(raw)));
    }
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text.to_owned(),
        Err(_) => escaped(raw),
    };
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(PathError::ClimbsOut(shown(raw))),
            part => parts.push(part),
        }
    }
    if parts.len() > MAX_DEPTH {
        return Err(PathError::TooLong(shown(raw)));
    }
    Ok(parts.join("/"))
}

fn escaped(raw: &[u8]) -> String {
    let mut text = String::new();
    for chunk in raw.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Splits into the directory and the last part.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Returns the path `part` below `directory`.
pub(super) fn join(directory: &str, part: &str) -> String {
    if directory.is_empty() { part.to_owned() } else { format!("{directory}/{part}") }
}

/// Returns the key by which a path is compared: eight bytes of its SHA-256.
///
/// A layer may hold millions of paths and only has to say which ones it has.
pub(super) fn key(path: &str) -> u64 {
    let hash: [u8; 32] = Sha256::digest(path.as_bytes()).into();
    u64::from_le_bytes(hash[..8].try_into().expect("32 bytes hold 8"))
}

/// Returns the keys of the path and of each directory above it, the root last.
pub(super) fn keys_upwards(path: &str) -> Vec<u64> {
    let mut keys = vec![key(path)];
    let mut rest = path;
    while !rest.is_empty() {
        rest = split(rest).0;
        keys.push(key(rest));
    }
    keys
}

/// Returns the path as it is on a system where `/bin`, `/sbin` and `/lib*` are links into `/usr`.
///
/// Debian's package lists still spell `/bin/bash` where the file is `/usr/bin/bash`.
pub(super) fn with_usr(path: &str) -> std::borrow::Cow<'_, str> {
    match path.split_once('/') {
        Some(("bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32", _)) => format!("usr/{path}").into(),
        _ => path.into(),
    }
}
