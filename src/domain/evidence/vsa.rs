//! SLSA verification summaries (SLSA v1.2, "Verification Summary Attestation"): what was verified, by which
//! policy, from which evidence.

use serde::{Deserialize, Serialize};

use super::NotEvidence;
use super::provenance::Resource;
use super::statement::parse_predicate;

/// The specification's version that a summary is written by.
const SLSA_VERSION: &str = "1.2";
/// Most input attestations or levels that a summary may list.
const MAX_LISTED: usize = 256;

/// A verification summary; Airlock only ever writes one that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationSummary {
    pub verifier: Verifier,
    /// RFC 3339.
    pub time_verified: String,
    /// What was verified: the image's name with its digest.
    pub resource_uri: String,
    pub policy: Resource,
    #[serde(default)]
    pub input_attestations: Vec<Resource>,
    pub verification_result: VerificationResult,
    pub verified_levels: Vec<String>,
    #[serde(default)]
    pub slsa_version: String,
}

/// Who verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    pub id: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VerificationResult {
    Passed,
    Failed,
}

impl VerificationSummary {
    /// Creates the summary of a verification that passed.
    pub fn of_passed(
        verifier: &str,
        time_verified: String,
        resource_uri: String,
        policy: Resource,
        input_attestations: Vec<Resource>,
        verified_levels: Vec<String>,
    ) -> Self {
        Self {
            verifier: Verifier { id: verifier.to_owned() },
            time_verified,
            resource_uri,
            policy,
            input_attestations,
            verification_result: VerificationResult::Passed,
            verified_levels,
            slsa_version: SLSA_VERSION.to_owned(),
        }
    }

    /// Returns whether the verification passed.
    pub fn passed(&self) -> bool {
        self.verification_result == VerificationResult::Passed
    }

    /// Returns the predicate as JSON.
    pub fn to_predicate(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are JSON")
    }

    /// Parses the predicate of a statement's payload; unknown fields are read over.
    pub fn parse(payload: &[u8]) -> Result<Self, NotEvidence> {
        let summary: Self = parse_predicate(payload)?;
        if summary.input_attestations.len().max(summary.verified_levels.len()) > MAX_LISTED {
            return Err(NotEvidence::new(
                "a verification summary",
                format!("a list has more than {MAX_LISTED} entries"),
            ));
        }
        Ok(summary)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::evidence::{EvidenceKind, statement};

    #[test]
    fn the_predicate_is_slsas_and_is_read_back() {
        let policy = Resource {
            name: None,
            uri: Some("file:trust.toml".into()),
            digest: [("sha256".to_owned(), Digest::of(b"policy").hex().to_owned())].into(),
            media_type: None,
        };
        let summary = VerificationSummary::of_passed(
            "https://gitlab.example/airlock",
            "2026-11-22T10:15:00Z".into(),
            "registry.example/acme/billing@sha256:00".into(),
            policy,
            Vec::new(),
            vec!["SLSA_BUILD_LEVEL_3".into()],
        );
        let subject = Digest::of(b"image");
        let payload =
            statement::compose(EvidenceKind::Vsa, "r/a", &subject, &summary.to_predicate()).unwrap();
        insta::assert_snapshot!(String::from_utf8(payload.clone()).unwrap());
        assert_eq!(VerificationSummary::parse(&payload).unwrap(), summary);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_summary_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = VerificationSummary::parse(&bytes);
        }
    }
}
