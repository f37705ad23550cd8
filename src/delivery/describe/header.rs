//! One tar header block: its fields as bytes, its times, its checksum (POSIX.1-2017 pax, "ustar").
//!
//! Fields other than the times are never parsed and written again, so they cannot change.

use std::ops::Range;

/// Size of a tar block in bytes.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;
const GNU_ATIME: Range<usize> = 345..357;
const GNU_CTIME: Range<usize> = 357..369;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_ATIME: Range<usize> = 476..488;
const STAR_CTIME: Range<usize> = 488..500;
const STAR_TRAILER: Range<usize> = 508..512;

const MAGIC_USTAR: &[u8; 8] = b"ustar\x0000";
const MAGIC_GNU: &[u8; 8] = b"ustar  \0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header block as it was read.
#[derive(Clone)]
pub(super) struct Header([u8; BLOCK]);

impl Header {
    pub(super) fn new(block: [u8; BLOCK]) -> Self {
        Self(block)
    }

    /// Returns the header of a record that describes the next entry; it has no times and no owner.
    pub(super) fn special(kind: u8, size: usize) -> Self {
        let mut block = [0u8; BLOCK];
        let (name, magic): (&[u8], _) = match kind {
            b'x' => (b"PaxHeaders.0", MAGIC_USTAR),
            _ => (b"././@LongLink", MAGIC_GNU),
        };
        block[..name.len()].copy_from_slice(name);
        block[MODE].copy_from_slice(b"0000644\0");
        block[UID].copy_from_slice(b"0000000\0");
        block[GID].copy_from_slice(b"0000000\0");
        block[MAGIC].copy_from_slice(magic);
        block[TYPE] = kind;
        write_number(&mut block[SIZE], i64::try_from(size).unwrap_or(i64::MAX));
        write_number(&mut block[MTIME], 0);
        let mut header = Self(block);
        header.seal();
        header
    }

    pub(super) fn bytes(&self) -> &[u8; BLOCK] {
        &self.0
    }

    pub(super) fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    pub(super) fn link(&self) -> &[u8] {
        until_nul(&self.0[LINK])
    }

    pub(super) fn size(&self) -> Option<u64> {
        number(&self.0[SIZE]).and_then(|size| u64::try_from(size).ok())
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        number(&self.0[MTIME])
    }

    fn dialect(&self) -> Dialect {
        match &self.0[MAGIC] {
            magic if magic == MAGIC_GNU => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => match &self.0[STAR_TRAILER] {
                b"tar\0" => Dialect::Star,
                _ => Dialect::Ustar,
            },
            _ => Dialect::V7,
        }
    }

    /// Returns the path that the header alone gives.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0[NAME]);
        let prefix = match self.dialect() {
            Dialect::Ustar => until_nul(&self.0[PREFIX]),
            Dialect::Star => until_nul(&self.0[STAR_PREFIX]),
            Dialect::V7 | Dialect::Gnu => &[],
        };
        match prefix {
            [] => name.to_vec(),
            prefix => [prefix, b"/", name].concat(),
        }
    }

    /// Returns whether the block carries its own checksum, in either of the historical sums.
    pub(super) fn checksum_holds(&self) -> bool {
        let field = CHECKSUM;
        let byte = |(i, b): (usize, &u8)| if field.contains(&i) { b' ' } else { *b };
        let unsigned: i64 = self.0.iter().enumerate().map(|pair| i64::from(byte(pair))).sum();
        let signed: i64 = self.0.iter().enumerate().map(|pair| i64::from(byte(pair).cast_signed())).sum();
        number(&self.0[CHECKSUM]).is_some_and(|sum| sum == unsigned || sum == signed)
    }

    /// Returns whether the access and change times, where the dialect has them, can be told from other data.
    pub(super) fn extra_times_are_readable(&self) -> bool {
        let readable = |field: Range<usize>| number(&self.0[field]).is_some();
        match self.dialect() {
            Dialect::Gnu => readable(GNU_ATIME) && readable(GNU_CTIME),
            Dialect::Star => readable(STAR_ATIME) && readable(STAR_CTIME),
            Dialect::V7 | Dialect::Ustar => true,
        }
    }

    /// Sets the modification time, forgets the access and change times, and seals the block.
    pub(super) fn set_times(&mut self, mtime: i64) {
        write_number(&mut self.0[MTIME], mtime);
        match self.dialect() {
            Dialect::Gnu => self.0[GNU_ATIME.start..GNU_CTIME.end].fill(0),
            Dialect::Star => self.0[STAR_ATIME.start..STAR_CTIME.end].fill(0),
            Dialect::V7 | Dialect::Ustar => {}
        }
        self.seal();
    }

    fn seal(&mut self) {
        self.0[CHECKSUM].fill(b' ');
        let sum: u32 = self.0.iter().map(|b| u32::from(*b)).sum();
        self.0[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Returns the bytes before the first NUL.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or(field)
}

/// Reads octal digits or GNU's base-256; an empty field is 0, anything doubtful is `None`.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement over the field, its top bit being the mark and bit 6 the sign.
        let start = if first & 0x40 != 0 { -1i128 } else { 0 };
        let head = (start << 7) | i128::from(first & 0x7f);
        let value = field[1..].iter().try_fold(head, |value, byte| {
            value.checked_mul(256).and_then(|value| value.checked_add(i128::from(*byte)))
        })?;
        return i64::try_from(value).ok();
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if !rest.iter().all(|b| matches!(b, b' ' | 0)) {
        return None;
    }
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Writes octal digits and a NUL, or GNU's base-256 where they do not suffice.
fn write_number(field: &mut [u8], value: i64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}\0");
    if value >= 0 && text.len() == field.len() {
        field.copy_from_slice(text.as_bytes());
        return;
    }
    let wide = i128::from(value).to_be_bytes();
    field.copy_from_slice(&wide[wide.len() - field.len()..]);
    field[0] |= 0x80;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_that_was_written_is_read_back(value in any::<i64>()) {
            let mut field = [0u8; 12];
            write_number(&mut field, value);
            prop_assert_eq!(number(&field), Some(value));
        }

        #[test]
        fn no_field_panics(field in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = number(&field);
        }
    }

    #[test]
    fn a_doubtful_number_is_none() {
        for field in [&b"12x\0"[..], b"9\0", b"1\x002", b"-1\0", b""] {
            assert_eq!(number(field), None, "{field:?}");
        }
        assert_eq!(number(b"  755 \0"), Some(0o755));
        assert_eq!(number(&[0; 12]), Some(0));
    }
}
