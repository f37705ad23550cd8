//! What a Compose file asked for and may not have: all of it at once, each with its place and the reason.

use std::fmt;

use crate::failure::Failure;

/// Most refusals that are told.
const MAX_TOLD: usize = 30;

/// One thing that is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("`{at}`: {why}")]
pub struct ComposeRefusal {
    /// Where it stands, as a path of keys: `services.api.ports`.
    pub at: String,
    /// Why, and what to do instead.
    pub why: String,
}

/// Everything that is refused in one file; at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeRefusals(Vec<ComposeRefusal>);

impl ComposeRefusals {
    /// Returns the refusals, sorted by place.
    pub fn all(&self) -> &[ComposeRefusal] {
        &self.0
    }
}

impl fmt::Display for ComposeRefusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for ComposeRefusals {}

impl From<ComposeRefusals> for Failure {
    fn from(refusals: ComposeRefusals) -> Self {
        let failure =
            Failure::refused("cannot run the Compose file: it asks for what a hub's stack may not have");
        let failure = refusals.0.iter().take(MAX_TOLD).fold(failure, Failure::because);
        let failure = match refusals.0.len().saturating_sub(MAX_TOLD) {
            0 => failure,
            more => failure.because(format!("and {more} more")),
        };
        failure.hint("docs/compose.md goes through the Compose Specification key by key: allowed, rewritten or refused, and why")
    }
}

/// Collects refusals while a file is compiled.
#[derive(Debug, Default)]
pub(super) struct Refusing {
    refusals: Vec<ComposeRefusal>,
}

impl Refusing {
    pub(super) fn refuse(&mut self, at: impl AsRef<str>, why: impl Into<String>) {
        let printable = |text: &str, limit: usize| -> String {
            text.chars().filter(|c| !c.is_control()).take(limit).collect()
        };
        let refusal = ComposeRefusal { at: printable(at.as_ref(), 200), why: printable(&why.into(), 400) };
        // A file of nothing but mistakes must not become a list without an end.
        if self.refusals.len() < 1000 {
            self.refusals.push(refusal);
        }
    }

    pub(super) fn finish<T>(mut self, value: T) -> Result<T, ComposeRefusals> {
        if self.refusals.is_empty() {
            return Ok(value);
        }
        self.refusals.sort();
        self.refusals.dedup();
        Err(ComposeRefusals(self.refusals))
    }
}
