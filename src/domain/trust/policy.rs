//! The file `trust.toml` (schema 1): typed, checked, and named by line where it is wrong.

use std::collections::BTreeSet;
use std::io;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::Spanned;

use super::Channel;
use crate::domain::digest::Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::provenance::MAX_HERMETIC_LEVEL;
use crate::domain::image::NamePattern;
use crate::domain::public_key::PublicKey;
use crate::failure::Failure;

/// Largest policy file, in bytes.
pub const MAX_POLICY_BYTES: usize = 64 * 1024;
const MAX_ENTRIES: usize = 64;

/// A checked trust policy: no key has two uses or two names, every rule can be met.
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    pub(super) file: String,
    pub(super) digest: Digest,
    pub(super) keys: Vec<TrustedKey>,
    pub(super) rules: Vec<Rule>,
}

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyUse {
    /// The image signature: the decision to release.
    Image,
    /// SBOM, provenance and test result.
    Attestation,
    /// Release documents.
    Release,
}

impl KeyUse {
    /// Returns the word that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Attestation => "attestation",
            Self::Release => "release",
        }
    }
}

/// A public key with its name, use and validity.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    pub(super) name: String,
    pub(super) key_use: KeyUse,
    pub(super) public: PublicKey,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

impl TrustedKey {
    /// Returns the key's name in the policy.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the key may sign.
    pub fn key_use(&self) -> KeyUse {
        self.key_use
    }

    /// Returns the public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Returns whether the key is valid at `now`.
    pub fn is_valid_at(&self, now: OffsetDateTime) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// What images of some repositories need in a channel.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) repositories: Vec<NamePattern>,
    /// `None` stands for `any`.
    pub(super) channel: Option<Channel>,
    pub(super) evidence: Vec<EvidenceKind>,
    pub(super) builder_id: Option<String>,
    pub(super) project: ProjectRule,
    pub(super) min_hermetic: u8,
}

/// Whether the provenance's project must own the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProjectRule {
    Any,
    OwnsRepository,
}

/// Why a trust policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot use the trust policy `{file}`: it is larger than {MAX_POLICY_BYTES} bytes")]
    TooLarge { file: String },
    #[error("cannot use the trust policy `{file}`, line {line}: {problem}")]
    Wrong { file: String, line: usize, problem: String },
    #[error("cannot use the trust policy `{file}`, line {line}: the public key `{path}` cannot be read")]
    Key {
        file: String,
        line: usize,
        path: String,
        #[source]
        source: io::Error,
    },
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        let failure = Failure::usage(error.to_string());
        match error {
            PolicyError::Key { source, .. } => failure.because(source),
            PolicyError::TooLarge { .. } | PolicyError::Wrong { .. } => failure,
        }
        .hint("the schema stands in docs/formats.md, \"Trust policy\"; nothing is trusted until the file is right")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    schema: Spanned<u32>,
    #[serde(default)]
    key: Vec<Spanned<RawKey>>,
    #[serde(default)]
    require: Vec<Spanned<RawRule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    name: Spanned<String>,
    #[serde(rename = "use")]
    key_use: KeyUse,
    public: Spanned<String>,
    not_before: Spanned<toml::value::Datetime>,
    not_after: Spanned<toml::value::Datetime>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    repositories: Spanned<Vec<String>>,
    channel: Spanned<String>,
    evidence: Spanned<Vec<Spanned<String>>>,
    builder_id: Option<String>,
    #[serde(default)]
    project_from_repository: bool,
    min_hermetic: Option<Spanned<u8>>,
}

impl TrustPolicy {
    /// Parses a policy; `read_key` reads the public key files that it names.
    pub fn parse(
        text: &str,
        file_name: &str,
        read_key: &dyn Fn(&str) -> Result<String, io::Error>,
    ) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge { file: file_name.into() });
        }
        let source = Source { text, file: file_name };
        let raw: RawPolicy = toml::from_str(text)
            .map_err(|e| source.wrong(e.span().unwrap_or_default(), e.message().replace('\n', "; ")))?;
        if *raw.schema.get_ref() != 1 {
            let problem = format!("`schema` is {}: expected 1", raw.schema.get_ref());
            return Err(source.wrong(raw.schema.span(), problem));
        }
        if raw.key.len() > MAX_ENTRIES || raw.require.len() > MAX_ENTRIES {
            return Err(source.wrong(0..0, format!("more than {MAX_ENTRIES} keys or rules")));
        }
        let mut keys: Vec<TrustedKey> = Vec::new();
        for raw in raw.key {
            keys.push(source.key(raw, &keys, read_key)?);
        }
        let rules = raw.require.into_iter().map(|raw| source.rule(raw)).collect::<Result<_, _>>()?;
        Ok(Self { file: file_name.into(), digest: Digest::of(text.as_bytes()), keys, rules })
    }

    /// Returns the name of the file that the policy came from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the digest of the policy's text.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the keys.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }
}

struct Source<'a> {
    text: &'a str,
    file: &'a str,
}

impl Source<'_> {
    fn line(&self, span: &std::ops::Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|b| *b == b'\n').count()
    }

    fn wrong(&self, span: std::ops::Range<usize>, problem: impl Into<String>) -> PolicyError {
        PolicyError::Wrong { file: self.file.into(), line: self.line(&span), problem: problem.into() }
    }

    fn key(
        &self,
        raw: Spanned<RawKey>,
        known: &[TrustedKey],
        read_key: &dyn Fn(&str) -> Result<String, io::Error>,
    ) -> Result<TrustedKey, PolicyError> {
        let raw = raw.into_inner();
        let (name_span, public_span) = (raw.name.span(), raw.public.span());
        let name = raw.name.into_inner();
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 63 || !name.bytes().all(word) {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(63).collect();
            return Err(self.wrong(
                name_span,
                format!("`name` is `{shown}`: expected 1 to 63 letters, digits, `-`, `_` and `.`"),
            ));
        }
        if known.iter().any(|key| key.name == name) {
            return Err(self.wrong(name_span, format!("two keys are named `{name}`")));
        }
        let path = raw.public.into_inner();
        let pem = read_key(&path).map_err(|source| PolicyError::Key {
            file: self.file.into(),
            line: self.line(&public_span),
            path: path.clone(),
            source,
        })?;
        let public = PublicKey::from_pem(&pem)
            .map_err(|e| self.wrong(public_span.clone(), format!("`public` is `{path}`: {e}")))?;
        if let Some(other) = known.iter().find(|key| key.public == public) {
            return Err(self.wrong(
                public_span,
                format!("`{name}` and `{}` are the same key: each key has one use and one entry", other.name),
            ));
        }
        let not_before = self.datetime(&raw.not_before, "not_before")?;
        let not_after = self.datetime(&raw.not_after, "not_after")?;
        if not_after <= not_before {
            return Err(self.wrong(raw.not_after.span(), "`not_after` is not later than `not_before`"));
        }
        Ok(TrustedKey { name, key_use: raw.key_use, public, not_before, not_after })
    }

    fn datetime(
        &self,
        raw: &Spanned<toml::value::Datetime>,
        key: &str,
    ) -> Result<OffsetDateTime, PolicyError> {
        let text = raw.get_ref().to_string();
        OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| {
            self.wrong(
                raw.span(),
                format!("`{key}` is `{text}`: expected date, time and offset, as in 2026-01-01T00:00:00Z"),
            )
        })
    }

    fn rule(&self, raw: Spanned<RawRule>) -> Result<Rule, PolicyError> {
        let line = self.line(&raw.span());
        let raw_span = raw.span();
        let raw = raw.into_inner();
        let patterns = raw.repositories.get_ref();
        if patterns.is_empty() || patterns.iter().any(String::is_empty) || patterns.len() > MAX_ENTRIES {
            return Err(
                self.wrong(raw.repositories.span(), "`repositories` needs patterns such as `acme/**`")
            );
        }
        let channel = match raw.channel.get_ref().as_str() {
            "any" => None,
            word => Some(word.parse().map_err(|e| self.wrong(raw.channel.span(), format!("{e}, or `any`")))?),
        };
        let mut evidence = BTreeSet::new();
        for word in raw.evidence.get_ref() {
            let kind =
                EvidenceKind::every().find(|kind| kind.as_str() == word.get_ref()).ok_or_else(|| {
                    let shown: String = word.get_ref().chars().filter(|c| !c.is_control()).take(60).collect();
                    let problem = format!(
                        "`{shown}` is not a kind of evidence: expected `spdx`, `cyclonedx`, `provenance`, `test-result`, or of a promoted image `hub-test-result`, `promotion`, `vsa`"
                    );
                    self.wrong(word.span(), problem)
                })?;
            if !evidence.insert(kind) {
                return Err(self.wrong(word.span(), format!("`{kind}` is demanded twice")));
            }
        }
        let asks_provenance =
            raw.builder_id.is_some() || raw.project_from_repository || raw.min_hermetic.is_some();
        if asks_provenance && !evidence.contains(&EvidenceKind::Provenance) {
            return Err(self.wrong(
                raw_span,
                "`builder_id`, `project_from_repository` and `min_hermetic` need `provenance` in `evidence`",
            ));
        }
        if let Some(level) = raw.min_hermetic.as_ref().filter(|level| *level.get_ref() > MAX_HERMETIC_LEVEL) {
            let problem =
                format!("`min_hermetic` is {}: expected 0 to {MAX_HERMETIC_LEVEL}", level.get_ref());
            return Err(self.wrong(level.span(), problem));
        }
        Ok(Rule {
            line,
            repositories: raw.repositories.into_inner().into_iter().map(NamePattern::new).collect(),
            channel,
            evidence: evidence.into_iter().collect(),
            builder_id: raw.builder_id,
            project: match raw.project_from_repository {
                true => ProjectRule::OwnsRepository,
                false => ProjectRule::Any,
            },
            min_hermetic: raw.min_hermetic.map_or(0, Spanned::into_inner),
        })
    }
}
