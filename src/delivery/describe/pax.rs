//! PAX extended header records (POSIX.1-2017 pax, "pax Extended Header"): parsed by length, written again.
//!
//! Values are bytes: an extended attribute may hold newlines and NULs.

use std::collections::HashSet;

/// One record, `length key=value\n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// Returns the records in their order, or why they are none.
///
/// A key that stands twice is refused: programs disagree about which one counts.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(8).position(|b| *b == b' ').ok_or("a record has no length")?;
        let length = std::str::from_utf8(&bytes[..space])
            .ok()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse::<usize>().ok())
            .filter(|length| (space + 1..=bytes.len()).contains(length))
            .ok_or("a record has a wrong length")?;
        let record =
            bytes[space + 1..length].strip_suffix(b"\n").ok_or("a record does not end with a newline")?;
        let equals = record.iter().position(|b| *b == b'=').ok_or("a record has no `=`")?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err("a record has no name".to_owned());
        }
        if !seen.insert(key) {
            return Err(format!("`{}` stands twice", super::shown(key)));
        }
        records.push(Record { key: key.to_vec(), value: value.to_vec() });
        bytes = &bytes[length..];
    }
    Ok(records)
}

/// Returns the bytes of `records`.
pub(super) fn write(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Record { key, value } in records {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        bytes.extend_from_slice(format!("{length} ").as_bytes());
        bytes.extend_from_slice(key);
        bytes.push(b'=');
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes
}

/// Returns whether the time `value` is later than `limit`; `None` when it is not a time.
pub(super) fn is_later(value: &[u8], limit: i64) -> Option<bool> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let has_fraction = fraction.bytes().any(|b| b != b'0');
    let floor = if negative { -whole - i64::from(has_fraction) } else { whole };
    Some(floor > limit || (floor == limit && has_fraction))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_that_were_written_are_read_back(
            records in proptest::collection::btree_map("[a-zA-Z.]{1,120}", proptest::collection::vec(any::<u8>(), 0..1200), 0..6)
        ) {
            let records: Vec<Record> =
                records.into_iter().map(|(key, value)| Record { key: key.into_bytes(), value }).collect();
            prop_assert_eq!(parse(&write(&records)), Ok(records));
        }

        #[test]
        fn arbitrary_records_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = is_later(&bytes, 0);
        }
    }

    #[test]
    fn a_time_is_compared_with_its_fraction() {
        for (value, later) in [
            ("100", Some(false)),
            ("100.000", Some(false)),
            ("100.5", Some(true)),
            ("101", Some(true)),
            ("99.999", Some(false)),
            ("-100.5", Some(false)),
            ("", None),
            ("1e3", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(is_later(value.as_bytes(), 100), later, "{value}");
        }
    }
}
