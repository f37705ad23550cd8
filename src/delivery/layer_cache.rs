//! Which compressed blob a layer's diff id gave on this host: layers that the store already has are
//! neither compressed nor sent again. Only this process writes the cache; a wrong entry can only cost
//! time, since the store is asked for the blob and clients check every digest.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest;

/// The compressed form of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachedLayer {
    pub blob: Digest,
    pub size: u64,
}

/// A directory of small files, one a diff id.
pub struct LayerCache {
    directory: PathBuf,
}

impl LayerCache {
    /// Names the cache of a state directory. The compressor is part of the name: another one gives
    /// other blobs for the same layer.
    pub fn new(state_dir: &std::path::Path) -> Self {
        Self { directory: state_dir.join("layers").join("gzip-6") }
    }

    /// Looks a layer up; anything unreadable counts as absent.
    pub fn get(&self, diff_id: &Digest) -> Option<CachedLayer> {
        let bytes = std::fs::read(self.directory.join(diff_id.hex())).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Remembers a layer that the store accepted; a failure only costs time later.
    pub fn put(&self, diff_id: &Digest, layer: &CachedLayer) {
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.directory)?;
            let temporary = tempfile::NamedTempFile::new_in(&self.directory)?;
            std::fs::write(temporary.path(), serde_json::to_vec(layer)?)?;
            temporary.persist(self.directory.join(diff_id.hex()))?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "cannot remember a layer");
        }
    }
}
