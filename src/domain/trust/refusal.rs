//! Why an image is not trusted: absent, unknown and wrong are three different answers.

use crate::failure::{
    CLI_EVIDENCE_MISSING, CLI_NO_SIGNATURE, CLI_POLICY, CLI_UNKNOWN_KEY, CLI_WRONG_SIGNATURE,
    EXIT_REFUSED_BY_PUBLISH_POLICY, Failure, FailureKind,
};

/// The answer's kind, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// No image signature at all.
    NoSignature,
    /// Signed, but by no key that is trusted for it now.
    UnknownKey,
    /// A trusted key's signature, but it does not match what it is attached to.
    Wrong,
    /// Evidence that the policy demands is not there.
    Missing,
    /// Genuine evidence says no, or no rule covers the image.
    Policy,
}

/// A refusal: everything that speaks against the image, the first deciding the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    pub(super) kind: RefusalKind,
    pub(super) what: String,
    pub(super) causes: Vec<String>,
    pub(super) hint: String,
}

impl Refusal {
    /// Returns the answer's kind.
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// Returns what speaks against the image.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let cli = match refusal.kind {
            RefusalKind::NoSignature => CLI_NO_SIGNATURE,
            RefusalKind::UnknownKey => CLI_UNKNOWN_KEY,
            RefusalKind::Wrong => CLI_WRONG_SIGNATURE,
            RefusalKind::Missing => CLI_EVIDENCE_MISSING,
            RefusalKind::Policy => CLI_POLICY,
        };
        let kind = FailureKind::Refused { stage: EXIT_REFUSED_BY_PUBLISH_POLICY, cli };
        let failure = Failure::new(kind, refusal.what);
        refusal.causes.into_iter().fold(failure, Failure::because).hint(refusal.hint)
    }
}
