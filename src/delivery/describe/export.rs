//! The engine's export (`docker save`): its members, in whatever order, and the one image they make.
//!
//! Both shapes are read through `manifest.json`, which stands in each: up to Engine 24
//! `<id>/layer.tar` and `<hex>.json`, from Engine 25 on `blobs/sha256/<hex>`.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;

use super::entries::{Entries, Kind, TarError};
use super::error::DescribeError;
use super::spool::{BUFFER, Spool, Spooled};
use super::{DescribeProgress, shown};
use crate::domain::digest::Digest;

/// Most members of an export: 127 layers of four members each, and room.
const MAX_MEMBERS: u64 = 2048;
/// Most layers of an image; the engine's overlay driver allows 128 with its own.
const MAX_LAYERS: usize = 127;
/// Largest JSON document, in bytes.
const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;
/// Largest export, in bytes: it must not fill the host's disk.
const MAX_EXPORT: u64 = 64 * 1024 * 1024 * 1024;
/// Bytes between two reports of progress.
const PROGRESS_STEP: u64 = 16 * 1024 * 1024;
/// Most links from one member to the next.
const MAX_LINKS: usize = 8;

enum Member {
    File(Spooled),
    Link(String),
    /// A document that nothing here needs.
    Unused,
}

/// The one image of an export, every piece checked against the digest that names it.
pub(super) struct ExportedImage {
    pub(super) config: Vec<u8>,
    /// Name of the configuration in the export, for texts.
    pub(super) config_member: String,
    pub(super) diff_ids: Vec<Digest>,
    pub(super) layers: Vec<Spooled>,
}

/// Spools the export and returns its one image.
pub(super) fn receive(
    export: impl Read,
    spool: &mut Spool,
    image_id: Option<&Digest>,
    progress: &(dyn Fn(DescribeProgress) + Sync),
) -> Result<ExportedImage, DescribeError> {
    let members = members(export, spool, progress)?;
    image(&members, spool, image_id)
}

fn members(
    export: impl Read,
    spool: &mut Spool,
    progress: &(dyn Fn(DescribeProgress) + Sync),
) -> Result<BTreeMap<String, Member>, DescribeError> {
    let mut entries = Entries::new(export, MAX_MEMBERS);
    let mut members = BTreeMap::new();
    let mut buffer = vec![0u8; BUFFER];
    let (mut received, mut reported) = (0u64, 0u64);
    while let Some(entry) = entries.next().map_err(archive_error)? {
        let name = member_name(&entry.path)?;
        let member = match entry.kind {
            Kind::Directory => continue,
            Kind::File if is_unused(&name) => Member::Unused,
            Kind::File => {
                let mut piece = spool.piece();
                loop {
                    let read = entries.read_content(&mut buffer).map_err(archive_error)?;
                    if read == 0 {
                        break Member::File(piece.finish());
                    }
                    received += read as u64;
                    if received > MAX_EXPORT {
                        return Err(DescribeError::TooLarge { limit: MAX_EXPORT });
                    }
                    if received - reported >= PROGRESS_STEP {
                        reported = received;
                        progress(DescribeProgress::Received { bytes: received });
                    }
                    piece.write(&buffer[..read]).map_err(|source| DescribeError::Disk {
                        what: "keep the built image in the work directory".to_owned(),
                        source,
                    })?;
                }
            }
            Kind::HardLink => Member::Link(member_name(&entry.link)?),
            Kind::Symlink => Member::Link(beside(&name, &entry.link)?),
            Kind::Special => {
                return Err(DescribeError::Archive(TarError::Unsupported {
                    path: shown(&entry.path),
                    what: "a device or a FIFO".to_owned(),
                }));
            }
        };
        if members.contains_key(&name) {
            return Err(DescribeError::DuplicateMember { member: shown(name.as_bytes()) });
        }
        members.insert(name, member);
    }
    // An engine that fails in the middle just stops sending, which may be between two members.
    if !entries.has_end() {
        return Err(DescribeError::CutShort);
    }
    progress(DescribeProgress::Received { bytes: received });
    Ok(members)
}

fn archive_error(error: TarError) -> DescribeError {
    match error {
        TarError::Read(source) => DescribeError::Export(source),
        TarError::CutShort { .. } => DescribeError::CutShort,
        other => DescribeError::Archive(other),
    }
}

fn is_unused(name: &str) -> bool {
    matches!(name, "repositories" | "oci-layout" | "index.json")
        || name.ends_with("/json")
        || name.ends_with("/VERSION")
}

fn member_name(path: &[u8]) -> Result<String, DescribeError> {
    let refuse = |what| DescribeError::Archive(TarError::Path { path: shown(path), what });
    let text = std::str::from_utf8(path).map_err(|_| refuse("is not UTF-8"))?;
    if text.starts_with('/') {
        return Err(refuse("is an absolute path"));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    Ok(parts.join("/"))
}

/// Returns the member that the symbolic link `target` in the folder of `name` means.
fn beside(name: &str, target: &[u8]) -> Result<String, DescribeError> {
    let refuse = |what| DescribeError::Archive(TarError::Path { path: shown(name.as_bytes()), what });
    let target = std::str::from_utf8(target).map_err(|_| refuse("links to what is not UTF-8"))?;
    if target.starts_with('/') {
        return Err(refuse("links to an absolute path"));
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(|| refuse("links out of the archive"))?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SaveManifest {
    config: String,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Roots {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

fn image(
    members: &BTreeMap<String, Member>,
    spool: &Spool,
    image_id: Option<&Digest>,
) -> Result<ExportedImage, DescribeError> {
    let (manifest, _) = document(members, spool, "manifest.json", "every export has")?;
    let manifests: Vec<SaveManifest> = parse("manifest.json", &manifest)?;
    let [manifest] = manifests.as_slice() else {
        return Err(DescribeError::NotOneImage { found: manifests.len() });
    };

    let (config, config_digest) = document(members, spool, &manifest.config, "`manifest.json` names")?;
    let config_member = shown(manifest.config.as_bytes());
    let named = digest_in_name(&manifest.config);
    for expected in image_id.into_iter().chain(named.as_ref()) {
        if *expected != config_digest {
            return Err(DescribeError::WrongContent {
                member: config_member,
                expected: expected.clone(),
                found: config_digest,
            });
        }
    }
    let roots: Roots = parse(&config_member, &config)?;
    let diff_ids = roots.rootfs.diff_ids.unwrap_or_default();

    let names = manifest.layers.as_deref().unwrap_or_default();
    if names.len() > MAX_LAYERS {
        return Err(DescribeError::TooManyLayers { found: names.len(), limit: MAX_LAYERS });
    }
    if names.len() != diff_ids.len() {
        return Err(DescribeError::LayerCount { diff_ids: diff_ids.len(), layers: names.len() });
    }
    let mut layers = Vec::with_capacity(names.len());
    for (i, (name, expected)) in names.iter().zip(&diff_ids).enumerate() {
        let layer = file(members, name, "`manifest.json` names")?;
        if layer.digest != *expected {
            let mut magic = [0u8; 2];
            if spool.open(layer).read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b] {
                return Err(DescribeError::CompressedLayer { layer: i + 1 });
            }
            return Err(DescribeError::WrongContent {
                member: shown(name.as_bytes()),
                expected: expected.clone(),
                found: layer.digest.clone(),
            });
        }
        layers.push(layer.clone());
    }
    Ok(ExportedImage { config, config_member, diff_ids, layers })
}

/// Returns the digest that a member's name claims: `<hex>.json` or `blobs/sha256/<hex>`.
fn digest_in_name(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(".json").or_else(|| name.strip_prefix("blobs/sha256/"))?;
    Digest::from_hex(hex).ok()
}

fn file<'a>(
    members: &'a BTreeMap<String, Member>,
    name: &str,
    named_by: &'static str,
) -> Result<&'a Spooled, DescribeError> {
    let mut at = member_name(name.as_bytes())?;
    for _ in 0..MAX_LINKS {
        match members.get(&at) {
            Some(Member::File(spooled)) => return Ok(spooled),
            Some(Member::Link(target)) => at = target.clone(),
            Some(Member::Unused) | None => break,
        }
    }
    let member = shown(name.as_bytes());
    Err(match members.get(&member_name(name.as_bytes())?) {
        Some(Member::Link(target)) => DescribeError::DeadLink { member, target: shown(target.as_bytes()) },
        _ => DescribeError::Missing { member, named_by },
    })
}

fn document(
    members: &BTreeMap<String, Member>,
    spool: &Spool,
    name: &str,
    named_by: &'static str,
) -> Result<(Vec<u8>, Digest), DescribeError> {
    let spooled = file(members, name, named_by)?;
    if spooled.size > MAX_DOCUMENT {
        return Err(DescribeError::DocumentTooLarge {
            member: shown(name.as_bytes()),
            limit: MAX_DOCUMENT,
            found: spooled.size,
        });
    }
    let mut bytes = Vec::new();
    spool
        .open(spooled)
        .read_to_end(&mut bytes)
        .map_err(|source| DescribeError::Disk { what: "read the built image again".to_owned(), source })?;
    Ok((bytes, spooled.digest.clone()))
}

pub(super) fn parse<'a, T: Deserialize<'a>>(member: &str, bytes: &'a [u8]) -> Result<T, DescribeError> {
    serde_json::from_slice(bytes).map_err(|error| DescribeError::Document {
        member: member.to_owned(),
        reason: shown(error.to_string().as_bytes()),
    })
}
