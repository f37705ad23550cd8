//! Reads the built image once: normalise, hash, scan, compress.
//!
//! The engine's export goes in, blobs of an OCI image come out: layers of the base image as they
//! were, layers above it with their times clamped to the commit's, a configuration and a manifest
//! that say nothing about when or where they were made. Nothing here talks to an engine or a
//! registry, and nothing in the export is trusted.

mod config;
mod difference;
mod entries;
mod error;
mod export;
mod header;
mod layer;
mod normalise;
mod pax;
mod spool;
mod stream;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;

pub use difference::first_difference;
pub use entries::TarError;
pub use error::DescribeError;
pub use stream::BlockingStream;

use crate::domain::digest::Digest;
use config::{Annotated, CONFIG_TYPE, ImageConfig, LAYER_TYPE, Part};
use layer::{FinishedLayer, PendingLayer};
use spool::Spool;

/// What is known about an image before it is read.
pub struct DescribeInput<'a> {
    /// Directory for large files; others must not be able to enter it.
    pub work_dir: &'a Path,
    /// Diff ids of the base image, lowest first; they count only if the image's own begin with all of them.
    pub base_layers: &'a [Digest],
    /// Time of the commit, in seconds since 1970.
    pub commit_time: i64,
    /// What the image says about itself; `created` comes from the commit's time.
    pub labels: ImageLabels,
    /// Image id that the engine named: the digest of the exported configuration.
    pub image_id: Option<&'a Digest>,
}

/// Values of `org.opencontainers.image.{version,revision,source}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLabels {
    pub version: String,
    pub revision: String,
    pub source: String,
}

/// A gzip-compressed layer that need not be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLayer {
    pub digest: Digest,
    pub size: u64,
}

/// How far the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescribeProgress {
    /// Bytes that came from the engine until now.
    Received { bytes: u64 },
    /// Layers that are complete.
    Layers { done: usize, total: usize },
}

/// Where a layer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerOrigin {
    /// The base image; published as it was.
    Base,
    /// The component's own Dockerfile; normalised.
    Own,
}

/// A layer of the image as it will be published.
#[derive(Debug)]
pub struct ReadLayer<F> {
    /// Digest of the tar archive.
    pub diff_id: Digest,
    /// Digest of the gzip-compressed archive.
    pub blob: Digest,
    /// Size of the gzip-compressed archive, in bytes.
    pub size: u64,
    /// The compressed archive, in the work directory; `None` when it was known already.
    pub file: Option<PathBuf>,
    /// What the scanner made of the archive.
    pub fragment: F,
    pub origin: LayerOrigin,
}

/// An image as it will be published.
#[derive(Debug)]
pub struct ReadImage<F> {
    /// Lowest first.
    pub layers: Vec<ReadLayer<F>>,
    pub config: Bytes,
    pub config_digest: Digest,
    pub manifest: Bytes,
    pub manifest_digest: Digest,
    pub architecture: String,
    pub os: String,
    /// Size of all layers before compression.
    pub uncompressed_bytes: u64,
}

/// Reads an export (`GET /images/{name}/get`) and returns the image as it will be published.
///
/// Blocks and uses as many threads as there are processors; see [`BlockingStream`] for callers that
/// are async. `scan` gets the tar archive of each layer as it will be published and need not read
/// it to its end; `known` is asked by diff id and may block. Memory does not grow with the image.
/// On an error no file is left in the work directory.
pub fn read_export<F: Send>(
    export: impl Read,
    input: &DescribeInput<'_>,
    scan: &(dyn Fn(&mut dyn Read) -> Result<F, String> + Sync),
    known: &(dyn Fn(&Digest) -> Option<KnownLayer> + Sync),
    progress: &(dyn Fn(DescribeProgress) + Sync),
) -> Result<ReadImage<F>, DescribeError> {
    let said = Annotated::new(&input.labels, input.commit_time)?;
    let mut spool = Spool::new(input.work_dir).map_err(|source| DescribeError::Disk {
        what: format!("make a file in `{}`", input.work_dir.display()),
        source,
    })?;
    let image = export::receive(export, &mut spool, input.image_id, progress)?;
    let config = ImageConfig::read(&image.config_member, &image.config)?;
    let base_layers = match image.diff_ids.starts_with(input.base_layers) {
        true => input.base_layers.len(),
        false => 0,
    };
    let origin = |i| if i < base_layers { LayerOrigin::Base } else { LayerOrigin::Own };
    let pending: Vec<PendingLayer<'_>> = (image.layers.iter().enumerate())
        .map(|(i, raw)| PendingLayer {
            number: i + 1,
            origin: origin(i),
            raw,
            spool: &spool,
            commit_time: input.commit_time,
            work_dir: input.work_dir,
        })
        .collect();
    let finished = finish_all(&pending, scan, known, progress)?;

    let uncompressed_bytes = finished.iter().map(|layer| layer.uncompressed).sum();
    let diff_ids = finished.iter().map(|layer| layer.diff_id.clone()).collect();
    let (architecture, os) = (config.architecture.clone(), config.os.clone());
    let config = config.write(&said, diff_ids, base_layers);
    let config_digest = Digest::of(&config);
    let part = |media_type, digest: &Digest, size| Part { media_type, digest: digest.clone(), size };
    let manifest = config::manifest(
        part(CONFIG_TYPE, &config_digest, config.len() as u64),
        finished.iter().map(|layer| part(LAYER_TYPE, &layer.blob, layer.size)).collect(),
        &said,
    );
    Ok(ReadImage {
        layers: keep(finished, origin)?,
        config,
        config_digest,
        manifest_digest: Digest::of(&manifest),
        manifest,
        architecture,
        os,
        uncompressed_bytes,
    })
}

/// Finishes the layers, the largest first, and returns them in their order, or the lowest one's error.
fn finish_all<F: Send>(
    pending: &[PendingLayer<'_>],
    scan: &(dyn Fn(&mut dyn Read) -> Result<F, String> + Sync),
    known: &(dyn Fn(&Digest) -> Option<KnownLayer> + Sync),
    progress: &(dyn Fn(DescribeProgress) + Sync),
) -> Result<Vec<FinishedLayer<F>>, DescribeError> {
    let mut order: Vec<usize> = (0..pending.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(pending[*i].raw.size));
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::with_capacity(pending.len()));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let Some(i) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let result = pending[*i].finish(scan, known);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            let mut results = results.lock().expect("no thread panics while it holds the results");
            results.push((*i, result));
            progress(DescribeProgress::Layers { done: results.len(), total: pending.len() });
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(pending.len());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().expect("no thread panics while it holds the results");
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

fn keep<F>(
    finished: Vec<FinishedLayer<F>>,
    origin: impl Fn(usize) -> LayerOrigin,
) -> Result<Vec<ReadLayer<F>>, DescribeError> {
    // Files are kept only when all is done; until then each would remove itself.
    let keep = |(i, layer): (usize, FinishedLayer<F>)| {
        let file = layer.file.map(|file| file.keep()).transpose().map_err(|error| DescribeError::Disk {
            what: "keep a compressed layer".to_owned(),
            source: error.error,
        })?;
        let FinishedLayer { diff_id, blob, size, fragment, .. } = layer;
        Ok(ReadLayer { diff_id, blob, size, file, fragment, origin: origin(i) })
    };
    finished.into_iter().enumerate().map(keep).collect()
}

/// Returns untrusted bytes as a short text without control characters.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(600)])
        .chars()
        .filter(|c| !c.is_control())
        .take(120)
        .collect()
}

#[cfg(test)]
mod tests;
