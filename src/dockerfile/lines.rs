//! Bytes to lines, and lines to instructions, joined as BuildKit's `frontend/dockerfile/parser` joins
//! them: comments and empty lines between continued lines vanish, nothing is put in between.

use std::ops::Range;

use super::heredoc;
use super::refusal::{Refusal, RefusalReason};

/// BuildKit's scanner gives up at 64 KiB; a margin keeps both on the same side.
const MAX_LINE_BYTES: usize = 60_000;

/// A line as it stands in the file, without its line end.
pub(super) struct PhysicalLine<'a> {
    pub number: u32,
    pub start: usize,
    pub content: &'a str,
}

/// Returns the lines of `text`; a line ends with a line feed or both characters.
pub(super) fn physical_lines(text: &str) -> impl Iterator<Item = PhysicalLine<'_>> {
    let mut start = 0;
    (1_u32..).zip(text.split_inclusive('\n')).map(move |(number, line)| {
        let content = line.strip_suffix('\n').unwrap_or(line);
        let content = content.strip_suffix('\r').unwrap_or(content);
        let physical = PhysicalLine { number, start, content };
        start += line.len();
        physical
    })
}

/// Refuses what two readers could take differently before any grammar begins.
pub(super) fn check_characters(text: &str, refusals: &mut Vec<Refusal>) {
    for line in physical_lines(text) {
        let is_comment = line.content.trim_start_matches([' ', '\t']).starts_with('#');
        let odd = line.content.chars().find_map(|c| match c {
            '\t' => None,
            '\r' => Some(RefusalReason::LoneCarriageReturn),
            // Text that is shown in another order than it is read, and marks that are not shown at all.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                Some(RefusalReason::Character(c.into()))
            }
            c if c.is_control() => Some(RefusalReason::Character(c.into())),
            // BuildKit trims by Unicode in some places and by ASCII in others.
            c if !c.is_ascii() && c.is_whitespace() && !is_comment => {
                Some(RefusalReason::Character(c.into()))
            }
            _ => None,
        });
        let long = line.content.len();
        let reason = odd.or((long > MAX_LINE_BYTES).then_some(RefusalReason::LineTooLong(long)));
        if let Some(reason) = reason {
            refusals.push(Refusal { line: line.number, instruction: String::new(), reason });
        }
    }
}

/// Whether texts behind `<<` are here-documents: engines before 23.0 take them for instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HereDocuments {
    Honoured,
    Ignored,
}

/// One instruction: its joined text and where each byte of it came from.
pub(super) struct Logical {
    pub line: u32,
    pub text: String,
    /// `origin[i]` is the place in the file of byte `i` of `text`.
    origin: Vec<usize>,
    /// Names of the here-documents that follow, as the words that announce them.
    pub heredocs: Vec<heredoc::Announced>,
    /// Where in the file the here-documents' texts stand, their last lines included.
    pub bodies: Range<usize>,
}

impl Logical {
    /// Returns the place in the file of a range of the text.
    pub fn in_file(&self, range: &Range<usize>) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        self.origin[range.start]..self.origin[range.end - 1] + 1
    }

    /// Returns where in the text the instruction's name stands, and where the rest starts.
    pub fn keyword(&self) -> (Range<usize>, usize) {
        let start = self.text.len() - self.text.trim_start_matches([' ', '\t']).len();
        let end = self.text[start..].find([' ', '\t']).map_or(self.text.len(), |at| start + at);
        (start..end, end)
    }

    /// Returns the instruction's name in capitals.
    pub fn name(&self) -> String {
        self.text[self.keyword().0].to_ascii_uppercase()
    }

    fn push(&mut self, content: &str, start: usize) {
        self.text.push_str(content);
        self.origin.extend(start..start + content.len());
    }
}

/// Returns the instructions of `text`.
pub(super) fn read(
    text: &str,
    escape: char,
    heredocs: HereDocuments,
    refusals: &mut Vec<Refusal>,
) -> Vec<Logical> {
    let mut lines = physical_lines(text);
    let mut instructions = Vec::new();
    while let Some(line) = lines.next() {
        let content = line.content.trim_start_matches([' ', '\t']);
        if content.starts_with('#') {
            continue;
        }
        let mut logical = Logical {
            line: line.number,
            text: String::new(),
            origin: Vec::new(),
            heredocs: Vec::new(),
            bodies: 0..0,
        };
        let start = line.start + (line.content.len() - content.len());
        let (content, mut goes_on) = continued(content, escape, line.number, refusals);
        logical.push(content, start);
        if !goes_on && logical.text.is_empty() {
            continue;
        }
        while goes_on {
            let Some(line) = lines.next() else { break };
            let trimmed = line.content.trim_start_matches([' ', '\t']);
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let content;
            (content, goes_on) = continued(line.content, escape, line.number, refusals);
            logical.push(content, line.start);
        }
        if logical.text.trim_matches([' ', '\t']).is_empty() {
            let reason = RefusalReason::Malformed("an instruction without a name");
            refusals.push(Refusal { line: logical.line, instruction: String::new(), reason });
            continue;
        }
        if heredocs == HereDocuments::Honoured {
            take_heredocs(&mut logical, &mut lines, refusals);
        }
        instructions.push(logical);
    }
    instructions
}

fn take_heredocs<'a>(
    logical: &mut Logical,
    lines: &mut impl Iterator<Item = PhysicalLine<'a>>,
    refusals: &mut Vec<Refusal>,
) {
    let name = logical.name();
    let line = logical.line;
    let mut refuse = |reason| refusals.push(Refusal::at(line, &name, reason));
    match heredoc::announced(logical) {
        Ok(found) => logical.heredocs = found,
        Err(why) => return refuse(RefusalReason::HereDocument(why)),
    }
    for announced in &logical.heredocs {
        loop {
            let Some(line) = lines.next() else {
                return refuse(RefusalReason::HereDocumentEnd(announced.name.clone()));
            };
            if logical.bodies.is_empty() {
                logical.bodies = line.start..line.start;
            }
            logical.bodies.end = line.start + line.content.len();
            if announced.ends_with(line.content) {
                break;
            }
        }
    }
}

/// Returns the line without its continuation mark, and whether there was one.
fn continued<'a>(
    content: &'a str,
    escape: char,
    number: u32,
    refusals: &mut Vec<Refusal>,
) -> (&'a str, bool) {
    match content.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) => {
            if rest.ends_with(escape) {
                let reason = RefusalReason::DoubleEscape;
                refusals.push(Refusal { line: number, instruction: String::new(), reason });
            }
            (rest, true)
        }
        None => (content, false),
    }
}
