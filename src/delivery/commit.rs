//! Takes a commit's tree as raw objects and recomputes every id, so that whoever serves them need not
//! be trusted. What comes out is the only source of tests and build contexts.
//!
//! The objects come over `git cat-file --batch`: no filters, no attributes, no working tree.

mod directory;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::domain::commit::{
    Commit, EntryMode, MAX_LINK_BYTES, MAX_META_OBJECT_BYTES, ObjectError, ObjectId, ObjectKind, check_link,
    is_lfs_pointer, join, parse_tree,
};
use crate::failure::Failure;

/// Most files and directories in one tree.
const MAX_ENTRIES: usize = 200_000;
/// Most bytes of all paths together: a few objects of a tree can unfold to any number of long paths.
const MAX_PATH_BYTES: usize = 32 * 1024 * 1024;
/// What is too large when the files together are.
const FILES: &str = "the sum of all files in bytes";
/// Deepest directory.
const MAX_DEPTH: usize = 64;
/// Requests in flight before their answers are read.
const BATCH: usize = 512;

/// Why a commit's tree cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("the repository does not have {kind} {id}", kind = kind.as_str())]
    Missing { kind: ObjectKind, id: ObjectId },
    #[error("git answered what is not the cat-file protocol: {0}")]
    Protocol(String),
    #[error("the objects cannot be read or kept")]
    Io(#[from] std::io::Error),
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        let what = "cannot take the commit's tree";
        match &error {
            CommitError::Object(ObjectError::Submodule { .. } | ObjectError::LfsPointer { .. }) => {
                Failure::refused_to_publish(what)
                    .because(&error)
                    .hint("commit the files themselves, or take them from the base image")
            }
            CommitError::Object(ObjectError::Link { .. }) => Failure::refused_to_publish(what)
                .because(&error)
                .hint("make the link point to a path inside the repository, or commit what it points to"),
            CommitError::Object(ObjectError::LinkInstead { .. }) => Failure::refused_to_publish(what)
                .because(&error)
                .hint("commit a plain file in place of the link"),
            CommitError::Object(ObjectError::TooLarge { what: FILES, .. }) => Failure::refused_to_publish(what)
                .because(&error)
                .hint("make the files smaller or fewer")
                .hint("for the runner's administrator: the limit is `sandbox.workspace_mib` in the host settings"),
            CommitError::Object(ObjectError::TooLarge { .. }) => {
                Failure::refused_to_publish(what).because(&error).hint("make the repository's tree smaller")
            }
            CommitError::Object(_) => Failure::refused_to_publish(what)
                .because(&error)
                .hint("check the repository with `git fsck --strict`, mend the commit and push again"),
            CommitError::Missing { .. } | CommitError::Protocol(_) | CommitError::Io(_) => Failure::system(what)
                .because_of(&error)
                .hint("retry the job; if it fails again, the runner's administrator finds git's words in the host's log")
                .note("runner problem, not your script"),
        }
    }
}

/// One file or link of the tree; directories are not kept, they follow from the paths.
#[derive(Debug, Clone)]
struct Entry {
    mode: EntryMode,
    offset: u64,
    size: u64,
}

/// A commit with its whole tree, recomputed.
pub struct CommitTree {
    commit: Commit,
    entries: BTreeMap<String, Entry>,
    spool: File,
}

/// What of a tree goes into a tar.
#[derive(Debug, Clone, Copy)]
pub struct TarOwner {
    pub uid: u32,
    pub gid: u32,
}

impl CommitTree {
    /// Fetches `id` and everything below it over the cat-file protocol; blobs are kept in an unnamed
    /// file in `spool_dir`, at most `limit` bytes of them.
    pub async fn fetch(
        id: ObjectId,
        requests: impl AsyncWrite + Unpin,
        answers: impl AsyncRead + Unpin,
        spool_dir: &Path,
        limit: u64,
    ) -> Result<Self, CommitError> {
        let mut objects = Objects { requests, answers: BufReader::with_capacity(256 * 1024, answers) };
        let commit_bytes = objects.small(id, ObjectKind::Commit).await?;
        let commit = Commit::parse(id, &commit_bytes)?;

        let mut files: Vec<(String, EntryMode, ObjectId)> = Vec::new();
        let mut level: Vec<(String, ObjectId)> = vec![(String::new(), commit.tree())];
        let mut count = 0;
        let mut path_bytes = 0;
        for depth in 0.. {
            if level.is_empty() {
                break;
            }
            if depth > MAX_DEPTH {
                return Err(ObjectError::TooLarge {
                    what: "the depth of directories",
                    limit: MAX_DEPTH as u64,
                }
                .into());
            }
            let mut next = Vec::new();
            for batch in level.chunks(BATCH) {
                objects.ask(batch.iter().map(|(_, id)| *id)).await?;
                for (path, id) in batch {
                    let bytes = objects.answer_small(*id, ObjectKind::Tree).await?;
                    for entry in parse_tree(*id, &bytes, path)? {
                        count += 1;
                        if count > MAX_ENTRIES {
                            return Err(ObjectError::TooLarge {
                                what: "the number of files",
                                limit: MAX_ENTRIES as u64,
                            }
                            .into());
                        }
                        let path = join(path, &entry.name);
                        path_bytes += path.len();
                        if path_bytes > MAX_PATH_BYTES {
                            return Err(ObjectError::TooLarge {
                                what: "the sum of all paths in bytes",
                                limit: MAX_PATH_BYTES as u64,
                            }
                            .into());
                        }
                        match entry.mode {
                            EntryMode::Directory => next.push((path, entry.id)),
                            mode => files.push((path, mode, entry.id)),
                        }
                    }
                }
            }
            level = next;
        }

        let mut spool = tempfile::tempfile_in(spool_dir)?;
        let mut written = 0u64;
        let mut places: HashMap<ObjectId, (u64, u64)> = HashMap::new();
        let mut wanted: Vec<(ObjectId, &str)> = Vec::new();
        for (path, _, id) in &files {
            if !places.contains_key(id) {
                places.insert(*id, (0, 0));
                wanted.push((*id, path));
            }
        }
        for batch in wanted.chunks(BATCH) {
            objects.ask(batch.iter().map(|(id, _)| *id)).await?;
            for (id, path) in batch {
                let size = objects.answer_blob(*id, path, (written, limit), &mut spool).await?;
                places.insert(*id, (written, size));
                written += size;
            }
        }
        let entries: BTreeMap<String, Entry> = files
            .into_iter()
            .map(|(path, mode, id)| {
                let (offset, size) = places[&id];
                (path, Entry { mode, offset, size })
            })
            .collect();
        let tree = Self { commit, entries, spool };
        // One blob under many names is stored once here, but unfolds in the sandbox and in the build.
        if tree.bytes() > limit {
            return Err(ObjectError::TooLarge { what: FILES, limit }.into());
        }
        tree.check_links()?;
        Ok(tree)
    }

    fn check_links(&self) -> Result<(), CommitError> {
        for (path, entry) in self.entries.iter().filter(|(_, entry)| entry.mode == EntryMode::Symlink) {
            if entry.size > MAX_LINK_BYTES as u64 {
                check_link(path, &vec![b'a'; MAX_LINK_BYTES + 1])?;
            }
            check_link(path, &self.content(entry)?)?;
        }
        Ok(())
    }

    /// Returns the commit.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Returns the number of files and links.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether the tree holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the sum of all file sizes, in bytes; a blob counts once for each of its names.
    pub fn bytes(&self) -> u64 {
        self.entries.values().fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// Returns a regular file's content, at most `limit` bytes; `None` when there is no such file.
    /// A path that is or leads through a symbolic link is an error, not an absent file: its author means
    /// it to count, and it would count differently for whoever follows it.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, CommitError> {
        let parents = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        for part in parents.chain([path]) {
            if self.entries.get(part).is_some_and(|entry| entry.mode == EntryMode::Symlink) {
                return Err(ObjectError::LinkInstead { path: crate::job_log::printable(path) }.into());
            }
        }
        let Some(entry) = self.entries.get(path) else { return Ok(None) };
        if entry.size > limit {
            return Err(ObjectError::TooLarge { what: "the file", limit }.into());
        }
        Ok(Some(self.content(entry)?))
    }

    fn content(&self, entry: &Entry) -> Result<Vec<u8>, CommitError> {
        let mut file = &self.spool;
        file.seek(SeekFrom::Start(entry.offset))?;
        let mut bytes = Vec::new();
        file.take(entry.size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the files below `base` that `keep` accepts as a tar, in path order, with the commit's time,
    /// so that the same commit gives the same bytes. `keep` sees paths relative to `base`.
    pub fn write_tar(
        &self,
        base: &str,
        prefix: &str,
        owner: TarOwner,
        keep: &dyn Fn(&str) -> bool,
        out: impl Write,
    ) -> Result<(), CommitError> {
        let mut tar = tar::Builder::new(out);
        let mut directories = std::collections::BTreeSet::new();
        for (path, entry) in &self.entries {
            let relative = match base {
                "" => path.as_str(),
                base => match path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')) {
                    Some(relative) => relative,
                    None => continue,
                },
            };
            if !keep(relative) {
                continue;
            }
            let name = format!("{prefix}{relative}");
            for (slash, _) in name.match_indices('/') {
                let directory = &name[..slash];
                if !directory.is_empty() && directories.insert(directory.to_owned()) {
                    let mut header = self.header(owner, tar::EntryType::Directory, 0o755, 0);
                    tar.append_data(&mut header, format!("{directory}/"), std::io::empty())?;
                }
            }
            match entry.mode {
                EntryMode::Symlink => {
                    let target = self.content(entry)?;
                    if target.is_empty() || target.len() > 4095 || target.contains(&0) {
                        let why = "a link's target has 1 to 4095 bytes and no NUL";
                        return Err(ObjectError::Path { path: path.clone(), why }.into());
                    }
                    let mut header = self.header(owner, tar::EntryType::Symlink, 0o777, 0);
                    // Byte for byte: a target need not be UTF-8.
                    tar.append_link(&mut header, &name, OsStr::from_bytes(&target))?;
                }
                mode => {
                    let bits = if mode == EntryMode::Executable { 0o755 } else { 0o644 };
                    let mut header = self.header(owner, tar::EntryType::Regular, bits, entry.size);
                    let mut file = &self.spool;
                    file.seek(SeekFrom::Start(entry.offset))?;
                    tar.append_data(&mut header, &name, file.take(entry.size))?;
                }
            }
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }

    fn header(&self, owner: TarOwner, kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.uid.into());
        header.set_gid(owner.gid.into());
        header.set_mtime(self.commit.time().unsigned_abs());
        header.set_size(size);
        header
    }
}

struct Objects<W, R> {
    requests: W,
    answers: BufReader<R>,
}

impl<W: AsyncWrite + Unpin, R: AsyncRead + Unpin> Objects<W, R> {
    async fn ask(&mut self, ids: impl Iterator<Item = ObjectId>) -> Result<(), CommitError> {
        // At most BATCH lines of 65 bytes: less than any pipe holds, so writing cannot wait on reading.
        let mut lines = String::new();
        for id in ids {
            lines.push_str(&format!("{id}\n"));
        }
        self.requests.write_all(lines.as_bytes()).await?;
        self.requests.flush().await?;
        Ok(())
    }

    async fn small(&mut self, id: ObjectId, kind: ObjectKind) -> Result<Vec<u8>, CommitError> {
        self.ask(std::iter::once(id)).await?;
        self.answer_small(id, kind).await
    }

    async fn answer_small(&mut self, id: ObjectId, kind: ObjectKind) -> Result<Vec<u8>, CommitError> {
        let size = self.answer_header(id, kind).await?;
        if size > MAX_META_OBJECT_BYTES {
            return Err(ObjectError::TooLarge {
                what: "a directory or commit",
                limit: MAX_META_OBJECT_BYTES,
            }
            .into());
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| CommitError::Protocol("size".into()))?];
        self.answers.read_exact(&mut bytes).await?;
        self.end_of_answer().await?;
        Ok(bytes)
    }

    async fn answer_blob(
        &mut self,
        id: ObjectId,
        path: &str,
        (written, limit): (u64, u64),
        spool: &mut File,
    ) -> Result<u64, CommitError> {
        let size = self.answer_header(id, ObjectKind::Blob).await?;
        if size > limit.saturating_sub(written) {
            return Err(ObjectError::TooLarge { what: FILES, limit }.into());
        }
        let mut hasher = id.hasher(ObjectKind::Blob, size);
        let mut left = size;
        let mut buffer = vec![0; 256 * 1024];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = self.answers.read(&mut buffer[..most]).await?;
            if n == 0 {
                return Err(CommitError::Protocol("it ended within a file".into()));
            }
            if left == size && is_lfs_pointer(&buffer[..n]) && size < 1024 {
                return Err(ObjectError::LfsPointer { path: path.to_owned() }.into());
            }
            hasher.update(&buffer[..n]);
            spool.write_all(&buffer[..n])?;
            left -= n as u64;
        }
        self.end_of_answer().await?;
        hasher.finish()?;
        Ok(size)
    }

    async fn answer_header(&mut self, id: ObjectId, kind: ObjectKind) -> Result<u64, CommitError> {
        let mut line = Vec::new();
        (&mut self.answers).take(256).read_until(b'\n', &mut line).await?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        if text.is_empty() {
            return Err(CommitError::Protocol("it ended without an answer".into()));
        }
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            [found, "missing"] if found == id.to_string() => Err(CommitError::Missing { kind, id }),
            [found, word, size] if found == id.to_string() && word == kind.as_str() => {
                size.parse().map_err(|_| CommitError::Protocol(format!("size `{size}`")))
            }
            _ => Err(CommitError::Protocol(crate::job_log::printable(
                &text.chars().take(120).collect::<String>(),
            ))),
        }
    }

    async fn end_of_answer(&mut self) -> Result<(), CommitError> {
        match self.answers.read_u8().await? {
            b'\n' => Ok(()),
            _ => Err(CommitError::Protocol("an object is longer than it says".into())),
        }
    }
}
