//! The judgement: policy, collected evidence and a point in time in, verdict or refusal out.
//!
//! Order decides nothing: never the first, never the latest. One acceptable piece of a kind is enough,
//! but one genuine test result that is not passed is enough to refuse.

mod standing;

use std::collections::BTreeSet;

use serde::Deserialize;
use time::OffsetDateTime;

use super::policy::{KeyUse, ProjectRule, Rule, TrustPolicy};
use super::verdict::{AcceptedEvidence, AcceptedSignature, Verdict};
use super::{Refusal, RefusalKind, Subject};
use crate::domain::digest::Digest;
use crate::domain::evidence::collected::{CollectedEvidence, FoundStatement};
use crate::domain::evidence::promotion::PromotionRecord;
use crate::domain::evidence::provenance::{Origin, Provenance};
use crate::domain::evidence::statement::parse_predicate;
use crate::domain::evidence::test_result::{
    PassedTestResult, TestOutcome, TestResult, TestStage, stated_outcome,
};
use crate::domain::evidence::vsa::VerificationSummary;
use crate::domain::evidence::{EvidenceKind, Format, NotEvidence, PREDICATE_COSIGN_SIGN};
use standing::Tally;

/// One thing that speaks against the image.
struct Problem {
    kind: RefusalKind,
    text: String,
}

/// What a genuine statement of a demanded kind turned out to hold.
enum Content {
    Document,
    Provenance(Box<Provenance>),
    TestResult(Box<PassedTestResult>),
}

impl TrustPolicy {
    /// Judges what was collected about `subject` at `now`.
    pub fn judge(
        &self,
        subject: &Subject,
        evidence: &CollectedEvidence,
        now: OffsetDateTime,
    ) -> Result<Verdict, Refusal> {
        let Some(rule) = self.rule_for(subject) else {
            let text = format!(
                "no rule of `{}` covers the repository `{}` in the channel `{}`",
                self.file, subject.repository, subject.channel
            );
            return Err(refusal(subject, vec![Problem { kind: RefusalKind::Policy, text }], vec![]));
        };
        let mut problems = Vec::new();
        let signature =
            self.judge_signature(KeyUse::Image, subject, evidence, now).map_err(|p| problems.push(p)).ok();
        let failed_test = self.failed_test(subject, evidence);
        // Said once: by the failure itself, not again as the lack of a passed result.
        let judged: Vec<EvidenceKind> = rule
            .evidence
            .iter()
            .copied()
            .filter(|kind| failed_test.is_none() || *kind != EvidenceKind::TestResult)
            .collect();
        problems.extend(failed_test);
        let mut accepted = Vec::new();
        let (mut provenances, mut test_result) = (Vec::new(), None);
        for kind in judged {
            match self.judge_evidence(kind, rule, subject, evidence, now) {
                Ok((chosen, contents)) => {
                    accepted.push(chosen);
                    for content in contents {
                        match content {
                            Content::Document => {}
                            Content::Provenance(provenance) => provenances.push(*provenance),
                            Content::TestResult(result) => test_result = test_result.or(Some(*result)),
                        }
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        let notes = notes(evidence);
        match signature {
            Some(signature) if problems.is_empty() => Ok(Verdict {
                subject: subject.clone(),
                rule: format!("{}:{}", self.file, rule.line),
                signature,
                evidence: accepted,
                provenances,
                test_result,
                notes,
            }),
            _ => Err(refusal(subject, problems, notes)),
        }
    }

    /// Judges the signature of a release document: only a key for releases counts, at `now`.
    pub fn judge_release(
        &self,
        subject: &Subject,
        evidence: &CollectedEvidence,
        now: OffsetDateTime,
    ) -> Result<AcceptedSignature, Refusal> {
        self.judge_signature(KeyUse::Release, subject, evidence, now).map_err(|problem| {
            let mut refusal = refusal(subject, vec![problem], notes(evidence));
            refusal.hint = match refusal.kind {
                RefusalKind::NoSignature => "treat it as no release; a hub's green job signs its own, and nothing else does".into(),
                _ => "if the key is new, ask the release team to add it to the trust policy; if not, treat it as no release of yours".into(),
            };
            refusal
        })
    }

    fn rule_for(&self, subject: &Subject) -> Option<&Rule> {
        self.rules.iter().find(|rule| {
            rule.channel.is_none_or(|channel| channel == subject.channel)
                && rule.repositories.iter().any(|pattern| pattern.matches(subject.repository.as_str()))
        })
    }

    fn judge_signature(
        &self,
        key_use: KeyUse,
        subject: &Subject,
        evidence: &CollectedEvidence,
        now: OffsetDateTime,
    ) -> Result<AcceptedSignature, Problem> {
        let mut tally = Tally::new(self, key_use, &subject.digest, now);
        for found in &evidence.signatures {
            tally.simple_signing(found);
        }
        for found in
            evidence.statements.iter().filter(|f| f.statement.predicate_type() == PREDICATE_COSIGN_SIGN)
        {
            tally.statement(found);
        }
        if tally.found() == 0 {
            let text = "found no signature, neither in Cosign's legacy form nor as a bundle".into();
            return Err(Problem { kind: RefusalKind::NoSignature, text });
        }
        // Any good one will do; the name that is first in byte order is told, so that the answer is stable.
        let Some(key) = tally.good().iter().map(|good| good.key.name.as_str()).min() else {
            return Err(tally.into_problem("signature"));
        };
        Ok(AcceptedSignature {
            key: key.to_owned(),
            formats: tally.good().iter().map(|good| good.format).collect(),
        })
    }

    fn judge_evidence(
        &self,
        kind: EvidenceKind,
        rule: &Rule,
        subject: &Subject,
        evidence: &CollectedEvidence,
        now: OffsetDateTime,
    ) -> Result<(AcceptedEvidence, Vec<Content>), Problem> {
        let mut tally = Tally::new(self, KeyUse::Attestation, &subject.digest, now);
        for found in of_kind(evidence, kind) {
            tally.statement(found);
        }
        if tally.found() == 0 {
            return Err(Problem { kind: RefusalKind::Missing, text: format!("`{kind}`: found none") });
        }
        if tally.good().is_empty() {
            return Err(tally.into_problem(&format!("`{kind}`")));
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut reasons = BTreeSet::new();
        for good in tally.good() {
            let Some(found) = good.statement else { continue };
            let envelope = found.envelope.digest();
            if let Some(known) = candidates.iter_mut().find(|known| known.envelope == envelope) {
                known.formats.insert(good.format);
                continue;
            }
            match content(kind, rule, subject, found.envelope.payload()) {
                Ok(content) => candidates.push(Candidate {
                    key: good.key.name.clone(),
                    envelope,
                    formats: BTreeSet::from([good.format]),
                    content,
                }),
                Err(reason) => {
                    reasons.insert(reason);
                }
            }
        }
        let formats = candidates.iter().flat_map(|candidate| candidate.formats.iter().copied()).collect();
        let all = candidates.iter().map(|candidate| candidate.envelope.clone()).collect();
        candidates.sort_by(|a, b| a.rank().cmp(&b.rank()));
        match candidates.first() {
            Some(best) => {
                let accepted = AcceptedEvidence {
                    kind,
                    key: best.key.clone(),
                    envelope: best.envelope.clone(),
                    formats,
                    all,
                };
                Ok((accepted, candidates.into_iter().map(|candidate| candidate.content).collect()))
            }
            None => {
                let reasons: Vec<String> = reasons.into_iter().take(5).collect();
                let text = format!("`{kind}` is genuine and says no: {}", reasons.join("; "));
                Err(Problem { kind: RefusalKind::Policy, text })
            }
        }
    }

    /// Finds a genuine test result that is not passed, whatever else says passed.
    ///
    /// A key's validity does not matter here: an old failure does not go away when its key expires.
    fn failed_test(&self, subject: &Subject, evidence: &CollectedEvidence) -> Option<Problem> {
        let keys = || self.keys.iter().filter(|key| key.key_use == KeyUse::Attestation);
        of_kind(evidence, EvidenceKind::TestResult)
            .filter(|found| found.statement.is_about(&subject.digest))
            .filter_map(|found| Some((found, not_passed(found.envelope.payload())?)))
            .find_map(|(found, why)| {
                let key = keys().find(|key| found.envelope.is_signed_by(&key.public))?;
                let text = format!("`test-result` by `{}` is genuine and says no: {why}", key.name);
                Some(Problem { kind: RefusalKind::Policy, text })
            })
    }
}

struct Candidate {
    key: String,
    envelope: Digest,
    formats: BTreeSet<Format>,
    content: Content,
}

impl Candidate {
    /// The highest pipeline first, then what stands in both forms, then by digest.
    fn rank(&self) -> (std::cmp::Reverse<u64>, std::cmp::Reverse<usize>, &Digest) {
        let pipeline = match &self.content {
            Content::Provenance(provenance) => match provenance.origin {
                Origin::GitLab { pipeline, .. } => pipeline,
                Origin::Local => 0,
            },
            Content::Document | Content::TestResult(_) => 0,
        };
        (std::cmp::Reverse(pipeline), std::cmp::Reverse(self.formats.len()), &self.envelope)
    }
}

fn of_kind(evidence: &CollectedEvidence, kind: EvidenceKind) -> impl Iterator<Item = &FoundStatement> {
    evidence.statements.iter().filter(move |found| found.statement.predicate_type() == kind.predicate_type())
}

fn not_passed(payload: &[u8]) -> Option<String> {
    match TestResult::parse(payload) {
        Ok(result) => PassedTestResult::new(result).err().map(|e| e.to_string()),
        Err(_) => stated_outcome(payload)
            .filter(|outcome| *outcome != TestOutcome::Passed)
            .map(|outcome| format!("the tests did not pass: result {outcome}")),
    }
}

fn content(kind: EvidenceKind, rule: &Rule, subject: &Subject, payload: &[u8]) -> Result<Content, String> {
    let unreadable = |e: NotEvidence| e.to_string();
    match kind {
        EvidenceKind::Spdx => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Spdx {
                spdx_version: String,
            }
            let document: Spdx = parse_predicate(payload).map_err(unreadable)?;
            (document.spdx_version == "SPDX-2.3")
                .then_some(Content::Document)
                .ok_or_else(|| format!("expected `SPDX-2.3`, found `{}`", shown(&document.spdx_version)))
        }
        EvidenceKind::CycloneDx => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct CycloneDx {
                bom_format: String,
            }
            let document: CycloneDx = parse_predicate(payload).map_err(unreadable)?;
            (document.bom_format == "CycloneDX")
                .then_some(Content::Document)
                .ok_or_else(|| format!("expected `CycloneDX`, found `{}`", shown(&document.bom_format)))
        }
        EvidenceKind::Provenance => {
            let provenance = Provenance::parse(payload).map_err(unreadable)?;
            check_provenance(&provenance, rule, subject)?;
            Ok(Content::Provenance(Box::new(provenance)))
        }
        EvidenceKind::TestResult => {
            passed(payload, TestStage::Unit).map(|result| Content::TestResult(Box::new(result)))
        }
        // Told by the demand itself; the unit test's result is the one that a verdict carries.
        EvidenceKind::HubTestResult => passed(payload, TestStage::Integration).map(|_| Content::Document),
        EvidenceKind::Promotion => {
            let record = PromotionRecord::parse(payload).map_err(unreadable)?;
            (record.digest == subject.digest)
                .then_some(Content::Document)
                .ok_or_else(|| format!("it records the promotion of {}", record.digest))
        }
        EvidenceKind::Vsa => {
            let summary = VerificationSummary::parse(payload).map_err(unreadable)?;
            summary.passed().then_some(Content::Document).ok_or_else(|| "the verification failed".to_owned())
        }
    }
}

fn passed(payload: &[u8], stage: TestStage) -> Result<PassedTestResult, String> {
    let result = TestResult::parse(payload).map_err(|e| e.to_string())?;
    if result.stage != stage {
        return Err(match stage {
            TestStage::Unit => "it is the hub's integration test, not the component's unit test".to_owned(),
            TestStage::Integration => "it is the component's unit test, not the hub's".to_owned(),
        });
    }
    PassedTestResult::new(result).map_err(|e| e.to_string())
}

fn check_provenance(provenance: &Provenance, rule: &Rule, subject: &Subject) -> Result<(), String> {
    let mut reasons = Vec::new();
    if let Some(expected) = rule.builder_id.as_ref().filter(|id| **id != provenance.builder_id) {
        reasons.push(format!("expected the builder `{expected}`, found `{}`", shown(&provenance.builder_id)));
    }
    if rule.project == ProjectRule::OwnsRepository && !provenance.project_covers(subject.repository.as_str())
    {
        reasons.push(format!(
            "the project `{}` does not own the repository `{}`",
            shown(&provenance.project.path),
            subject.repository
        ));
    }
    if provenance.hermetic.level < rule.min_hermetic {
        reasons.push(format!(
            "expected hermetic level {} or higher, found {}",
            rule.min_hermetic, provenance.hermetic.level
        ));
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
}

fn notes(evidence: &CollectedEvidence) -> Vec<String> {
    let mut notes = evidence.reasons().to_vec();
    if evidence.passed_over() > notes.len() {
        notes.push(format!("passed over {} entries in all", evidence.passed_over()));
    }
    notes
}

fn refusal(subject: &Subject, problems: Vec<Problem>, notes: Vec<String>) -> Refusal {
    let kind = problems.first().map_or(RefusalKind::Policy, |problem| problem.kind);
    let (why, hint) = match kind {
        RefusalKind::NoSignature => (
            "no signature",
            "treat the image as foreign; if a staging job made it, run that job again: its delivery signs the image",
        ),
        RefusalKind::UnknownKey => (
            "nothing by a trusted key that is valid now",
            "if the key is new, ask the release team to add it to the trust policy; if not, treat the image as foreign",
        ),
        RefusalKind::Wrong => (
            "a signature does not match what it is attached to",
            "treat the image as tampered with, and ask the registry's administrator who wrote to this repository",
        ),
        RefusalKind::Missing => (
            "evidence that the policy demands is missing",
            "run the staging job again: its delivery completes the evidence; or take a digest that has all of it",
        ),
        RefusalKind::Policy => (
            "the policy says no",
            "take another digest, or have the component build one that the policy allows",
        ),
    };
    let what = format!("`{}@sha256:{}…` is not verified: {why}", subject.repository, subject.digest.short());
    let causes = problems.into_iter().map(|problem| problem.text).chain(notes).collect();
    Refusal { kind, what, causes, hint: hint.into() }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
