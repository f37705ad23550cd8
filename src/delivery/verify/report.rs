//! What is told about a verified image, to programs (`--json`) and to people.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use super::VerifiedImage;
use crate::domain::digest::Digest;
use crate::domain::evidence::provenance::{Origin, Provenance};
use crate::domain::evidence::test_result::{AssertedCounts, PassedTestResult};
use crate::domain::evidence::{EvidenceKind, Format};
use crate::domain::trust::Channel;
use crate::job_log::printable;

/// A verification's result; digests are complete.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationReport {
    schema_version: u8,
    verified: bool,
    image: String,
    repository: String,
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    channel: Channel,
    rule: String,
    #[serde(with = "time::serde::rfc3339")]
    verified_at: OffsetDateTime,
    signature: SignatureReport,
    evidence: Vec<EvidenceReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<ProvenanceReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_result: Option<TestReport>,
    notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct SignatureReport {
    key: String,
    formats: BTreeSet<Format>,
}

#[derive(Debug, Clone, Serialize)]
struct EvidenceReport {
    kind: EvidenceKind,
    key: String,
    envelope: Digest,
    formats: BTreeSet<Format>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProvenanceReport {
    project: String,
    project_id: u64,
    commit: String,
    #[serde(rename = "ref")]
    reference: String,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<u64>,
    builder: String,
    hermetic: u8,
    invocation: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct TestReport {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    asserted_by_tenant: Option<AssertedCounts>,
}

impl VerificationReport {
    pub(super) fn new(image: &VerifiedImage) -> Self {
        let verdict = image.verdict();
        Self {
            schema_version: 1,
            // There is no report about an image that is not.
            verified: true,
            image: format!("{}@{}", image.name, image.digest()),
            repository: image.repository.to_string(),
            digest: image.digest().clone(),
            tag: image.tag.as_ref().map(ToString::to_string),
            channel: verdict.subject().channel,
            rule: verdict.rule().to_owned(),
            verified_at: image.verified_at,
            signature: SignatureReport {
                key: verdict.signature().key().to_owned(),
                formats: verdict.signature().formats().clone(),
            },
            evidence: verdict
                .evidence()
                .iter()
                .map(|evidence| EvidenceReport {
                    kind: evidence.kind(),
                    key: evidence.key().to_owned(),
                    envelope: evidence.envelope().clone(),
                    formats: evidence.formats().clone(),
                })
                .collect(),
            provenance: verdict.provenance().map(ProvenanceReport::new),
            test_result: verdict.test_result().map(TestReport::new),
            notes: verdict.notes().to_vec(),
        }
    }
}

impl ProvenanceReport {
    fn new(provenance: &Provenance) -> Self {
        let (mode, pipeline, job) = match provenance.origin {
            Origin::GitLab { pipeline, job, .. } => ("gitlab", Some(pipeline), Some(job)),
            Origin::Local => ("local", None, None),
        };
        Self {
            project: provenance.project.path.clone(),
            project_id: provenance.project.id,
            commit: provenance.commit.id.clone(),
            reference: provenance.reference.clone(),
            mode,
            pipeline,
            job,
            builder: provenance.builder_id.clone(),
            hermetic: provenance.hermetic.level,
            invocation: provenance.invocation_id.clone(),
        }
    }
}

impl TestReport {
    fn new(result: &PassedTestResult) -> Self {
        Self { result: "PASSED", asserted_by_tenant: result.result().counts }
    }
}

impl fmt::Display for VerificationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = self.tag.as_ref().map_or(String::new(), |tag| format!(" (tag `{tag}`, now)"));
        writeln!(f, "verified    {}{tag}", self.image)?;
        writeln!(f, "for         {}, by the rule at {}", self.channel, self.rule)?;
        writeln!(f, "signature   by {} ({})", self.signature.key, forms(&self.signature.formats))?;
        for evidence in &self.evidence {
            let (kind, digest) = (evidence.kind.as_str(), evidence.envelope.short());
            writeln!(f, "{kind:<11} sha256:{digest}… by {} ({})", evidence.key, forms(&evidence.formats))?;
        }
        if let Some(p) = &self.provenance {
            let (project, commit, reference) =
                (printable(&p.project), &p.commit[..p.commit.len().min(12)], printable(&p.reference));
            writeln!(f, "source      {project} {commit} on {reference}")?;
            let job = match (p.pipeline, p.job) {
                (Some(pipeline), Some(job)) => format!("pipeline {pipeline}, job {job}"),
                _ => "on a machine of somebody's own".to_owned(),
            };
            writeln!(f, "built       {job}, by {}, hermetic level {}", printable(&p.builder), p.hermetic)?;
        }
        if let Some(test) = &self.test_result {
            let counts = test.asserted_by_tenant.map_or(String::new(), |c| {
                let AssertedCounts { passed, failed, errored, skipped } = c;
                format!(" (the tests' own report: {passed} passed, {failed} failed, {errored} errors, {skipped} skipped)")
            });
            writeln!(f, "tests       {}{counts}", test.result)?;
        }
        for note in &self.notes {
            writeln!(f, "note        {}", printable(note))?;
        }
        Ok(())
    }
}

fn forms(formats: &BTreeSet<Format>) -> String {
    formats.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}
