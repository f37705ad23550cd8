//! Options of instructions (`--name=value`), as BuildKit's `extractBuilderFlags` takes them.
//!
//! BuildKit unquotes and unescapes options and splits them byte by byte; options that would need that
//! are refused, so that only the plain form has to be understood.

use std::ops::Range;

use super::refusal::{Refusal, RefusalReason, shown};

/// One option.
pub(super) struct Flag<'a> {
    pub name: &'a str,
    pub value: Option<&'a str>,
    /// Where the value stands in the text that was read.
    pub at: Range<usize>,
}

/// Returns where the options at the start of `text` end.
pub(super) fn end(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = text[at..].trim_start_matches([' ', '\t']);
        if !rest.starts_with("--") {
            return text.len() - rest.len();
        }
        let word = rest.find([' ', '\t']).unwrap_or(rest.len());
        at = text.len() - rest.len() + word;
    }
}

/// Returns the options at the start of `text`; `allowed` are the names, of which `mount` may repeat.
pub(super) fn read<'a>(
    text: &'a str,
    allowed: &[&str],
    mut refuse: impl FnMut(RefusalReason),
) -> Vec<Flag<'a>> {
    let mut flags: Vec<Flag<'a>> = Vec::new();
    let mut at = 0;
    for word in text[..end(text)].split_inclusive([' ', '\t']) {
        let start = at;
        at += word.len();
        let word = word.trim_end_matches([' ', '\t']);
        let Some(option) = word.strip_prefix("--") else { continue };
        let odd = |b: u8| !b.is_ascii_graphic() || matches!(b, b'"' | b'\'' | b'\\' | b'`');
        if option.is_empty() || option.bytes().any(odd) {
            refuse(RefusalReason::OddOption(shown(word)));
            continue;
        }
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        if !allowed.contains(&name) {
            refuse(RefusalReason::OptionNotAllowed(shown(&format!("--{name}"))));
            continue;
        }
        if name != "mount" && flags.iter().any(|flag| flag.name == name) {
            refuse(RefusalReason::OptionTwice(shown(&format!("--{name}"))));
            continue;
        }
        let value_start = start + word.len() - value.map_or(0, str::len);
        flags.push(Flag { name, value, at: value_start..start + word.len() });
    }
    flags
}

impl Refusal {
    pub(super) fn at(line: u32, instruction: &str, reason: RefusalReason) -> Self {
        Self { line, instruction: shown(instruction), reason }
    }
}
