//! The `.dockerignore` file, with the meaning of Moby's `patternmatcher` and `ignorefile`.
//!
//! A file `<Dockerfile>.dockerignore` beside the Dockerfile takes the place of `.dockerignore` at the
//! context's root; the caller chooses which one it parses. Patterns are matched character by character,
//! without regular expressions, so that no
//! pattern can take long.

use crate::failure::{CLI_REFUSED, EXIT_DOCKERFILE_REFUSED, Failure, FailureKind};

/// Largest ignore file that is read, in bytes.
pub const MAX_IGNORE_BYTES: usize = 32 * 1024;
/// Most patterns that are read.
pub const MAX_PATTERNS: usize = 1000;

/// Patterns in the order of the file; the last one that matches decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoreFile {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    effect: Effect,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Excludes,
    Includes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`: one character of a part.
    Character,
    /// `[a-z]`, `[^a-z]`: one character of a part.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*`: any characters of one part.
    Run,
    /// `**` at the end: anything.
    Rest,
    /// `**` elsewhere: nothing, or whole parts with the slash behind them.
    Folders,
}

/// Why an ignore file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    #[error("the ignore file has {found} bytes, at most {limit} are read")]
    TooLarge { found: usize, limit: usize },
    #[error("the ignore file is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    #[error("the ignore file has more than {0} patterns")]
    TooMany(usize),
    #[error("line {line} of the ignore file: `{pattern}` is not a pattern: {why}")]
    Pattern { line: usize, pattern: String, why: &'static str },
}

impl From<IgnoreError> for Failure {
    fn from(error: IgnoreError) -> Self {
        let kind = FailureKind::Refused { stage: EXIT_DOCKERFILE_REFUSED, cli: CLI_REFUSED };
        Failure::new(kind, "cannot decide what belongs to the build context").because_of(&error)
    }
}

impl IgnoreFile {
    /// Parses an ignore file.
    pub fn parse(bytes: &[u8]) -> Result<Self, IgnoreError> {
        if bytes.len() > MAX_IGNORE_BYTES {
            return Err(IgnoreError::TooLarge { found: bytes.len(), limit: MAX_IGNORE_BYTES });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| IgnoreError::NotUtf8(error.valid_up_to()))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            // A comment starts in the first column; a `#` after white space belongs to a pattern.
            if text.starts_with('#') {
                continue;
            }
            let text = text.trim();
            let (effect, glob) = match text.strip_prefix('!') {
                Some(rest) => (Effect::Includes, rest.trim()),
                None => (Effect::Excludes, text),
            };
            let error = |why| IgnoreError::Pattern {
                line,
                pattern: text.chars().filter(|c| !c.is_control()).take(120).collect(),
                why,
            };
            if text.is_empty() {
                continue;
            }
            if glob.is_empty() {
                return Err(error("nothing stands behind `!`"));
            }
            if let Some(glob) = cleaned(glob) {
                let tokens = parse_tokens(&glob).map_err(error)?;
                patterns.push(Pattern { effect, tokens });
            }
            if patterns.len() > MAX_PATTERNS {
                return Err(IgnoreError::TooMany(MAX_PATTERNS));
            }
        }
        Ok(Self { patterns })
    }

    /// Returns whether the file or folder `path` (relative, separated by `/`) is left out of the context. What
    /// matches a folder holds for everything below it until a later pattern says otherwise.
    pub fn excludes(&self, path: &str) -> bool {
        let Some(path) = cleaned(path) else { return false };
        let mut excluded = false;
        for pattern in &self.patterns {
            // A pattern that would say what is said already need not be looked at.
            let would_change = (pattern.effect == Effect::Excludes) != excluded;
            if would_change && matches_path_or_parent(&pattern.tokens, &path) {
                excluded = !excluded;
            }
        }
        excluded
    }
}

/// Returns the path or pattern as Go's `filepath.Clean` leaves it, without slashes around it; `None` for the
/// context's root and for what lies outside.
fn cleaned(text: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn parse_tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() { Token::Rest } else { Token::Folders }
            }
            '*' => Token::Run,
            '?' => Token::Character,
            '\\' => Token::Literal(chars.next().ok_or("it ends in a backslash")?),
            '[' => parse_class(&mut chars)?,
            c => Token::Literal(c),
        });
    }
    Ok(tokens)
}

fn parse_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "`[` without `]`, or an empty range";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let mut take = || match chars.next() {
            Some('\\') => chars.next().ok_or(OPEN).map(Some),
            Some(']') => Ok(None),
            Some(c) => Ok(Some(c)),
            None => Err(OPEN),
        };
        let Some(low) = take()? else { break };
        let high = match chars.next_if_eq(&'-') {
            Some(_) => match chars.next() {
                Some('\\') => chars.next().ok_or(OPEN)?,
                Some(']') | None => return Err(OPEN),
                Some(c) => c,
            },
            None => low,
        };
        if low > high {
            return Err(OPEN);
        }
        ranges.push((low, high));
    }
    if ranges.is_empty() { Err(OPEN) } else { Ok(Token::Class { negated, ranges }) }
}

/// Runs all readings of the pattern side by side: time is at most tokens times characters.
fn matches_path_or_parent(tokens: &[Token], path: &str) -> bool {
    // alive[p]: the first p tokens match what was read; inside[p]: token p is a `Folders` in mid-part.
    let mut alive = vec![false; tokens.len() + 1];
    let mut inside = vec![false; tokens.len() + 1];
    alive[0] = true;
    skip_optional(tokens, &mut alive);
    for c in path.chars() {
        if c == '/' && alive[tokens.len()] {
            return true;
        }
        let mut next = vec![false; tokens.len() + 1];
        let mut next_inside = vec![false; tokens.len() + 1];
        for (p, token) in tokens.iter().enumerate().filter(|(p, _)| alive[*p] || inside[*p]) {
            match token {
                Token::Literal(literal) => next[p + 1] |= *literal == c,
                Token::Character => next[p + 1] |= c != '/',
                Token::Class { negated, ranges } => {
                    let listed = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[p + 1] |= c != '/' && listed != *negated;
                }
                Token::Run => next[p] |= c != '/',
                Token::Rest => next[p] = true,
                Token::Folders => {
                    next_inside[p] = true;
                    next[p + 1] |= c == '/';
                }
            }
        }
        skip_optional(tokens, &mut next);
        (alive, inside) = (next, next_inside);
        if !alive.contains(&true) && !inside.contains(&true) {
            return false;
        }
    }
    alive[tokens.len()]
}

fn skip_optional(tokens: &[Token], alive: &mut [bool]) {
    for (p, token) in tokens.iter().enumerate() {
        if alive[p] && matches!(token, Token::Run | Token::Rest | Token::Folders) {
            alive[p + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests;
