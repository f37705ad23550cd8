//! GNU long names and PAX headers, read with a bound: they stand in front of the entry they describe.

use std::io::Read;

use tar::{EntryType, PaxExtensions};

use super::{ScanError, ambiguous};

/// One long name or PAX header, in bytes.
const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;

/// What GNU and PAX extension entries say about the next real entry.
#[derive(Default)]
pub(super) struct LongNames {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

impl LongNames {
    /// Reads an extension entry; returns false for a real one.
    pub(super) fn take(&mut self, kind: EntryType, body: &mut impl Read) -> Result<bool, ScanError> {
        match kind {
            EntryType::GNULongName => Self::set(&mut self.path, trimmed(read_extension(body)?))?,
            EntryType::GNULongLink => Self::set(&mut self.link, trimmed(read_extension(body)?))?,
            EntryType::XHeader | EntryType::XGlobalHeader => {
                let bytes = read_extension(body)?;
                for record in PaxExtensions::new(&bytes) {
                    let record = record.map_err(|_| ambiguous_header("a PAX header is malformed"))?;
                    let value = record.value_bytes().to_vec();
                    let key = record.key_bytes();
                    let told = matches!(key, b"path" | b"linkpath" | b"size");
                    if told && kind == EntryType::XGlobalHeader {
                        return Err(ambiguous_header("a global PAX header names a file"));
                    }
                    match key {
                        b"path" => Self::set(&mut self.path, value)?,
                        b"linkpath" => Self::set(&mut self.link, value)?,
                        b"size" => {
                            let size = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                            self.size =
                                Some(size.ok_or_else(|| ambiguous_header("a PAX size is not a number"))?);
                        }
                        key if key.starts_with(b"GNU.sparse.") => {
                            return Err(ambiguous_header("the entry is a sparse file"));
                        }
                        _ => {}
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set(slot: &mut Option<Vec<u8>>, value: Vec<u8>) -> Result<(), ScanError> {
        match slot.replace(value) {
            None => Ok(()),
            Some(before) => Err(ambiguous(&before.escape_ascii().to_string(), "it has two long names")),
        }
    }
}

fn read_extension(body: &mut impl Read) -> Result<Vec<u8>, ScanError> {
    let mut bytes = Vec::new();
    body.take(MAX_EXTENSION_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_EXTENSION_BYTES {
        return Err(ambiguous_header("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

fn ambiguous_header(what: &'static str) -> ScanError {
    ScanError::AmbiguousHeader(what)
}
