//! The members of the export, one behind the other in a single file without a name.
//!
//! The file takes its space with it when the process ends, however it ends.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::domain::digest::Digest;

/// Size of the buffers that content goes through.
pub(super) const BUFFER: usize = 256 * 1024;

/// Bytes that were spooled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spooled {
    offset: u64,
    pub(super) size: u64,
    pub(super) digest: Digest,
}

/// The file.
pub(super) struct Spool {
    file: File,
    length: u64,
}

impl Spool {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(directory)?, length: 0 })
    }

    /// Starts the next piece.
    pub(super) fn piece(&mut self) -> Piece<'_> {
        let offset = self.length;
        Piece { spool: self, offset, hash: Sha256::new() }
    }

    /// Returns a reader of what was spooled; readers do not disturb each other.
    pub(super) fn open(&self, spooled: &Spooled) -> SpoolReader<'_> {
        let range = SpoolRange { file: &self.file, position: spooled.offset, left: spooled.size };
        BufReader::with_capacity(BUFFER, range)
    }
}

/// A piece that is being spooled.
pub(super) struct Piece<'a> {
    spool: &'a mut Spool,
    offset: u64,
    hash: Sha256,
}

impl Piece<'_> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.spool.file.write_all(bytes)?;
        self.spool.length += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }

    pub(super) fn finish(self) -> Spooled {
        Spooled {
            offset: self.offset,
            size: self.spool.length - self.offset,
            digest: Digest::from_sha256(self.hash.finalize().into()),
        }
    }
}

/// A reader of one piece.
pub(super) type SpoolReader<'a> = BufReader<SpoolRange<'a>>;

/// The range of the spool that a reader sees.
pub(super) struct SpoolRange<'a> {
    file: &'a File,
    position: u64,
    left: u64,
}

impl Read for SpoolRange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..want], self.position)?;
        if read == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
