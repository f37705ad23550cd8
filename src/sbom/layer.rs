//! One pass over the bytes of one uncompressed layer (OCI image specification, "Image Layer Filesystem
//! Changeset").
//!
//! Archives that two readers would read differently are refused rather than interpreted: what is
//! described must be what a client unpacks.

mod long_names;

use std::collections::BTreeMap;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::catalog::{self, Beyond, Parsed};
use super::fragment::{FileRecord, LayerFragment, SCANNER_VERSION};
use super::path::{self, PathError};
use crate::domain::digest::Digest;
use crate::failure::Failure;
use long_names::LongNames;

/// Entries in one layer.
const MAX_ENTRIES: u64 = 5_000_000;
/// Files and links that are recorded in one layer; further ones are counted.
const MAX_RECORDED: usize = 100_000;
/// Total length of recorded paths in one layer, in bytes.
const MAX_RECORDED_PATH_BYTES: usize = 16 * 1024 * 1024;
/// Content that catalogers read in one layer, in bytes.
const MAX_CATALOGED_BYTES: u64 = 256 * 1024 * 1024;
/// Files that catalogers read in one layer.
const MAX_CATALOGED_FILES: usize = 100_000;
/// Gaps that are told one by one.
const MAX_GAPS: usize = 50;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const AUFS_METADATA: &str = ".wh..wh.";

/// Why a layer cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("cannot read the layer to its end")]
    Read(#[from] io::Error),
    #[error("the layer is refused: {0}")]
    Path(#[from] PathError),
    #[error("the layer is refused: entry `{path}` is cut short: expected {expected} bytes, found {found}")]
    Truncated { path: String, expected: u64, found: u64 },
    #[error("the layer is refused: it has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    #[error("the layer is refused: package database `{path}` has {size} bytes, the limit is {limit}")]
    DatabaseTooLarge { path: String, size: u64, limit: u64 },
    #[error("the layer is refused: entry `{path}` can be read in two ways: {what}")]
    Ambiguous { path: String, what: &'static str },
    #[error("the layer is refused: a header in front of an entry can be read in two ways: {0}")]
    AmbiguousHeader(&'static str),
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        let failure = match &error {
            ScanError::Read(_) => Failure::system("cannot list the packages of the image"),
            _ => Failure::refused_to_publish("cannot list the packages of the image"),
        };
        let hint = match &error {
            ScanError::Read(_) => "run the job again: the engine or the registry gave an incomplete layer",
            ScanError::DatabaseTooLarge { .. } => {
                "look at what the Dockerfile or the base image writes to this path; a real database is far smaller"
            }
            ScanError::TooManyEntries => "split what the Dockerfile copies, or leave generated files out",
            ScanError::Path(_)
            | ScanError::Truncated { .. }
            | ScanError::Ambiguous { .. }
            | ScanError::AmbiguousHeader(_) => {
                "no usual builder writes such a layer: check where the base image comes from"
            }
        };
        failure.because_of(&error).hint(hint)
    }
}

/// Reads one uncompressed layer to the very end of the stream and returns what it contributes.
///
/// Memory is bounded whatever the layer contains; the content of a file is never held unless a
/// cataloger wants it.
pub fn scan_layer(tar: impl Read) -> Result<LayerFragment, ScanError> {
    let mut archive = tar::Archive::new(tar);
    let mut scan = Scan::default();
    let mut names = LongNames::default();
    let mut entries = 0_u64;
    // Raw entries, because the library reads long names and PAX headers of any size into memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(ScanError::TooManyEntries);
        }
        let kind = entry.header().entry_type();
        if names.take(kind, &mut entry)? {
            continue;
        }
        let header = entry.header().clone();
        let names = std::mem::take(&mut names);
        scan.entry(&header, names, &mut entry)?;
    }
    // A reader that hashes what it hands out must see the padding behind the archive as well.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(scan.finish())
}

fn ambiguous(path: &str, what: &'static str) -> ScanError {
    ScanError::Ambiguous { path: path.chars().take(200).collect(), what }
}

#[derive(Default)]
struct Scan {
    fragment: LayerFragment,
    recorded: usize,
    recorded_path_bytes: usize,
    cataloged: usize,
    cataloged_bytes: u64,
    /// What each file that a cataloger read has cost; a hard link costs it again.
    costs: BTreeMap<String, u64>,
}

impl Scan {
    fn entry(&mut self, header: &Header, names: LongNames, body: &mut impl Read) -> Result<(), ScanError> {
        let raw_path = names.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = path::clean(&raw_path)?;
        let size = header.entry_size()?;
        if names.size.is_some_and(|told| told != size) {
            return Err(ambiguous(&path, "the header and the PAX header give different sizes"));
        }
        let (directory, name) = path::split(&path);
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return match hidden {
                _ if name == OPAQUE => {
                    self.fragment.hides.opaques.push(path::key(directory));
                    Ok(())
                }
                _ if name.starts_with(AUFS_METADATA) => Ok(()),
                // A bare `.wh.` hides nothing: it is a file with a strange name.
                "" => self.non_whiteout(&path, header, size, &raw_path, names.link, body),
                "." | ".." => Err(PathError::ClimbsOut(path.clone()).into()),
                hidden => {
                    self.fragment.hides.whiteouts.push(path::key(&path::join(directory, hidden)));
                    Ok(())
                }
            };
        }
        self.non_whiteout(&path, header, size, &raw_path, names.link, body)
    }

    fn non_whiteout(
        &mut self,
        path: &str,
        header: &Header,
        size: u64,
        raw_path: &[u8],
        long_link: Option<Vec<u8>>,
        body: &mut impl Read,
    ) -> Result<(), ScanError> {
        let kind = header.entry_type();
        let regular = matches!(kind, EntryType::Regular | EntryType::Continuous);
        if size > 0 && !regular {
            return Err(ambiguous(path, "it has a body although its kind has none"));
        }
        // Before POSIX, a trailing slash was all that told a directory from a file.
        if kind == EntryType::Directory || (regular && raw_path.ends_with(b"/")) {
            if size > 0 {
                return Err(ambiguous(path, "it is a directory with a body"));
            }
            self.forget(path);
            self.fragment.hides.directories.push(path::key(path));
            return Ok(());
        }
        if path.is_empty() {
            return Err(ambiguous("/", "the root is not a directory"));
        }
        let link = long_link.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        match kind {
            EntryType::Link => {
                let target = path::clean(&link.unwrap_or_default())?;
                self.hard_link(path, &target);
            }
            EntryType::Symlink => {
                self.replace(path);
                if catalog::lies_on_the_way(path) {
                    match String::from_utf8(link.unwrap_or_default()) {
                        Ok(target) if target.len() <= 4096 && self.has_room(path, &target) => {
                            self.fragment.symlinks.insert(path.to_owned(), target);
                        }
                        _ => self.gap(format!("symbolic link `{path}` was not followed")),
                    }
                }
            }
            _ if regular => {
                self.replace(path);
                self.regular_file(path, size, body)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => self.replace(path),
            _ => return Err(ambiguous(path, "its kind is not one that the OCI specification knows")),
        }
        Ok(())
    }

    fn regular_file(&mut self, path: &str, size: u64, body: &mut impl Read) -> Result<(), ScanError> {
        let want = catalog::wanted(path);
        let mut content = None;
        if let Some(want) = &want {
            if size <= want.limit && self.may_catalog(path, size) {
                content = Some(Vec::new());
            } else if want.beyond == Beyond::Refuse {
                let path = path.to_owned();
                return Err(ScanError::DatabaseTooLarge { path, size, limit: want.limit });
            } else {
                self.gap(format!("`{path}` was not read: it has {size} bytes"));
            }
        }
        let recorded = self.has_room(path, "");
        if !recorded {
            self.fragment.unrecorded_files += 1;
        }
        if !recorded && content.is_none() {
            return Ok(());
        }
        let mut hash = Sha256::new();
        let mut buffer = [0_u8; 64 * 1024];
        let mut found = 0_u64;
        loop {
            let count = body.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            found += count as u64;
            hash.update(&buffer[..count]);
            if let Some(content) = &mut content {
                content.extend_from_slice(&buffer[..count]);
            }
        }
        if found != size {
            return Err(ScanError::Truncated { path: path.to_owned(), expected: size, found });
        }
        if recorded {
            let digest = Digest::from_sha256(hash.finalize().into());
            self.fragment.files.insert(path.to_owned(), FileRecord { size, digest });
        }
        if let (Some(content), Some(want)) = (content, want) {
            let Parsed { raw, gaps } = (want.parse)(path, &content);
            gaps.into_iter().for_each(|gap| self.gap(gap));
            if let Some(raw) = raw {
                self.fragment.raws.insert(path.to_owned(), raw);
            }
        }
        Ok(())
    }

    fn hard_link(&mut self, path: &str, target: &str) {
        if path == target {
            return;
        }
        let file = self.fragment.files.get(target).cloned();
        let symlink = self.fragment.symlinks.get(target).cloned();
        let in_this_layer = file.is_some() || symlink.is_some() || self.fragment.raws.contains_key(target);
        self.replace(path);
        let room = self.has_room(path, target);
        if !room {
            self.fragment.unrecorded_files += 1;
        } else if let Some(file) = file {
            self.fragment.files.insert(path.to_owned(), file);
        } else if !in_this_layer {
            self.fragment.hard_links.insert(path.to_owned(), target.to_owned());
        }
        if let Some(symlink) = symlink.filter(|_| room) {
            self.fragment.symlinks.insert(path.to_owned(), symlink);
        } else if catalog::wanted(path).is_some() && (in_this_layer || !room) {
            let cost = self.costs.get(target).copied().unwrap_or_default();
            let readable = self.fragment.raws.contains_key(target) && self.may_catalog(path, cost);
            match self.fragment.raws.get(target).filter(|_| readable).cloned() {
                Some(raw) => {
                    self.fragment.raws.insert(path.to_owned(), raw);
                }
                None => self.gap(format!("`{path}` was not read: it is a hard link to `{target}`")),
            }
        }
    }

    /// Takes the room for reading one more file, where there is any.
    fn may_catalog(&mut self, path: &str, size: u64) -> bool {
        let bytes = self.cataloged_bytes.saturating_add(size).saturating_add(path.len() as u64);
        let room = self.cataloged < MAX_CATALOGED_FILES && bytes <= MAX_CATALOGED_BYTES;
        if room {
            self.cataloged += 1;
            self.cataloged_bytes = bytes;
            self.costs.insert(path.to_owned(), size);
        }
        room
    }

    /// Takes the room for one more record, where there is any.
    fn has_room(&mut self, path: &str, target: &str) -> bool {
        let bytes = self.recorded_path_bytes + path.len() + target.len();
        let room = self.recorded < MAX_RECORDED && bytes <= MAX_RECORDED_PATH_BYTES;
        if room {
            self.recorded += 1;
            self.recorded_path_bytes = bytes;
        }
        room
    }

    /// A non-directory replaces what this layer said before about the path and everything below it.
    fn replace(&mut self, path: &str) {
        self.forget(path);
        let below = format!("{path}/");
        forget_below(&mut self.fragment.raws, &below);
        forget_below(&mut self.fragment.files, &below);
        forget_below(&mut self.fragment.symlinks, &below);
        forget_below(&mut self.fragment.hard_links, &below);
        self.fragment.hides.non_directories.push(path::key(path));
    }

    fn forget(&mut self, path: &str) {
        self.fragment.raws.remove(path);
        self.fragment.files.remove(path);
        self.fragment.symlinks.remove(path);
        self.fragment.hard_links.remove(path);
    }

    fn gap(&mut self, gap: String) {
        if self.fragment.gaps.len() < MAX_GAPS {
            self.fragment.gaps.push(gap);
        } else if self.fragment.gaps.len() == MAX_GAPS {
            self.fragment.gaps.push("further files were not read".to_owned());
        }
    }

    fn finish(mut self) -> LayerFragment {
        self.fragment.scanner = SCANNER_VERSION.to_owned();
        self.fragment.hides.finish();
        self.fragment
    }
}

fn forget_below<T>(map: &mut BTreeMap<String, T>, below: &str) {
    let gone: Vec<String> = map
        .range::<str, _>((std::ops::Bound::Included(below), std::ops::Bound::Unbounded))
        .map(|(path, _)| path.clone())
        .take_while(|path| path.starts_with(below))
        .collect();
    for path in gone {
        map.remove(&path);
    }
}
