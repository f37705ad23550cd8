//! The entries of a hostile tar archive, read block by block (POSIX.1-2017 pax and GNU's long names).
//!
//! Whatever two unpackers could understand in two ways is refused, so what is scanned, what is
//! published and what is unpacked later are the same files.

use std::io::{self, Read};

use super::header::{BLOCK, Header, until_nul};
use super::pax::{self, Record};
use super::shown;

/// Largest extended header, in bytes (the limit of the engine's own reader).
const MAX_EXTENDED: u64 = 1024 * 1024;

/// Why a tar archive cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it ends in the middle of entry {entry}")]
    CutShort { entry: u64 },
    #[error("entry {entry} is not a tar header: its checksum is wrong")]
    Checksum { entry: u64 },
    #[error("`{path}` has no {field} that can be read")]
    Number { path: String, field: &'static str },
    #[error("`{path}` is {what}")]
    Unsupported { path: String, what: String },
    #[error("`{path}` {what}")]
    Path { path: String, what: &'static str },
    #[error("`{path}` is a hard link to `{target}`, which {what}")]
    HardLink { path: String, target: String, what: &'static str },
    #[error("entry {entry} has an extended header that cannot be read: {reason}")]
    Extended { entry: u64, reason: String },
    #[error("`{path}` can be understood in two ways: {what}")]
    Ambiguous { path: String, what: &'static str },
    #[error("it has more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("there is data after its end")]
    DataAfterEnd,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    Directory,
    /// A device or a FIFO.
    Special,
}

/// An entry with everything that was said about it before its content.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) records: Vec<Record>,
    /// Content of GNU's `K` record, as it was read.
    pub(super) long_link: Option<Vec<u8>>,
    /// Content of GNU's `L` record, as it was read.
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
}

/// Reads entries one after the other; content that was not read is skipped.
pub(super) struct Entries<R> {
    input: R,
    left: u64,
    padding: u64,
    count: u64,
    limit: u64,
    has_end: bool,
}

#[derive(Default)]
struct Extensions {
    records: Option<Vec<Record>>,
    long_link: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.records.is_none() && self.long_link.is_none() && self.long_name.is_none()
    }

    fn record(&self, key: &str) -> Option<&[u8]> {
        let records = self.records.as_deref().unwrap_or_default();
        records.iter().find(|record| record.key == key.as_bytes()).map(|record| record.value.as_slice())
    }
}

impl<R: Read> Entries<R> {
    /// Creates a reader that refuses more than `limit` entries.
    pub(super) fn new(input: R, limit: u64) -> Self {
        Self { input, left: 0, padding: 0, count: 0, limit, has_end: false }
    }

    /// Reads content of the present entry; 0 means that it is complete.
    pub(super) fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let read = read_some(&mut self.input, &mut buffer[..want])?;
        if read == 0 {
            return Err(TarError::CutShort { entry: self.count });
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// Returns the next entry; `None` after the end of the archive, which is then read to its last byte.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.block()? else {
                return if extensions.is_empty() { Ok(None) } else { Err(self.cut_short()) };
            };
            if block.iter().all(|b| *b == 0) {
                self.read_end()?;
                return if extensions.is_empty() { Ok(None) } else { Err(self.cut_short()) };
            }
            let header = Header::new(block);
            if !header.checksum_holds() {
                return Err(TarError::Checksum { entry: self.count + 1 });
            }
            match header.kind() {
                b'x' => {
                    let content = self.extended(&header, extensions.records.is_some())?;
                    extensions.records =
                        Some(pax::parse(&content).map_err(|reason| self.bad_extended(reason))?);
                }
                b'L' => extensions.long_name = Some(self.extended(&header, extensions.long_name.is_some())?),
                b'K' => extensions.long_link = Some(self.extended(&header, extensions.long_link.is_some())?),
                _ => {
                    self.count += 1;
                    if self.count > self.limit {
                        return Err(TarError::TooManyEntries { limit: self.limit });
                    }
                    let entry = entry(header, extensions)?;
                    self.left = entry.size;
                    self.padding = entry.size.wrapping_neg() % BLOCK as u64;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Returns whether the end of the archive was marked, and not only the input's end.
    pub(super) fn has_end(&self) -> bool {
        self.has_end
    }

    fn cut_short(&self) -> TarError {
        TarError::CutShort { entry: self.count + 1 }
    }

    fn bad_extended(&self, reason: impl Into<String>) -> TarError {
        TarError::Extended { entry: self.count + 1, reason: reason.into() }
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        let mut buffer = [0u8; 8192];
        while self.read_content(&mut buffer)? > 0 {}
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(0);
        if fill(&mut self.input, &mut buffer[..padding])? < padding {
            return Err(TarError::CutShort { entry: self.count });
        }
        Ok(())
    }

    /// Reads a whole block; `None` at the end of the input.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0u8; BLOCK];
        match fill(&mut self.input, &mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(self.cut_short()),
        }
    }

    fn extended(&mut self, header: &Header, is_second: bool) -> Result<Vec<u8>, TarError> {
        if is_second {
            return Err(self.bad_extended("there are two of a kind for one entry"));
        }
        let size = header.size().filter(|size| *size <= MAX_EXTENDED);
        let size =
            size.ok_or_else(|| self.bad_extended(format!("its size is not at most {MAX_EXTENDED} bytes")))?;
        let size = usize::try_from(size).map_err(|_| self.bad_extended("its size is too large"))?;
        let mut content = vec![0u8; size.next_multiple_of(BLOCK)];
        if fill(&mut self.input, &mut content)? < content.len() {
            return Err(self.cut_short());
        }
        content.truncate(size);
        Ok(content)
    }

    fn read_end(&mut self) -> Result<(), TarError> {
        self.has_end = true;
        let mut buffer = [0u8; 8192];
        loop {
            match read_some(&mut self.input, &mut buffer)? {
                0 => return Ok(()),
                read if buffer[..read].iter().all(|b| *b == 0) => {}
                _ => return Err(TarError::DataAfterEnd),
            }
        }
    }
}

fn entry(header: Header, extensions: Extensions) -> Result<Entry, TarError> {
    let named = |record: Option<&[u8]>, long: Option<&[u8]>, short: Vec<u8>| match (record, long) {
        (Some(_), Some(_)) => Err(TarError::Ambiguous {
            path: shown(&short),
            what: "a PAX record and a GNU long name both name it",
        }),
        (Some(name), None) => Ok(name.to_vec()),
        (None, Some(name)) => {
            let text = until_nul(name);
            match name[text.len()..].iter().all(|b| *b == 0) {
                true => Ok(text.to_vec()),
                false => Err(TarError::Ambiguous {
                    path: shown(text),
                    what: "its long name goes on after its end",
                }),
            }
        }
        (None, None) => Ok(short),
    };
    let path = named(extensions.record("path"), extensions.long_name.as_deref(), header.path())?;
    let link = named(extensions.record("linkpath"), extensions.long_link.as_deref(), header.link().to_vec())?;
    let kind = kind(&header, &path)?;
    check_path(&path).map_err(|what| TarError::Path { path: shown(&path), what })?;
    match kind {
        Kind::HardLink => check_path(&link).map_err(|what| TarError::HardLink {
            path: shown(&path),
            target: shown(&link),
            what,
        })?,
        Kind::Symlink if link.is_empty() || link.contains(&0) => {
            return Err(TarError::Path { path: shown(&path), what: "is a link to nothing" });
        }
        _ => {}
    }
    let size = size(&header, extensions.record("size"), &path)?;
    if kind != Kind::File && size > 0 {
        return Err(TarError::Ambiguous {
            path: shown(&path),
            what: "it has content and is not a regular file",
        });
    }
    let records = extensions.records.unwrap_or_default();
    if records.iter().any(|record| record.key.starts_with(b"GNU.sparse.")) {
        return Err(unsupported(&path, "a sparse file, which layers may not have"));
    }
    Ok(Entry {
        header,
        records,
        long_link: extensions.long_link,
        long_name: extensions.long_name,
        kind,
        path,
        link,
        size,
    })
}

fn kind(header: &Header, path: &[u8]) -> Result<Kind, TarError> {
    match header.kind() {
        // The oldest tar had no type for directories.
        b'\0' if path.ends_with(b"/") => Ok(Kind::Directory),
        b'0' | b'\0' | b'7' => Ok(Kind::File),
        b'1' => Ok(Kind::HardLink),
        b'2' => Ok(Kind::Symlink),
        b'3' | b'4' | b'6' => Ok(Kind::Special),
        b'5' => Ok(Kind::Directory),
        b'S' => Err(unsupported(path, "a sparse file, which layers may not have")),
        b'g' => Err(unsupported(path, "a global PAX header, which layers may not have")),
        other => Err(unsupported(
            path,
            &format!("an entry of the unknown type `{}`", (other as char).escape_default()),
        )),
    }
}

fn unsupported(path: &[u8], what: &str) -> TarError {
    TarError::Unsupported { path: shown(path), what: what.to_owned() }
}

/// Says what is wrong with a path: a whiteout must not mean `.` or `..` either.
fn check_path(path: &[u8]) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("is an empty path");
    }
    if path.contains(&0) {
        return Err("has a NUL in its path");
    }
    for part in path.split(|b| *b == b'/') {
        match part {
            b".." => return Err("climbs out with `..`"),
            b".wh.." | b".wh..." => return Err("is a whiteout of `.` or `..`"),
            _ => {}
        }
    }
    Ok(())
}

fn size(header: &Header, record: Option<&[u8]>, path: &[u8]) -> Result<u64, TarError> {
    let wrong = || TarError::Number { path: shown(path), field: "size" };
    let plain = header.size().ok_or_else(wrong)?;
    let Some(record) = record else {
        return Ok(plain);
    };
    let long: u64 = std::str::from_utf8(record)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    // Only a size of 8 GiB or more does not fit in the header; any other difference is a trick.
    if long == plain || long >= 1 << 33 {
        Ok(long)
    } else {
        Err(TarError::Ambiguous { path: shown(path), what: "it has two sizes" })
    }
}

fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, TarError> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(TarError::Read),
        }
    }
}

/// Reads until `buffer` is full or the input ends, and returns how much there was.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, TarError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read_some(input, &mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
