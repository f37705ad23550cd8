//! Files below one open directory: no symbolic link is followed, writes are whole or absent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::domain::digest::Digest;

const LOCK: &str = ".index.lock";
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

/// An open directory.
pub(super) struct Directory(OwnedFd);

/// What was read.
pub(super) enum Content {
    Whole(Bytes),
    TooLarge,
}

impl Directory {
    /// Opens the directory that the administrator named; here alone links are followed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens a directory inside; `None` when it is absent.
    pub(super) fn child(&self, name: &str) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.0, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a directory inside, creating it where it is absent.
    pub(super) fn make_child(&self, name: &str) -> io::Result<Self> {
        match mkdirat(&self.0, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => rustix::fs::fsync(&self.0)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        self.child(name)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Opens a regular file; `None` when it is absent.
    fn file(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        // Without NONBLOCK a named pipe in the file's place would hold us for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match openat(&self.0, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let status = fstat(&fd)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(io::Error::other(format!("`{name}` is not a regular file")));
        }
        Ok(Some((File::from(fd), u64::try_from(status.st_size).unwrap_or(u64::MAX))))
    }

    /// Returns whether there is a regular file of this name.
    pub(super) fn has(&self, name: &str) -> io::Result<bool> {
        Ok(self.file(name)?.is_some())
    }

    /// Reads a file of at most `limit` bytes; `None` when it is absent.
    pub(super) fn read(&self, name: &str, limit: u64) -> io::Result<Option<Content>> {
        let Some((file, size)) = self.file(name)? else { return Ok(None) };
        if size > limit {
            return Ok(Some(Content::TooLarge));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Ok(Some(Content::TooLarge));
        }
        Ok(Some(Content::Whole(bytes.into())))
    }

    /// Copies a file to the new file `target`, at most `limit` bytes and one; returns digest and length of
    /// what was copied, `None` when it is absent.
    pub(super) fn copy_to(&self, name: &str, target: &Path, limit: u64) -> io::Result<Option<(Digest, u64)>> {
        let Some((mut file, _)) = self.file(name)? else { return Ok(None) };
        let mut copied = File::create_new(target)?;
        let outcome = copy(&mut file, &mut copied, limit);
        if outcome.is_err() {
            let _ = std::fs::remove_file(target);
        }
        outcome.map(Some)
    }

    /// Returns whether the blob is there with exactly its content.
    pub(super) fn holds(&self, digest: &Digest, size: u64) -> io::Result<bool> {
        let Some((mut file, found)) = self.file(digest.hex())? else { return Ok(false) };
        if found != size {
            return Ok(false);
        }
        let (hash, _) = copy(&mut file, &mut io::sink(), size)?;
        Ok(hash == *digest)
    }

    /// Writes a file that is whole as soon as it has its name; `uploads` is where it grows.
    pub(super) fn write(&self, uploads: &Directory, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_if(uploads, name, &mut io::Cursor::new(bytes), bytes.len() as u64, |_, _| true)?;
        Ok(())
    }

    /// Writes a blob under its name if its content and size are as declared; returns what they are.
    pub(super) fn write_checked(
        &self,
        uploads: &Directory,
        source: &mut dyn Read,
        digest: &Digest,
        size: u64,
    ) -> io::Result<(Digest, u64)> {
        let good = |found: &Digest, length| found == digest && length == size;
        self.write_if(uploads, digest.hex(), source, size, good)
    }

    fn write_if(
        &self,
        uploads: &Directory,
        name: &str,
        source: &mut dyn Read,
        limit: u64,
        good: impl Fn(&Digest, u64) -> bool,
    ) -> io::Result<(Digest, u64)> {
        let (mut file, growing) = uploads.new_file()?;
        let outcome = copy(source, &mut file, limit).and_then(|(found, length)| {
            if good(&found, length) {
                file.sync_all()?;
                renameat(&uploads.0, growing.as_str(), &self.0, name)?;
                rustix::fs::fsync(&self.0)?;
                Ok((found, length, true))
            } else {
                Ok((found, length, false))
            }
        });
        if !matches!(outcome, Ok((_, _, true))) {
            // The first error tells; a file that cannot be removed now is swept later.
            let _ = unlinkat(&uploads.0, growing.as_str(), AtFlags::empty());
        }
        outcome.map(|(found, length, _)| (found, length))
    }

    /// Creates a file that is locked for as long as its writer lives.
    fn new_file(&self) -> io::Result<(File, String)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = format!("{}-{}", std::process::id(), next_number());
            match openat(&self.0, name.as_str(), flags, Mode::from_raw_mode(0o644)) {
                Ok(fd) => {
                    let file = File::from(fd);
                    // A sweeper may have come between the two calls: then the name is gone.
                    if file.try_lock().is_ok() && fstat(&file)?.st_nlink > 0 {
                        return Ok((file, name));
                    }
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes what writers left that were killed: files that nobody locks.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if entry.file_type() != FileType::RegularFile {
                continue;
            }
            let Ok(fd) = openat(&self.0, name, flags, Mode::empty()) else { continue };
            let left = File::from(fd);
            // Held until the name is gone, so that no writer takes the file for its own in between.
            if left.try_lock().is_ok() {
                let _ = unlinkat(&self.0, name, AtFlags::empty());
            }
        }
        Ok(())
    }

    /// Takes the lock for changes of the index; it ends with the returned file.
    pub(super) fn lock(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(&self.0, LOCK, flags, Mode::from_raw_mode(0o644))?);
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    let seconds = LOCK_PATIENCE.as_secs();
                    return Err(io::Error::other(format!(
                        "another process holds the lock for over {seconds} s"
                    )));
                }
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// Copies at most `limit` bytes and one, so that too much is noticed and not written for ever.
fn copy(source: &mut dyn Read, target: &mut dyn Write, limit: u64) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut length = 0;
    let mut source = source.take(limit.saturating_add(1));
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok((Digest::from_sha256(hasher.finalize().into()), length)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        target.write_all(&buffer[..read])?;
        length += read as u64;
    }
}

/// Returns a number that no other write of this process has; the kernel settles the rest.
fn next_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
