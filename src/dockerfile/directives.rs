//! The head of a Dockerfile: parser directives, in every form that BuildKit's `DetectSyntax` knows.
//!
//! Versions differ on where directives end (at a blank line, an unknown directive, a shebang), so all
//! comments before the first instruction count as that place.

use super::lines::physical_lines;
use super::refusal::{Refusal, RefusalReason};

/// Reads the head; returns the escape character.
pub(super) fn read(text: &str, refusals: &mut Vec<Refusal>) -> char {
    let mut escape = '\\';
    for line in physical_lines(text) {
        let content = line.content.trim();
        let mut refuse = |reason| {
            refusals.push(Refusal { line: line.number, instruction: String::new(), reason });
        };
        let (comment, in_slashes) = match (content.strip_prefix('#'), content.strip_prefix("//")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) if content.is_empty() => continue,
            (None, None) => {
                if content.starts_with('{') {
                    refuse(RefusalReason::Json);
                }
                break;
            }
        };
        let Some((name, value)) = comment.split_once('=') else { continue };
        let name = name.trim().to_ascii_lowercase();
        match name.as_str() {
            "syntax" | "check" if in_slashes => refuse(RefusalReason::DirectiveInSlashes(name)),
            "syntax" | "check" => refuse(RefusalReason::Directive(name)),
            "escape" => match value.trim() {
                "\\" if !in_slashes && line.number == 1 && line.content.starts_with('#') => {}
                "`" if !in_slashes && line.number == 1 && line.content.starts_with('#') => escape = '`',
                _ => refuse(RefusalReason::EscapeDirective),
            },
            _ => {}
        }
    }
    escape
}
