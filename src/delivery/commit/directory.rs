//! A commit's tree as plain files on the host, for read-only binds into a hub's stack.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

use super::{CommitError, CommitTree};
use crate::domain::commit::EntryMode;

impl CommitTree {
    /// Returns every file and link with its path; directories follow from the paths.
    pub fn paths(&self) -> impl Iterator<Item = (&str, EntryMode)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry.mode))
    }

    /// Writes the tree into `directory`, which must not exist: files first and links last, so that no
    /// link is ever followed.
    pub fn write_directory(&self, directory: &Path) -> Result<(), CommitError> {
        fs::DirBuilder::new().mode(0o755).create(directory)?;
        let is_link = |mode: EntryMode| mode == EntryMode::Symlink;
        for (path, entry) in self.entries.iter().filter(|(_, entry)| !is_link(entry.mode)) {
            let at = directory.join(path);
            make_parents(directory, path)?;
            let mode = if entry.mode == EntryMode::Executable { 0o755 } else { 0o644 };
            let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(at)?;
            let mut file = &self.spool;
            file.seek(SeekFrom::Start(entry.offset))?;
            io::copy(&mut file.take(entry.size), &mut out)?;
        }
        for (path, entry) in self.entries.iter().filter(|(_, entry)| is_link(entry.mode)) {
            make_parents(directory, path)?;
            let target = self.content(entry)?;
            symlink(std::ffi::OsStr::from_bytes(&target), directory.join(path))?;
        }
        Ok(())
    }
}

/// Paths of a tree never climb: the commit was refused otherwise.
fn make_parents(directory: &Path, path: &str) -> io::Result<()> {
    match Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => fs::DirBuilder::new().recursive(true).mode(0o755).create(directory.join(parent)),
        None => Ok(()),
    }
}
