//! Evidence about an image: in-toto statements in DSSE envelopes, simple signing payloads, and the
//! bundles that carry them (in-toto Statement v1, DSSE v1, Sigstore bundle v0.3, Cosign's legacy form).
//!
//! Parsers are bounded and strict on what they read. Nothing here decides whether evidence is good.

pub mod bundle;
pub mod collected;
pub mod envelope;
pub mod layout;
pub mod promotion;
pub mod provenance;
pub mod simple_signing;
pub mod statement;
pub mod test_result;
pub mod vsa;

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

/// in-toto's promotion record (in-toto Attestation Framework, predicate "Container Image Promotion Record").
pub const PREDICATE_PROMOTION: &str = "https://k8s.io/promo-tools/promotion/v1";
/// SLSA verification summary v1.
pub const PREDICATE_VSA: &str = "https://slsa.dev/verification_summary/v1";

/// A kind of evidence that a policy can demand beside the image signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    Spdx,
    #[serde(rename = "cyclonedx")]
    CycloneDx,
    Provenance,
    /// The unit test's, of staging.
    TestResult,
    /// The integration test's, of the hub.
    HubTestResult,
    Promotion,
    Vsa,
}

impl EvidenceKind {
    /// Every kind that staging makes, in the order in which they are written and reported.
    pub const ALL: [Self; 4] = [Self::Spdx, Self::CycloneDx, Self::Provenance, Self::TestResult];
    /// Every kind that a promotion adds, in the same order.
    pub const PROMOTED: [Self; 3] = [Self::HubTestResult, Self::Promotion, Self::Vsa];

    /// Returns the in-toto predicate type.
    pub fn predicate_type(self) -> &'static str {
        match self {
            Self::Spdx => PREDICATE_SPDX,
            Self::CycloneDx => PREDICATE_CYCLONEDX,
            Self::Provenance => PREDICATE_PROVENANCE,
            // Two kinds of one type: the predicate says which test it was.
            Self::TestResult | Self::HubTestResult => PREDICATE_TEST_RESULT,
            Self::Promotion => PREDICATE_PROMOTION,
            Self::Vsa => PREDICATE_VSA,
        }
    }

    /// Returns the kind that a predicate type stands for; any test result counts as the unit test's.
    pub fn of_predicate_type(uri: &str) -> Option<Self> {
        Self::every().find(|kind| kind.predicate_type() == uri)
    }

    /// Returns every kind there is.
    pub fn every() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain(Self::PROMOTED)
    }

    /// Returns the word that policies and reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spdx => "spdx",
            Self::CycloneDx => "cyclonedx",
            Self::Provenance => "provenance",
            Self::TestResult => "test-result",
            Self::HubTestResult => "hub-test-result",
            Self::Promotion => "promotion",
            Self::Vsa => "vsa",
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

impl Format {
    /// Both: what a delivery or a promotion leaves behind.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Bundle];
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
