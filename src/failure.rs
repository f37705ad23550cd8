//! Whose fault a failure is, what is said about it, and the exit code.
//!
//! Adapters have small error enums of their own; the conversion to a [`Failure`] stands beside each
//! enum, because only the adapter knows what its reader can do next.
//! Rendering adds layout, takes control characters away and never changes a sentence.

use std::error::Error;
use std::fmt;

/// Number for `BUILD_EXIT_CODE_FILE`: refused before the script ran.
pub const EXIT_REFUSED_BEFORE_SCRIPT: u8 = 100;
/// Number for `BUILD_EXIT_CODE_FILE`: refused by the publish policy.
pub const EXIT_REFUSED_BY_PUBLISH_POLICY: u8 = 101;
/// Number for `BUILD_EXIT_CODE_FILE`: the tests failed although the script ended with 0.
pub const EXIT_TESTS_FAILED: u8 = 102;
/// Number for `BUILD_EXIT_CODE_FILE`: the Dockerfile asks for what a build may not have.
pub const EXIT_DOCKERFILE_REFUSED: u8 = 103;
/// Number for `BUILD_EXIT_CODE_FILE`: the image build failed.
pub const EXIT_BUILD_FAILED: u8 = 104;
/// Number for `BUILD_EXIT_CODE_FILE`: the job was cancelled.
pub const EXIT_CANCELLED: u8 = 105;

/// Exit code of a command-line verb: flags, settings or input that cannot be read.
pub const CLI_USAGE: u8 = 2;
/// Exit code of a command-line verb: engine, registry, disk, network or key store.
pub const CLI_SYSTEM: u8 = 3;
/// Exit code of a command-line verb: no signature at all (cosign's number).
pub const CLI_NO_SIGNATURE: u8 = 10;
/// Exit code of a command-line verb: no such tag or digest (cosign's number).
pub const CLI_NO_SUCH_TAG: u8 = 11;
/// Exit code of a command-line verb: signatures exist, none by a trusted key (cosign's number).
pub const CLI_UNKNOWN_KEY: u8 = 12;
/// Exit code of a command-line verb: a signature or attestation does not match what it is attached to.
pub const CLI_WRONG_SIGNATURE: u8 = 13;
/// Exit code of a command-line verb: evidence that the policy demands is absent.
pub const CLI_EVIDENCE_MISSING: u8 = 14;
/// Exit code of a command-line verb: the evidence is genuine and says no, or no rule covers the image.
pub const CLI_POLICY: u8 = 15;
/// Exit code of a command-line verb: refused for any other reason.
pub const CLI_REFUSED: u8 = 16;
/// Exit code of a command-line verb: the job that the verb ran ended red.
pub const CLI_JOB_FAILED: u8 = 20;
/// Exit code of a command-line verb: a bug.
pub const CLI_INTERNAL: u8 = 70;

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The user's own work ended red; the number goes to `BUILD_EXIT_CODE_FILE`.
    Job { exit_code: u8 },
    /// Policy says no; a retry is pointless. `stage` is for `BUILD_EXIT_CODE_FILE`, `cli` for a verb.
    Refused { stage: u8, cli: u8 },
    /// Flags, a settings file or an unreadable input: the administrator's to mend.
    Usage,
    /// Engine, registry, disk, network, key store: a retry may help.
    System,
    /// A bug in Airlock.
    Internal,
    /// GitLab or a person stopped the work.
    Cancelled,
}

/// A failure as it is shown to a person, and the kind that decides the exit code.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    what: String,
    causes: Vec<String>,
    hints: Vec<String>,
    notes: Vec<String>,
}

impl Failure {
    /// Creates a failure; `what` says what could not be done and which thing.
    pub fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), causes: Vec::new(), hints: Vec::new(), notes: Vec::new() }
    }

    /// The user's own work ended red.
    pub fn job(exit_code: u8, what: impl Into<String>) -> Self {
        Self::new(FailureKind::Job { exit_code }, what)
    }

    /// Refused before the script ran.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused { stage: EXIT_REFUSED_BEFORE_SCRIPT, cli: CLI_REFUSED }, what)
    }

    /// Refused by the publish policy.
    pub fn refused_to_publish(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused { stage: EXIT_REFUSED_BY_PUBLISH_POLICY, cli: CLI_REFUSED }, what)
    }

    /// A settings file, a flag or an input that cannot be read.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, what)
    }

    /// Engine, registry, disk, network or key store.
    pub fn system(what: impl Into<String>) -> Self {
        Self::new(FailureKind::System, what)
    }

    /// A bug in Airlock.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, what)
    }

    /// The work was stopped from outside.
    pub fn cancelled(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Cancelled, what)
    }

    /// Adds why, from the outside world, its words quoted.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds the whole chain of a source error as causes, without repeating a text.
    pub fn because_of(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            if !self.causes.iter().any(|known| known.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds who must act; only in executor stages.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds who must act unless the failure says so itself.
    pub fn or_note(self, note: &str) -> Self {
        if self.notes.is_empty() { self.note(note) } else { self }
    }

    /// Replaces the kind, where the caller knows better whose fault it is.
    pub fn with_kind(mut self, kind: FailureKind) -> Self {
        self.kind = kind;
        self
    }

    /// Says what was being done when this happened; what it said so far becomes the first cause.
    pub fn while_doing(mut self, what: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.what, what.into());
        self.causes.insert(0, cause);
        self
    }

    /// Returns whose fault it is.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Returns the first line's text.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Returns the causes, outermost first.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// Returns the next steps.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Returns the exit code of a command-line verb.
    pub fn cli_exit_code(&self) -> u8 {
        match self.kind {
            FailureKind::Job { .. } => CLI_JOB_FAILED,
            FailureKind::Refused { cli, .. } => cli,
            FailureKind::Usage => CLI_USAGE,
            FailureKind::System => CLI_SYSTEM,
            FailureKind::Internal => CLI_INTERNAL,
            FailureKind::Cancelled => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FailureKind::Internal => write!(
                f,
                "error: internal error: {} (airlock {}, please report)",
                printable(&self.what),
                env!("CARGO_PKG_VERSION")
            )?,
            _ => write!(f, "error: {}", printable(&self.what))?,
        }
        let mut block = |label: &str, lines: &[String]| -> fmt::Result {
            for (i, line) in lines.iter().enumerate() {
                let lead = if i == 0 { format!("{label}: ") } else { " ".repeat(label.len() + 2) };
                let indent = format!("\n{}", " ".repeat(label.len() + 2));
                write!(f, "\n{lead}{}", printable(line.trim_end()).replace('\n', &indent))?;
            }
            Ok(())
        };
        block("caused by", &self.causes)?;
        block("hint", &self.hints)?;
        block("note", &self.notes)
    }
}

impl Error for Failure {}

/// A cause may quote a job's own words: they must not move a cursor or forge a section of the log.
fn printable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\t' | '\n') || !c.is_control()).collect()
}

/// The result of every use-case.
pub type Outcome<T> = Result<T, Failure>;
