//! Raw git objects, and their ids recomputed from the bytes (gitformat-pack, "object types").
//!
//! Whoever hands over the bytes need not be trusted: an object counts only when its own content gives
//! the id that was asked for. SHA-1 is computed with collision detection, as git does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1_checked::Digest as _;
use sha2::Sha256;

/// Largest commit or tree object that is read, in bytes.
pub const MAX_META_OBJECT_BYTES: u64 = 16 * 1024 * 1024;

/// A git object id, SHA-1 (40 digits) or SHA-256 (64 digits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ObjectId {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

/// The kinds of git objects that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    Commit,
    Tree,
    Blob,
}

impl ObjectKind {
    /// Returns git's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Commit => "commit",
            ObjectKind::Tree => "tree",
            ObjectKind::Blob => "blob",
        }
    }
}

/// Why git objects are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error("`{0}` is not a commit id: expected 40 or 64 lower-case hexadecimal digits")]
    Id(String),
    #[error("{kind} {expected} has other content: its bytes give {found}", kind = kind.as_str())]
    OtherContent { kind: ObjectKind, expected: ObjectId, found: ObjectId },
    #[error("{kind} {id} carries a SHA-1 collision attack", kind = kind.as_str())]
    Collision { kind: ObjectKind, id: ObjectId },
    #[error("{kind} {id} is malformed: {why}", kind = kind.as_str())]
    Malformed { kind: ObjectKind, id: ObjectId, why: String },
    #[error("`{path}` is a submodule: submodules are not supported yet")]
    Submodule { path: String },
    #[error("`{path}` is a Git LFS pointer: LFS is not supported yet")]
    LfsPointer { path: String },
    #[error("`{path}` is not a path that a checkout may hold: {why}")]
    Path { path: String, why: &'static str },
    #[error("`{path}` is a symbolic link that cannot be taken over: {why}")]
    Link { path: String, why: &'static str },
    #[error(
        "`{path}` is or lies behind a symbolic link: what decides about a build is read from a plain file"
    )]
    LinkInstead { path: String },
    #[error("the tree is too large: {what} is over {limit}")]
    TooLarge { what: &'static str, limit: u64 },
}

/// Longest target of a symbolic link, in bytes: what Linux takes.
pub const MAX_LINK_BYTES: usize = 4095;

impl ObjectId {
    /// Starts the computation of an id of the same algorithm for `kind` with `size` bytes.
    pub fn hasher(&self, kind: ObjectKind, size: u64) -> ObjectHasher {
        let header = format!("{} {size}\0", kind.as_str());
        let mut inner = match self {
            ObjectId::Sha1(_) => HasherInner::Sha1(Box::new(sha1_checked::Sha1::new())),
            ObjectId::Sha256(_) => HasherInner::Sha256(Sha256::default()),
        };
        inner.update(header.as_bytes());
        ObjectHasher { inner, kind, expected: *self }
    }

    /// Checks that `bytes` are the object of this id.
    pub fn check(&self, kind: ObjectKind, bytes: &[u8]) -> Result<(), ObjectError> {
        let mut hasher = self.hasher(kind, bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish()
    }

    fn raw_len(&self) -> usize {
        match self {
            ObjectId::Sha1(_) => 20,
            ObjectId::Sha256(_) => 32,
        }
    }

    fn same_algorithm(&self, raw: &[u8]) -> Option<ObjectId> {
        match self {
            ObjectId::Sha1(_) => raw.try_into().ok().map(ObjectId::Sha1),
            ObjectId::Sha256(_) => raw.try_into().ok().map(ObjectId::Sha256),
        }
    }

    /// Returns the first 12 hexadecimal digits.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

/// A running id computation.
pub struct ObjectHasher {
    inner: HasherInner,
    kind: ObjectKind,
    expected: ObjectId,
}

enum HasherInner {
    Sha1(Box<sha1_checked::Sha1>),
    Sha256(Sha256),
}

impl HasherInner {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            HasherInner::Sha1(hasher) => hasher.update(bytes),
            HasherInner::Sha256(hasher) => sha2::Digest::update(hasher, bytes),
        }
    }
}

impl ObjectHasher {
    /// Adds content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    /// Ends the computation; it is an error when the id is not the one that was asked for.
    pub fn finish(self) -> Result<(), ObjectError> {
        let found = match self.inner {
            HasherInner::Sha1(hasher) => {
                let result = hasher.try_finalize();
                if result.has_collision() {
                    return Err(ObjectError::Collision { kind: self.kind, id: self.expected });
                }
                ObjectId::Sha1((*result.hash()).into())
            }
            HasherInner::Sha256(hasher) => ObjectId::Sha256(sha2::Digest::finalize(hasher).into()),
        };
        if found == self.expected {
            Ok(())
        } else {
            Err(ObjectError::OtherContent { kind: self.kind, expected: self.expected, found })
        }
    }
}

impl FromStr for ObjectId {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        let error = || ObjectError::Id(text.chars().take(80).collect());
        if text.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(error());
        }
        let bytes = hex::decode(text).map_err(|_| error())?;
        match bytes.len() {
            20 => Ok(ObjectId::Sha1(bytes.try_into().map_err(|_| error())?)),
            32 => Ok(ObjectId::Sha256(bytes.try_into().map_err(|_| error())?)),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for ObjectId {
    type Error = ObjectError;

    fn try_from(text: String) -> Result<Self, ObjectError> {
        text.parse()
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectId::Sha1(raw) => f.write_str(&hex::encode(raw)),
            ObjectId::Sha256(raw) => f.write_str(&hex::encode(raw)),
        }
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A commit whose bytes gave its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    id: ObjectId,
    tree: ObjectId,
    time: i64,
}

impl Commit {
    /// Parses a commit object after checking that `bytes` are the object `id`.
    pub fn parse(id: ObjectId, bytes: &[u8]) -> Result<Self, ObjectError> {
        id.check(ObjectKind::Commit, bytes)?;
        let malformed =
            |why: &str| ObjectError::Malformed { kind: ObjectKind::Commit, id, why: why.to_owned() };
        let mut lines = bytes.split(|b| *b == b'\n');
        let tree = lines
            .next()
            .and_then(|line| line.strip_prefix(b"tree "))
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| hex.parse::<ObjectId>().ok())
            .filter(|tree| tree.raw_len() == id.raw_len())
            .ok_or_else(|| malformed("no tree"))?;
        let committer = lines
            .take_while(|line| !line.is_empty())
            .find_map(|line| line.strip_prefix(b"committer "))
            .ok_or_else(|| malformed("no committer"))?;
        // `name <mail> seconds zone`: the name is free text, so the time is read from the right.
        let mut words = committer.rsplit(|b| *b == b' ');
        let time = words
            .nth(1)
            .and_then(|word| std::str::from_utf8(word).ok())
            .and_then(|word| word.parse::<i64>().ok())
            .filter(|time| (0..=253_402_300_799).contains(time))
            .ok_or_else(|| malformed("the committer's time is not between 1970 and 9999"))?;
        Ok(Self { id, tree, time })
    }

    /// Returns the commit's id.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// Returns the id of the root tree.
    pub fn tree(&self) -> ObjectId {
        self.tree
    }

    /// Returns the committer's time in seconds since 1970 (UTC).
    pub fn time(&self) -> i64 {
        self.time
    }
}

/// What one entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryMode {
    File,
    Executable,
    Symlink,
    Directory,
}

/// One entry of a tree object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    pub mode: EntryMode,
    pub name: String,
    pub id: ObjectId,
}

/// Parses a tree object below `at` after checking that `bytes` are the object `id`.
pub fn parse_tree(id: ObjectId, bytes: &[u8], at: &str) -> Result<Vec<TreeEntry>, ObjectError> {
    id.check(ObjectKind::Tree, bytes)?;
    let malformed = |why: &str| ObjectError::Malformed { kind: ObjectKind::Tree, id, why: why.to_owned() };
    let mut entries: Vec<TreeEntry> = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space =
            rest.iter().position(|b| *b == b' ').ok_or_else(|| malformed("an entry without a mode"))?;
        let end = rest.iter().position(|b| *b == 0).ok_or_else(|| malformed("an entry without an end"))?;
        if space > end || rest.len() < end + 1 + id.raw_len() {
            return Err(malformed("a truncated entry"));
        }
        let name = std::str::from_utf8(&rest[space + 1..end])
            .map_err(|_| malformed("a file name that is not UTF-8"))?
            .to_owned();
        let child = id
            .same_algorithm(&rest[end + 1..end + 1 + id.raw_len()])
            .ok_or_else(|| malformed("a short id"))?;
        let path = join(at, &name);
        let mode = match &rest[..space] {
            b"100644" | b"100664" => EntryMode::File,
            b"100755" => EntryMode::Executable,
            b"120000" => EntryMode::Symlink,
            b"40000" => EntryMode::Directory,
            b"160000" => return Err(ObjectError::Submodule { path }),
            _ => return Err(malformed("an unknown mode")),
        };
        let why = match name.as_str() {
            "" => Some("it has an empty part"),
            "." | ".." => Some("it climbs"),
            name if name.contains('/') => Some("a name holds a slash"),
            name if name.chars().any(char::is_control) => Some("a name holds a control character"),
            name if name.eq_ignore_ascii_case(".git") => Some("it is git's own directory"),
            _ if path.len() > 4000 => Some("it is longer than 4000 bytes"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(ObjectError::Path { path: crate::job_log::printable(&path), why });
        }
        if !names.insert(name.clone()) {
            return Err(malformed("two entries with one name"));
        }
        entries.push(TreeEntry { mode, name, id: child });
        rest = &rest[end + 1 + id.raw_len()..];
    }
    Ok(entries)
}

/// Checks where a symbolic link points: an absolute target is a mere text, a relative one stays in the tree.
pub fn check_link(path: &str, target: &[u8]) -> Result<(), ObjectError> {
    let refused = |why| Err(ObjectError::Link { path: crate::job_log::printable(path), why });
    let Ok(target) = std::str::from_utf8(target) else { return refused("its target is not UTF-8") };
    if target.is_empty() {
        return refused("it has no target");
    }
    if target.len() > MAX_LINK_BYTES {
        return refused("its target is longer than 4095 bytes");
    }
    if target.chars().any(char::is_control) {
        return refused("its target holds a control character");
    }
    if target.starts_with('/') {
        return Ok(());
    }
    let mut depth = path.matches('/').count();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return refused("it climbs out of the tree"),
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    Ok(())
}

/// Returns whether a file's content is a Git LFS pointer (git-lfs specification, "The Pointer").
pub fn is_lfs_pointer(content: &[u8]) -> bool {
    content.len() < 1024 && content.starts_with(b"version https://git-lfs.github.com/spec/")
}

/// Joins a directory and a name; the root is the empty text.
pub fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id_of(kind: ObjectKind, bytes: &[u8]) -> ObjectId {
        let mut hasher = sha1_checked::Sha1::new();
        hasher.update(format!("{} {}\0", kind.as_str(), bytes.len()).as_bytes());
        hasher.update(bytes);
        ObjectId::Sha1((*hasher.try_finalize().hash()).into())
    }

    fn entry(mode: &str, name: &str) -> Vec<u8> {
        [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[7; 20]].concat()
    }

    fn tree_error(bytes: &[u8]) -> String {
        parse_tree(id_of(ObjectKind::Tree, bytes), bytes, "src").expect_err("a refusal").to_string()
    }

    #[test]
    fn the_empty_tree_has_the_id_that_git_documents() {
        let id: ObjectId = "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().expect("an id");
        assert_eq!(parse_tree(id, b"", ""), Ok(vec![]));
    }

    #[test]
    fn other_bytes_than_the_id_says_are_refused() {
        let id: ObjectId = "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().expect("an id");
        assert!(matches!(parse_tree(id, &entry("100644", "a"), ""), Err(ObjectError::OtherContent { .. })));
    }

    #[test]
    fn paths_that_a_checkout_may_not_hold_are_refused_by_name() {
        let texts: Vec<String> = ["..", ".", ".git", ".GIT", "a/b", "x\u{1b}[2J"]
            .iter()
            .map(|name| tree_error(&entry("100644", name)))
            .collect();
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn submodules_unknown_modes_and_double_names_are_refused() {
        let double = [entry("100644", "a"), entry("40000", "a")].concat();
        let texts =
            [tree_error(&entry("160000", "lib")), tree_error(&entry("140000", "s")), tree_error(&double)];
        let ids = regex::Regex::new("[0-9a-f]{40}").expect("a pattern");
        insta::assert_snapshot!(ids.replace_all(&texts.join("\n"), "<id>"));
    }

    #[test]
    fn links_stay_in_the_tree_or_are_absolute() {
        for (path, target) in
            [("a", "b"), ("a/b", "../c"), ("a", "/etc/shadow"), ("a/b/c", "../../d/../e"), ("a", "./b//c/")]
        {
            assert_eq!(check_link(path, target.as_bytes()), Ok(()), "{path} -> {target}");
        }
        let refused: Vec<String> =
            [b"".as_slice(), b"..", b"b/../../c", b"\xff", b"a\0b", b"a\x1b", &[b'a'; 4096]]
                .iter()
                .map(|target| check_link("a", target).expect_err("a refusal").to_string())
                .collect();
        insta::assert_snapshot!(refused.join("\n"));
    }

    #[test]
    fn the_committers_time_is_read_from_the_right() {
        let bytes = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A 1 +0000\n\
            committer A 99 <a@b 5> 1700000000 +0100\n\ncommitter fake 1 +0000\n";
        let commit = Commit::parse(id_of(ObjectKind::Commit, bytes), bytes).expect("a commit");
        assert_eq!(commit.time(), 1_700_000_000);
    }

    #[test]
    fn a_time_before_1970_is_refused() {
        let bytes = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ncommitter A <a> -5 +0100\n\n";
        assert!(Commit::parse(id_of(ObjectKind::Commit, bytes), bytes).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_objects_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_tree(id_of(ObjectKind::Tree, &bytes), &bytes, "");
            let _ = Commit::parse(id_of(ObjectKind::Commit, &bytes), &bytes);
        }

        #[test]
        fn an_id_is_its_own_text(raw in any::<[u8; 20]>(), long in any::<[u8; 32]>()) {
            for id in [ObjectId::Sha1(raw), ObjectId::Sha256(long)] {
                prop_assert_eq!(id.to_string().parse::<ObjectId>(), Ok(id));
            }
        }
    }
}
