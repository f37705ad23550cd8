//! Paths that stay inside a component.

use std::fmt;
use std::str::FromStr;

/// A relative path of normal parts separated by `/`: no `..`, no `.` but for the component's root itself, no
/// empty part, no backslash, no control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

/// A text is not a path inside the component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a relative path with `/` between its parts, without `.`, `..`, empty parts, backslashes or control characters, at most 1024 bytes"
)]
pub struct NotARelativePath;

impl RelativePath {
    /// Returns the component's root.
    pub fn root() -> Self {
        Self(".".into())
    }

    /// Returns whether this is the component's root.
    pub fn is_root(&self) -> bool {
        self.0 == "."
    }

    /// Returns the text; the root is `.`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RelativePath {
    type Err = NotARelativePath;

    fn from_str(text: &str) -> Result<Self, NotARelativePath> {
        let normal = |part: &str| !part.is_empty() && part != "." && part != "..";
        let valid = text.len() <= 1024
            && !text.contains('\\')
            && !text.chars().any(char::is_control)
            && (text == "." || text.split('/').all(normal));
        if valid { Ok(Self(text.to_owned())) } else { Err(NotARelativePath) }
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
