//! in-toto statements (in-toto Attestation Framework, Statement v1; v0.1 is read as Cosign writes it).

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::{EvidenceKind, MAX_EVIDENCE_BYTES, NotEvidence, PREDICATE_COSIGN_SIGN};
use crate::domain::digest::Digest;

const TYPE_V1: &str = "https://in-toto.io/Statement/v1";
const TYPE_V0_1: &str = "https://in-toto.io/Statement/v0.1";
/// Most subjects that a statement may name.
const MAX_SUBJECTS: usize = 64;

/// What a statement is about and of which type: all of it but the predicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    subjects: Vec<Digest>,
    predicate_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<RawSubject>,
    predicate_type: String,
    // Read over, not into memory: an SBOM can be large.
    #[serde(default, rename = "predicate")]
    _predicate: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct RawSubject {
    digest: RawDigestSet,
}

#[derive(Deserialize)]
struct RawDigestSet {
    sha256: Option<String>,
}

#[derive(Deserialize)]
struct WithPredicate<T> {
    predicate: T,
}

#[derive(Serialize)]
struct NamedSubject<'a> {
    name: &'a str,
    digest: DigestSet<'a>,
}

#[derive(Serialize)]
struct DigestSet<'a> {
    sha256: &'a str,
}

impl Statement {
    /// Parses a payload without its predicate.
    pub fn parse(payload: &[u8]) -> Result<Self, NotEvidence> {
        if payload.len() as u64 > MAX_EVIDENCE_BYTES {
            return Err(error(format!("larger than {MAX_EVIDENCE_BYTES} bytes")));
        }
        let raw: RawStatement = serde_json::from_slice(payload).map_err(error)?;
        if raw.kind != TYPE_V1 && raw.kind != TYPE_V0_1 {
            return Err(error(format!("expected `_type` `{TYPE_V1}`, found `{}`", raw.kind)));
        }
        if raw.subject.is_empty() || raw.subject.len() > MAX_SUBJECTS {
            return Err(error(format!("expected 1 to {MAX_SUBJECTS} subjects, found {}", raw.subject.len())));
        }
        let subjects = raw
            .subject
            .iter()
            // A subject without SHA-256 is of another world; it can never be an image of ours.
            .filter_map(|subject| subject.digest.sha256.as_deref())
            .map(Digest::from_hex)
            .collect::<Result<Vec<_>, _>>()
            .map_err(error)?;
        Ok(Self { subjects, predicate_type: raw.predicate_type })
    }

    /// Returns whether the statement is about `digest`.
    pub fn is_about(&self, digest: &Digest) -> bool {
        self.subjects.contains(digest)
    }

    /// Returns the digests that the statement is about.
    pub fn subjects(&self) -> &[Digest] {
        &self.subjects
    }

    /// Returns the predicate type.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }
}

/// Parses the predicate of a statement that was parsed before.
pub fn parse_predicate<T: DeserializeOwned>(payload: &[u8]) -> Result<T, NotEvidence> {
    serde_json::from_slice::<WithPredicate<T>>(payload)
        .map(|with| with.predicate)
        .map_err(|e| NotEvidence::new("a statement with the predicate of its type", e))
}

/// Returns the payload of a statement of `kind` about the image `name` with `digest`.
///
/// `predicate` is taken over to the byte, so that the document's own digest can be found again; it
/// must be a JSON object.
pub fn compose(
    kind: EvidenceKind,
    name: &str,
    digest: &Digest,
    predicate: &[u8],
) -> Result<Vec<u8>, NotEvidence> {
    serde_json::from_slice::<std::collections::BTreeMap<String, IgnoredAny>>(predicate)
        .map_err(|e| NotEvidence::new("a JSON object", e))?;
    let subject = NamedSubject { name, digest: DigestSet { sha256: digest.hex() } };
    let subject = serde_json::to_string(&subject).expect("strings are JSON");
    let mut payload = format!(
        r#"{{"_type":"{TYPE_V1}","subject":[{subject}],"predicateType":"{}","predicate":"#,
        kind.predicate_type()
    )
    .into_bytes();
    payload.extend_from_slice(predicate.trim_ascii());
    payload.push(b'}');
    Ok(payload)
}

/// Returns the payload of an image signature in bundle form, to the byte as Cosign 3 writes it.
pub fn compose_image_signature(digest: &Digest) -> Vec<u8> {
    format!(
        r#"{{"_type":"{TYPE_V1}","subject":[{{"digest":{{"sha256":"{}"}},"annotations":{{}}}}],"predicateType":"{PREDICATE_COSIGN_SIGN}","predicate":{{}}}}"#,
        digest.hex()
    )
    .into_bytes()
}

fn error(why: impl std::fmt::Display) -> NotEvidence {
    NotEvidence::new("an in-toto statement", why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_image_signature_is_cosigns_to_the_byte() {
        let payload = compose_image_signature(&Digest::of(b"image"));
        insta::assert_snapshot!(String::from_utf8(payload.clone()).unwrap());
        let statement = Statement::parse(&payload).unwrap();
        assert!(statement.is_about(&Digest::of(b"image")));
        assert_eq!(statement.predicate_type(), PREDICATE_COSIGN_SIGN);
    }

    #[test]
    fn keeps_the_bytes_of_a_document() {
        let document = b"{\n  \"spdxVersion\": \"SPDX-2.3\", \"n\": 1.10\n}\n";
        let payload =
            compose(EvidenceKind::Spdx, "r.example/a\"b", &Digest::of(b"image"), document).unwrap();
        insta::assert_snapshot!(String::from_utf8(payload.clone()).unwrap());
        Statement::parse(&payload).unwrap();
        assert!(compose(EvidenceKind::Spdx, "r", &Digest::of(b""), b"[1]").is_err());
        assert!(compose(EvidenceKind::Spdx, "r", &Digest::of(b""), b"{},\"predicateType\":{}").is_err());
    }

    #[test]
    fn refuses_what_is_no_statement_about_an_image() {
        let hex = "0".repeat(64);
        let with = |kind: &str, subject: &str, more: &str| {
            let json = format!(r#"{{"_type":"{kind}","subject":{subject},"predicateType":"p"{more}}}"#);
            Statement::parse(json.as_bytes()).map_err(|e| e.to_string())
        };
        let good = format!(r#"[{{"digest":{{"sha256":"{hex}"}}}}]"#);
        assert!(with(TYPE_V1, &good, "").is_ok());
        assert!(with(TYPE_V0_1, &good, r#","predicate":{"a":1}"#).is_ok());
        let many = format!("[{}]", vec![good.trim_matches(['[', ']']); 65].join(","));
        insta::assert_debug_snapshot!([
            with("https://in-toto.io/Statement/v2", &good, "").unwrap_err(),
            with(TYPE_V1, "[]", "").unwrap_err(),
            with(TYPE_V1, &many, "").unwrap_err(),
            with(TYPE_V1, r#"[{"digest":{"sha256":"AB"}}]"#, "").unwrap_err(),
            with(TYPE_V1, &good, r#","predicateType":"q""#).unwrap_err(),
            with(TYPE_V1, &good, &format!(r#","predicate":{}"#, "[".repeat(5000))).unwrap_err(),
        ]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_statement_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Statement::parse(&bytes);
        }

        #[test]
        fn what_is_composed_is_read_back(name in "\\PC{0,40}", seed in any::<u64>(), key in "\\PC{0,20}") {
            let digest = Digest::of(&seed.to_le_bytes());
            let predicate = serde_json::to_vec(&serde_json::json!({ key: seed })).unwrap();
            let payload = compose(EvidenceKind::CycloneDx, &name, &digest, &predicate).unwrap();
            let statement = Statement::parse(&payload).unwrap();
            prop_assert_eq!(statement.subjects(), &[digest][..]);
            prop_assert_eq!(parse_predicate::<serde_json::Value>(&payload).unwrap(),
                serde_json::from_slice::<serde_json::Value>(&predicate).unwrap());
        }
    }
}
