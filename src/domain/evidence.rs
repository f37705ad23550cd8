//! Evidence about an image: in-toto statements in DSSE envelopes, simple signing payloads, and the
//! bundles that carry them (in-toto Statement v1, DSSE v1, Sigstore bundle v0.3, Cosign's legacy form).
//!
//! Parsers are bounded and strict on what they read. Nothing here decides whether evidence is good.

pub mod bundle;
pub mod collected;
pub mod envelope;
pub mod provenance;
pub mod simple_signing;
pub mod statement;
pub mod test_result;

use std::fmt;

use serde::{Deserialize, Serialize};

/// Largest envelope, bundle or statement that is read, in bytes.
pub const MAX_EVIDENCE_BYTES: u64 = 32 * 1024 * 1024;

/// What an image signature in bundle form says.
pub const PREDICATE_COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// SPDX document as predicate.
pub const PREDICATE_SPDX: &str = "https://spdx.dev/Document";
/// CycloneDX document as predicate.
pub const PREDICATE_CYCLONEDX: &str = "https://cyclonedx.org/bom";
/// SLSA provenance v1.
pub const PREDICATE_PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// in-toto test result v0.1.
pub const PREDICATE_TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// A kind of evidence that a policy can demand beside the image signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    Spdx,
    #[serde(rename = "cyclonedx")]
    CycloneDx,
    Provenance,
    TestResult,
}

impl EvidenceKind {
    /// Every kind, in the order in which they are written and reported.
    pub const ALL: [Self; 4] = [Self::Spdx, Self::CycloneDx, Self::Provenance, Self::TestResult];

    /// Returns the in-toto predicate type.
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::Spdx => PREDICATE_SPDX,
            Self::CycloneDx => PREDICATE_CYCLONEDX,
            Self::Provenance => PREDICATE_PROVENANCE,
            Self::TestResult => PREDICATE_TEST_RESULT,
        }
    }

    /// Returns the kind that a predicate type stands for.
    pub fn of_predicate_type(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.predicate_type() == uri)
    }

    /// Returns the word that policies and reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spdx => "spdx",
            Self::CycloneDx => "cyclonedx",
            Self::Provenance => "provenance",
            Self::TestResult => "test-result",
        }
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of Cosign's two forms a piece of evidence was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A layer of the `.sig` or `.att` tag.
    Legacy,
    /// A Sigstore bundle that refers to the image.
    Bundle,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Bundle => "bundle",
        })
    }
}

/// Why bytes are not the evidence they are said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}: {why}")]
pub struct NotEvidence {
    expected: &'static str,
    why: String,
}

impl NotEvidence {
    pub(crate) fn new(expected: &'static str, why: impl fmt::Display) -> Self {
        // The reason may quote the evidence, which is a stranger's text.
        let why = why.to_string().chars().filter(|c| !c.is_control()).take(300).collect();
        Self { expected, why }
    }
}
