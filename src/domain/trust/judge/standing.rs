//! Who signed what was found, and whether that key may say it about this image now.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Problem;
use crate::domain::digest::Digest;
use crate::domain::evidence::Format;
use crate::domain::evidence::collected::{FoundSignature, FoundStatement};
use crate::domain::evidence::simple_signing::SimpleSigning;
use crate::domain::public_key::PublicKey;
use crate::domain::trust::RefusalKind;
use crate::domain::trust::policy::{KeyUse, TrustPolicy, TrustedKey};

/// Most different reasons that a refusal tells.
const MAX_REASONS: usize = 5;

/// Everything that was found for one purpose, sorted into good and not.
pub(super) struct Tally<'a> {
    policy: &'a TrustPolicy,
    key_use: KeyUse,
    digest: &'a Digest,
    now: OffsetDateTime,
    good: Vec<Good<'a>>,
    bad: BTreeMap<String, (RefusalKind, usize)>,
    found: usize,
}

/// Something that a trusted, valid key of the right use said about this very digest.
pub(super) struct Good<'a> {
    pub(super) key: &'a TrustedKey,
    pub(super) format: Format,
    pub(super) statement: Option<&'a FoundStatement>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(
        policy: &'a TrustPolicy,
        key_use: KeyUse,
        digest: &'a Digest,
        now: OffsetDateTime,
    ) -> Self {
        Self { policy, key_use, digest, now, good: Vec::new(), bad: BTreeMap::new(), found: 0 }
    }

    pub(super) fn simple_signing(&mut self, found: &'a FoundSignature) {
        let about = SimpleSigning::parse(&found.payload).ok().map(|signing| signing.digest().clone());
        let signed_by = |key: &PublicKey| key.verifies(&found.payload, &found.signature);
        match self.key_of(signed_by, None) {
            Ok(key) => match about {
                Some(about) if about == *self.digest => self.keep(key, Format::Legacy, None),
                Some(about) => self.wrong_subject(key, &[about]),
                None => {
                    self.bad(RefusalKind::Wrong, format!("by `{}`, but not a signature payload", key.name))
                }
            },
            Err((kind, reason)) => self.bad(kind, reason),
        }
    }

    pub(super) fn statement(&mut self, found: &'a FoundStatement) {
        let signed_by = |key: &PublicKey| found.envelope.is_signed_by(key);
        match self.key_of(signed_by, found.hint.as_deref()) {
            Ok(key) if found.statement.is_about(self.digest) => self.keep(key, found.format, Some(found)),
            Ok(key) => self.wrong_subject(key, found.statement.subjects()),
            Err((kind, reason)) => self.bad(kind, reason),
        }
    }

    pub(super) fn found(&self) -> usize {
        self.found
    }

    pub(super) fn good(&self) -> &[Good<'a>] {
        &self.good
    }

    /// Tells why nothing of what was found is good.
    pub(super) fn into_problem(self, what: &str) -> Problem {
        let kinds = || self.bad.values().map(|(kind, _)| *kind);
        // A trusted key's signature in the wrong place says more than a stranger's beside it.
        let kind = kinds().find(|kind| *kind == RefusalKind::Wrong).unwrap_or(RefusalKind::UnknownKey);
        let mut reasons: Vec<String> = self
            .bad
            .iter()
            .take(MAX_REASONS)
            .map(|(reason, (_, count))| format!("{count} {reason}"))
            .collect();
        if self.bad.len() > MAX_REASONS {
            reasons.push("…".into());
        }
        let trusted: Vec<String> = self
            .policy
            .keys
            .iter()
            .filter(|key| key.key_use == self.key_use)
            .map(|key| format!("`{}`", key.name))
            .collect();
        let trusted = if trusted.is_empty() { "none".into() } else { trusted.join(", ") };
        let text = format!(
            "{what}: found {}, none good: {}; trusted for it: {trusted} ({})",
            self.found,
            reasons.join("; "),
            self.policy.file
        );
        Problem { kind, text }
    }

    fn key_of(
        &self,
        signed_by: impl Fn(&PublicKey) -> bool,
        hint: Option<&str>,
    ) -> Result<&'a TrustedKey, (RefusalKind, String)> {
        let policy: &'a TrustPolicy = self.policy;
        let Some(key) = policy.keys.iter().find(|key| signed_by(&key.public)) else {
            let claimed = hint.and_then(|hint| {
                policy.keys.iter().find(|key| key.key_use == self.key_use && key.public.hint() == hint)
            });
            return Err(match (claimed, hint.filter(|hint| is_hint(hint))) {
                (Some(key), _) => (
                    RefusalKind::Wrong,
                    format!("that claims the key `{}`, whose signature it does not carry", key.name),
                ),
                (None, Some(hint)) => {
                    let fingerprint = hint.trim_end_matches('=');
                    (RefusalKind::UnknownKey, format!("by a key that calls itself `SHA256:{fingerprint}`"))
                }
                (None, None) => (RefusalKind::UnknownKey, "by an unknown key".into()),
            });
        };
        if key.key_use != self.key_use {
            let reason = format!(
                "by `{}`, a key for {} and not for {}",
                key.name,
                key.key_use.as_str(),
                self.key_use.as_str()
            );
            return Err((RefusalKind::UnknownKey, reason));
        }
        if key.is_valid_at(self.now) {
            return Ok(key);
        }
        let reason = if self.now < key.not_before {
            format!("by `{}`, which is valid only from {}", key.name, date(key.not_before))
        } else {
            format!("by `{}`, which was valid until {}", key.name, date(key.not_after))
        };
        Err((RefusalKind::UnknownKey, reason))
    }

    fn keep(&mut self, key: &'a TrustedKey, format: Format, statement: Option<&'a FoundStatement>) {
        self.found += 1;
        self.good.push(Good { key, format, statement });
    }

    fn wrong_subject(&mut self, key: &TrustedKey, about: &[Digest]) {
        let about =
            about.first().map_or("nothing".to_owned(), |digest| format!("sha256:{}…", digest.short()));
        self.bad(RefusalKind::Wrong, format!("by `{}`, but about {about}", key.name));
    }

    fn bad(&mut self, kind: RefusalKind, reason: String) {
        self.found += 1;
        self.bad.entry(reason).or_insert((kind, 0)).1 += 1;
    }
}

fn is_hint(hint: &str) -> bool {
    hint.len() == 44 && hint.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
}

fn date(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.unix_timestamp().to_string())
}
