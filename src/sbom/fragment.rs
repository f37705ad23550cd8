//! What one layer contributes, before any other layer is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::catalog::Raw;
use crate::domain::digest::Digest;

/// Changes whenever the same bytes would give another fragment; part of a cache key with the diff id.
pub const SCANNER_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");

/// What one layer contributes: a pure function of its bytes and [`SCANNER_VERSION`], fit for a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFragment {
    pub(super) scanner: String,
    pub(super) hides: Hides,
    /// Files that a cataloger read, by path.
    pub(super) raws: BTreeMap<String, Raw>,
    /// Regular files, by path.
    pub(super) files: BTreeMap<String, FileRecord>,
    /// Symbolic links that lie on the way to a package database.
    pub(super) symlinks: BTreeMap<String, String>,
    /// Hard links to a file of a lower layer.
    pub(super) hard_links: BTreeMap<String, String>,
    /// Regular files beyond the bounds: counted, not recorded.
    pub(super) unrecorded_files: u64,
    /// What should have been read and was not.
    pub(super) gaps: Vec<String>,
}

impl LayerFragment {
    /// Reports whether this version of the scanner made the fragment; a cache must ask.
    pub fn is_current(&self) -> bool {
        self.scanner == SCANNER_VERSION
    }
}

/// Which paths of lower layers this layer hides, as sorted keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hides {
    pub(super) whiteouts: Vec<u64>,
    pub(super) opaques: Vec<u64>,
    pub(super) non_directories: Vec<u64>,
    pub(super) directories: Vec<u64>,
}

impl Hides {
    /// Sorts the keys, so that they can be searched and the fragment does not depend on tar order.
    pub(super) fn finish(&mut self) {
        for keys in [&mut self.whiteouts, &mut self.opaques, &mut self.non_directories, &mut self.directories]
        {
            keys.sort_unstable();
            keys.dedup();
            keys.shrink_to_fit();
        }
    }

    /// Reports whether a lower non-directory is hidden; `keys` are those of its path, upwards.
    pub(super) fn hide(&self, keys: &[u64]) -> bool {
        let has = |set: &[u64], key: &u64| set.binary_search(key).is_ok();
        has(&self.directories, &keys[0])
            || keys.iter().any(|key| has(&self.whiteouts, key) || has(&self.non_directories, key))
            || keys[1..].iter().any(|key| has(&self.opaques, key))
    }
}

/// A regular file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    pub(super) size: u64,
    pub(super) digest: Digest,
}
