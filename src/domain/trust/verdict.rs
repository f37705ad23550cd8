//! What was found good: the proof that a judgement took place.

use std::collections::BTreeSet;

use crate::domain::digest::Digest;
use crate::domain::evidence::provenance::Provenance;
use crate::domain::evidence::test_result::PassedTestResult;
use crate::domain::evidence::{EvidenceKind, Format};

use super::Subject;

/// The judgement that an image is trusted; only [`super::TrustPolicy::judge`] makes one.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub(super) subject: Subject,
    pub(super) rule: String,
    pub(super) signature: AcceptedSignature,
    pub(super) evidence: Vec<AcceptedEvidence>,
    pub(super) provenances: Vec<Provenance>,
    pub(super) test_result: Option<PassedTestResult>,
    pub(super) notes: Vec<String>,
}

/// The image signature that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedSignature {
    pub(super) key: String,
    pub(super) formats: BTreeSet<Format>,
}

/// One piece of evidence that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedEvidence {
    pub(super) kind: EvidenceKind,
    pub(super) key: String,
    pub(super) envelope: Digest,
    /// The forms in which evidence of this kind was found acceptable.
    pub(super) formats: BTreeSet<Format>,
    /// Every acceptable envelope of this kind, the chosen one among them.
    pub(super) all: BTreeSet<Digest>,
}

impl AcceptedSignature {
    /// Makes a signature that nobody checked, for the tests of those who only tell its key.
    #[cfg(test)]
    pub(crate) fn unchecked(key: &str) -> Self {
        Self { key: key.to_owned(), formats: Format::ALL.into() }
    }

    /// Returns the trusted key's name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the forms in which a good signature was found.
    pub fn formats(&self) -> &BTreeSet<Format> {
        &self.formats
    }
}

impl AcceptedEvidence {
    /// Returns the kind.
    pub fn kind(&self) -> EvidenceKind {
        self.kind
    }

    /// Returns the trusted key's name.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the digest of the DSSE envelope.
    pub fn envelope(&self) -> &Digest {
        &self.envelope
    }

    /// Returns the forms in which acceptable evidence of this kind was found.
    pub fn formats(&self) -> &BTreeSet<Format> {
        &self.formats
    }
}

impl Verdict {
    /// Returns what was judged.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the rule that decided, as file and line.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Returns the image signature.
    pub fn signature(&self) -> &AcceptedSignature {
        &self.signature
    }

    /// Returns the accepted evidence: every kind that the rule demands.
    pub fn evidence(&self) -> &[AcceptedEvidence] {
        &self.evidence
    }

    /// Returns the evidence of one kind.
    pub fn evidence_of(&self, kind: EvidenceKind) -> Option<&AcceptedEvidence> {
        self.evidence.iter().find(|evidence| evidence.kind == kind)
    }

    /// Returns whether this very envelope is among the acceptable evidence of its kind.
    pub fn has_envelope(&self, kind: EvidenceKind, envelope: &Digest) -> bool {
        self.evidence_of(kind).is_some_and(|accepted| accepted.all.contains(envelope))
    }

    /// Returns the provenance of the highest pipeline.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenances.first()
    }

    /// Returns every acceptable provenance, the highest pipeline first: one digest can be built twice.
    pub fn provenances(&self) -> &[Provenance] {
        &self.provenances
    }

    /// Returns the test result.
    pub fn test_result(&self) -> Option<&PassedTestResult> {
        self.test_result.as_ref()
    }

    /// Returns what was passed over on the way.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
