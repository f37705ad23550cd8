//! The `.dockerignore` file, with the meaning of Moby's `patternmatcher` and `ignorefile`.
//!
//! A file `<Dockerfile>.dockerignore` beside the Dockerfile takes the place of `.dockerignore` at the
//! context's root; the caller chooses which one it parses. Patterns are matched by a table over path parts,
//! without regular expressions, so that no pattern can take long.

/// Largest ignore file that is read, in bytes.
pub const MAX_IGNORE_BYTES: usize = 64 * 1024;
/// Most patterns that are read.
pub const MAX_PATTERNS: usize = 2000;

/// Patterns in the order of the file; the last one that matches decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoreFile {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    effect: Effect,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Excludes,
    Includes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of parts.
    Any,
    /// One part, by its tokens.
    One(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`
    Character,
    /// `*`
    Run,
    /// `[a-z]`, `[^a-z]`
    Class { negated: bool, ranges: Vec<(char, char)> },
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
            if let Some(parts) = cleaned(glob).map_err(error)? {
                patterns.push(Pattern { effect, parts });
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
        let parts: Vec<Vec<char>> =
            path.split('/').filter(|part| !part.is_empty() && *part != ".").map(|part| part.chars().collect()).collect();
        let mut excluded = false;
        for pattern in &self.patterns {
            if (pattern.effect == Effect::Includes) == excluded && pattern.matches_path_or_parent(&parts) {
                excluded = pattern.effect == Effect::Excludes;
            }
        }
        excluded
    }
}

impl Pattern {
    fn matches_path_or_parent(&self, path: &[Vec<char>]) -> bool {
        // reachable[j]: the pattern's parts so far match the first j parts of the path.
        let mut reachable = vec![false; path.len() + 1];
        reachable[0] = true;
        for (index, part) in self.parts.iter().enumerate() {
            let last = index + 1 == self.parts.len();
            let mut next = vec![false; path.len() + 1];
            match part {
                Part::Any => {
                    let mut seen = false;
                    for (j, slot) in next.iter_mut().enumerate() {
                        // At the end `**` stands for at least one part: `a/**` leaves `a` itself alone.
                        *slot = seen || (!last && reachable[j]);
                        seen |= reachable[j];
                    }
                }
                Part::One(tokens) => {
                    for j in 0..path.len() {
                        next[j + 1] = reachable[j] && matches_part(tokens, &path[j]);
                    }
                }
            }
            reachable = next;
        }
        reachable[1..].contains(&true)
    }
}

/// Returns the parts of a pattern as Go's `filepath.Clean` leaves them; `None` for the context's root itself.
fn cleaned(glob: &str) -> Result<Option<Vec<Part>>, &'static str> {
    let mut parts: Vec<&str> = Vec::new();
    for part in glob.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.pop() {
                Some(_) => {}
                None => return Err("it leaves the context"),
            },
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Ok(None);
    }
    parts.into_iter().map(parse_part).collect::<Result<_, _>>().map(Some)
}

fn parse_part(text: &str) -> Result<Part, &'static str> {
    if text == "**" {
        return Ok(Part::Any);
    }
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if chars.peek() == Some(&'*') => return Err("`**` must stand alone between slashes"),
            '*' => Token::Run,
            '?' => Token::Character,
            '\\' => Token::Literal(chars.next().ok_or("a backslash at the end of a part")?),
            '[' => parse_class(&mut chars)?,
            c => Token::Literal(c),
        });
    }
    Ok(Part::One(tokens))
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

/// Greedy with one point of return: quadratic at worst.
fn matches_part(tokens: &[Token], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let c = text[t];
        let one = match tokens.get(p) {
            Some(Token::Run) => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(Token::Literal(literal)) => *literal == c,
            Some(Token::Character) => true,
            Some(Token::Class { negated, ranges }) => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
            None => false,
        };
        match (one, star) {
            (true, _) => (p, t) = (p + 1, t + 1),
            (false, Some((star_p, star_t))) => {
                (p, t) = (star_p + 1, star_t + 1);
                star = Some((star_p, star_t + 1));
            }
            (false, None) => return false,
        }
    }
    tokens[p..].iter().all(|token| *token == Token::Run)
}

#[cfg(test)]
mod tests;
