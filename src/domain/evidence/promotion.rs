//! The promotion record (in-toto Attestation Framework, predicate "Container Image Promotion Record"): this
//! very digest went from one place to another, when, and by whom.

use serde::{Deserialize, Serialize};

use super::NotEvidence;
use super::statement::parse_predicate;
use crate::domain::digest::Digest;

/// One promotion of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionRecord {
    /// Where the image was before: its version tag.
    pub src_ref: String,
    /// Where it is now: its channel tag.
    pub dst_ref: String,
    pub digest: Digest,
    /// RFC 3339.
    pub timestamp: String,
    /// The promoting system and its version.
    pub builder_id: String,
    pub airlock: PromotedBy,
}

/// Airlock's own facts beside the specification's fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotedBy {
    /// The release's manifest digest.
    pub release: Digest,
    /// The release's repository and version tag.
    pub release_ref: String,
    pub sequence: u64,
    /// The hub's job.
    pub job_id: u64,
}

impl PromotionRecord {
    /// Returns the predicate as JSON.
    pub fn to_predicate(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are JSON")
    }

    /// Parses the predicate of a statement's payload; unknown fields are read over.
    pub fn parse(payload: &[u8]) -> Result<Self, NotEvidence> {
        parse_predicate(payload)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::evidence::{EvidenceKind, statement};

    fn record() -> PromotionRecord {
        PromotionRecord {
            src_ref: "registry.example/acme/billing:1.4.0".into(),
            dst_ref: "registry.example/acme/billing:candidate".into(),
            digest: Digest::of(b"image"),
            timestamp: "2026-11-22T10:15:00Z".into(),
            builder_id: "https://gitlab.example/airlock".into(),
            airlock: PromotedBy {
                release: Digest::of(b"release"),
                release_ref: "registry.example/acme/acme/release:2.3.0-r42".into(),
                sequence: 42,
                job_id: 9001,
            },
        }
    }

    #[test]
    fn the_predicate_is_in_totos_and_is_read_back() {
        let payload = statement::compose(
            EvidenceKind::Promotion,
            "r/a",
            &Digest::of(b"image"),
            &record().to_predicate(),
        )
        .unwrap();
        insta::assert_snapshot!(String::from_utf8(payload.clone()).unwrap());
        assert_eq!(PromotionRecord::parse(&payload).unwrap(), record());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PromotionRecord::parse(&bytes);
        }
    }
}
