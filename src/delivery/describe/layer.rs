//! One layer: normalised, hashed and scanned in one reading, compressed in a second where nobody has it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;

use super::entries::TarError;
use super::error::DescribeError;
use super::normalise::Normalised;
use super::spool::{BUFFER, Spool, SpoolReader, Spooled};
use super::{KnownLayer, LayerOrigin};
use crate::domain::digest::Digest;

const LEVEL: Compression = Compression::new(6);

/// What becomes of a layer, the file still removed if nobody takes it.
pub(super) struct FinishedLayer<F> {
    pub(super) diff_id: Digest,
    pub(super) blob: Digest,
    pub(super) size: u64,
    pub(super) file: Option<TempPath>,
    pub(super) fragment: F,
    pub(super) uncompressed: u64,
}

/// A layer that is still to be finished.
pub(super) struct PendingLayer<'a> {
    pub(super) number: usize,
    pub(super) origin: LayerOrigin,
    pub(super) raw: &'a Spooled,
    pub(super) spool: &'a Spool,
    pub(super) commit_time: i64,
    pub(super) work_dir: &'a Path,
}

impl PendingLayer<'_> {
    /// Finishes the layer.
    pub(super) fn finish<F>(
        &self,
        scan: &(dyn Fn(&mut dyn Read) -> Result<F, String> + Sync),
        known: &(dyn Fn(&Digest) -> Option<KnownLayer> + Sync),
    ) -> Result<FinishedLayer<F>, DescribeError> {
        let mut tar = Hashing { inner: self.open(), hash: Sha256::new(), length: 0 };
        let fragment = scan(&mut tar);
        // A refusal of ours explains a failed scan, never the other way round.
        let rest = match tar.inner.refusal() {
            Some(refusal) => return Err(self.refused(refusal)),
            None => copy(&mut tar, &mut io::sink()),
        };
        if let Err(error) = rest {
            return Err(self.refused(tar.inner.refusal().unwrap_or(TarError::Read(error))));
        }
        let fragment = fragment.map_err(|reason| DescribeError::Scan { layer: self.number, reason })?;
        let uncompressed = tar.length;
        let diff_id = Digest::from_sha256(tar.hash.finalize().into());
        let (blob, size, file) = match known(&diff_id) {
            Some(KnownLayer { digest, size }) => (digest, size, None),
            None => self.compress()?,
        };
        Ok(FinishedLayer { diff_id, blob, size, file, fragment, uncompressed })
    }

    fn open(&self) -> FinalTar<'_> {
        let raw = self.spool.open(self.raw);
        match self.origin {
            LayerOrigin::Base => FinalTar::Unchanged(raw),
            LayerOrigin::Own => FinalTar::Normalised(Box::new(Normalised::new(raw, self.commit_time))),
        }
    }

    fn refused(&self, source: TarError) -> DescribeError {
        DescribeError::Layer { layer: self.number, source }
    }

    fn compress(&self) -> Result<(Digest, u64, Option<TempPath>), DescribeError> {
        let disk = |source| DescribeError::Disk { what: "write a compressed layer".to_owned(), source };
        let file = tempfile::Builder::new()
            .prefix("layer-")
            .suffix(".tar.gz")
            .tempfile_in(self.work_dir)
            .map_err(disk)?;
        let (file, path) = file.into_parts();
        // 255 is "unknown system"; with no time and no name the bytes depend on the content alone.
        let out = HashingWriter { inner: file, hash: Sha256::new(), length: 0 };
        let out = io::BufWriter::with_capacity(BUFFER, out);
        let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(out, LEVEL);
        copy(&mut self.open(), &mut gzip).map_err(disk)?;
        let out = gzip.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
        let out = out.map_err(disk)?;
        Ok((Digest::from_sha256(out.hash.finalize().into()), out.length, Some(path)))
    }
}

enum FinalTar<'a> {
    Unchanged(SpoolReader<'a>),
    Normalised(Box<Normalised<SpoolReader<'a>>>),
}

impl FinalTar<'_> {
    fn refusal(&mut self) -> Option<TarError> {
        match self {
            Self::Unchanged(_) => None,
            Self::Normalised(normalised) => normalised.refusal(),
        }
    }
}

impl Read for FinalTar<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unchanged(raw) => raw.read(buffer),
            Self::Normalised(normalised) => normalised.read(buffer),
        }
    }
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
    length: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.length += read as u64;
        Ok(read)
    }
}

struct HashingWriter {
    inner: File,
    hash: Sha256,
    length: u64,
}

impl Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0u8; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
