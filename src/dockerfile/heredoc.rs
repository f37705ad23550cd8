//! Here-documents: which words of a line announce one.
//!
//! BuildKit finds them with its shell lexer, which knows quotes and variables. Here a word must announce
//! one whether or not quotes and variables are looked at; everything in between is refused.

use super::flags;
use super::lines::Logical;

/// A here-document that a line announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub word: String,
    pub name: String,
    strips_tabs: bool,
}

impl Announced {
    /// Returns whether `line` is the last line of the here-document.
    pub fn ends_with(&self, line: &str) -> bool {
        let line = if self.strips_tabs { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// Returns the here-documents that the instruction announces, or why that is not certain.
pub(super) fn announced(logical: &Logical) -> Result<Vec<Announced>, &'static str> {
    let (keyword, rest) = logical.keyword();
    let name = logical.text[keyword].to_ascii_uppercase();
    // Inside ONBUILD, which is refused anyway, the text must not be taken for instructions.
    let may_have = matches!(name.as_str(), "RUN" | "COPY" | "ADD" | "ONBUILD");
    let text = &logical.text[rest..];
    if !may_have || !text.contains("<<") {
        return Ok(Vec::new());
    }
    let arguments = text[flags::end(text)..].trim();
    if arguments.starts_with('[') {
        return match serde_json::from_str::<Vec<String>>(arguments) {
            Ok(_) => Ok(Vec::new()),
            Err(_) => Err("the line starts with `[` and is not a JSON array"),
        };
    }
    if has_modifier(text) {
        return Err("the line holds a variable with a modifier");
    }
    let plain: Vec<&str> = text.split([' ', '\t']).filter(|word| announces(word)).collect();
    let quoted: Vec<&str> = quoted_words(text).into_iter().filter(|word| announces(word)).collect();
    if plain != quoted {
        return Err("it stands between quotes or escapes");
    }
    if text.split([' ', '\t']).any(hides_one) {
        return Err("write it as a word of its own");
    }
    plain.into_iter().map(|word| parse(word).ok_or("its name is not a plain word")).collect()
}

/// Returns whether BuildKit's `^(\d*)<<(-?)([^<]*)$` matches with a name.
fn announces(word: &str) -> bool {
    word.trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")
        .map(|rest| rest.strip_prefix('-').unwrap_or(rest))
        .is_some_and(|rest| !rest.is_empty() && !rest.contains('<'))
}

/// Returns whether `<<` follows something that a lexer may remove or a shell may accept.
fn hides_one(word: &str) -> bool {
    let Some((before, after)) = word.split_once("<<") else { return false };
    !after.starts_with('<')
        && !after.is_empty()
        && !announces(word)
        && before.chars().all(|c| c.is_ascii_alphanumeric() || "_$.{}\"'\\`/-".contains(c))
}

fn parse(word: &str) -> Option<Announced> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strips_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let name =
        ['"', '\''].iter().find_map(|quote| rest.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(rest);
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    plain.then(|| Announced { word: word.to_owned(), name: name.to_owned(), strips_tabs })
}

fn has_modifier(text: &str) -> bool {
    text.split("${").skip(1).any(|rest| {
        !rest.split_once('}').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    })
}

/// Splits at white space outside quotes; an unfinished quote gives no words, as in BuildKit.
fn quoted_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => {
                escaped = true;
                start.get_or_insert(at);
            }
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, ' ' | '\t') => words.extend(start.take().map(|start| &text[start..at])),
            (None, c) => {
                quote = matches!(c, '"' | '\'').then_some(c);
                start.get_or_insert(at);
            }
        }
    }
    if quote.is_some() || escaped {
        return Vec::new();
    }
    words.extend(start.map(|start| &text[start..]));
    words
}
