//! A layer's tar archive with its times clamped: everything else stays as it was.
//!
//! Modification times later than the commit become the commit's time, access and change times go,
//! headers of extended headers become the same everywhere, padding becomes zeros and the end two
//! zero blocks. Order, names, links, owners, modes, extended attributes, whiteouts and contents stay.

use std::io::{self, Read};

use super::entries::{Entries, Entry, TarError};
use super::header::{BLOCK, Header};
use super::pax::{self, Record};
use super::shown;

/// Most entries of one layer.
pub(super) const MAX_LAYER_ENTRIES: u64 = 4_000_000;

/// Reads the normalised form of the archive `R`.
///
/// Reads fail with a text after the archive was refused; [`Normalised::refusal`] has the reason.
pub(super) struct Normalised<R> {
    entries: Entries<R>,
    commit_time: i64,
    ready: Vec<u8>,
    given: usize,
    state: State,
    refusal: Option<TarError>,
}

enum State {
    BetweenEntries,
    InContent { padding: usize },
    Ended,
    Refused,
}

impl<R: Read> Normalised<R> {
    /// Creates the reader; nothing is read yet.
    pub(super) fn new(input: R, commit_time: i64) -> Self {
        Self {
            entries: Entries::new(input, MAX_LAYER_ENTRIES),
            commit_time,
            ready: Vec::new(),
            given: 0,
            state: State::BetweenEntries,
            refusal: None,
        }
    }

    /// Takes the reason why reading failed.
    pub(super) fn refusal(&mut self) -> Option<TarError> {
        self.refusal.take()
    }

    fn produce(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        loop {
            if self.given < self.ready.len() {
                let ready = &self.ready[self.given..];
                let length = ready.len().min(buffer.len());
                buffer[..length].copy_from_slice(&ready[..length]);
                self.given += length;
                return Ok(length);
            }
            self.ready.clear();
            self.given = 0;
            match self.state {
                State::InContent { padding } => match self.entries.read_content(buffer)? {
                    0 => {
                        self.ready.resize(padding, 0);
                        self.state = State::BetweenEntries;
                    }
                    read => return Ok(read),
                },
                State::BetweenEntries => match self.entries.next()? {
                    Some(entry) => {
                        let padding = usize::try_from(entry.size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
                        write_head(entry, self.commit_time, &mut self.ready)?;
                        self.state = State::InContent { padding };
                    }
                    None => {
                        self.ready.resize(2 * BLOCK, 0);
                        self.state = State::Ended;
                    }
                },
                State::Ended => return Ok(0),
                State::Refused => return Err(TarError::Read(io::Error::other("it was refused before"))),
            }
        }
    }
}

impl<R: Read> Read for Normalised<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.produce(buffer).map_err(|refusal| {
            let text = refusal.to_string();
            self.state = State::Refused;
            self.refusal.get_or_insert(refusal);
            io::Error::other(text)
        })
    }
}

fn write_head(mut entry: Entry, commit_time: i64, out: &mut Vec<u8>) -> Result<(), TarError> {
    let wrong = |field| TarError::Number { path: shown(&entry.path), field };
    let mut mtime = entry.header.mtime().ok_or_else(|| wrong("modification time"))?.min(commit_time);
    if !entry.header.extra_times_are_readable() {
        return Err(wrong("access or change time"));
    }
    let mut records: Vec<Record> = Vec::with_capacity(entry.records.len());
    for record in std::mem::take(&mut entry.records) {
        match record.key.as_slice() {
            b"atime" | b"ctime" | b"LIBARCHIVE.creationtime" => {}
            b"mtime" => match pax::is_later(&record.value, commit_time) {
                Some(true) => mtime = commit_time,
                Some(false) => records.push(record),
                None => return Err(wrong("modification time")),
            },
            _ => records.push(record),
        }
    }
    if !records.is_empty() {
        write_special(b'x', &pax::write(&records), out);
    }
    if let Some(link) = &entry.long_link {
        write_special(b'K', link, out);
    }
    if let Some(name) = &entry.long_name {
        write_special(b'L', name, out);
    }
    entry.header.set_times(mtime);
    out.extend_from_slice(entry.header.bytes());
    Ok(())
}

fn write_special(kind: u8, content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(Header::special(kind, content.len()).bytes());
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests;
