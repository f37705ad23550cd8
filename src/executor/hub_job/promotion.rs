//! The tail of a green hub job: what was tested becomes a release.

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;
use url::Url;

use super::{Green, Hub, HubJob};
use crate::compose::CompiledStack;
use crate::delivery::Confirmation;
use crate::delivery::commit::CommitTree;
use crate::domain::digest::Digest;
use crate::domain::evidence::provenance::{LOCAL_BUILDER_ID, Resource};
use crate::domain::evidence::test_result::{PassedTestResult, TestOutcome, TestResult, TestStage};
use crate::domain::job::JobFacts;
use crate::domain::release::ReleaseHub;
use crate::executor::test_job::TestJob;
use crate::failure::{Failure, Outcome};
use crate::hub::snapshot::Snapshot;
use crate::job_log::JobLog;
use crate::release::compose::ReleaseInput;
use crate::release::promote::{Promoted, PromotionParts, StillTheJob, promote};

/// Asks GitLab whether the job still runs; a local try has nobody to ask.
struct Confirming<'a> {
    confirmation: &'a Confirmation<'a>,
    facts: &'a JobFacts,
    log: &'a JobLog,
}

#[async_trait]
impl StillTheJob for Confirming<'_> {
    async fn confirm(&self) -> Outcome<()> {
        match self.confirmation {
            Confirmation::GitLab(api) => {
                api.confirm(self.facts).await?;
                self.log.line("GitLab confirms: this job runs, for this project, ref and commit");
            }
            Confirmation::Local => self.log.line("local try: nobody confirms the job; the release says so"),
        }
        Ok(())
    }
}

pub(super) async fn promote_green(
    job: &HubJob<'_>,
    tree: &CommitTree,
    hub: &Hub,
    snapshot: &Snapshot,
    green: &Green,
) -> Outcome<Promoted> {
    let TestJob { settings, facts, log, cancel, .. } = job.test;
    let release_parts = snapshot.release_parts()?;
    let compose = Digest::of(&comparable(&green.compiled));
    let input = ReleaseInput {
        platform: hub.manifest.platform.clone(),
        hub_version: hub.version.to_string(),
        hub: ReleaseHub {
            project_id: facts.project_id,
            project: facts.project_path.clone(),
            commit: tree.commit().id().to_string(),
            pipeline_id: facts.pipeline_id,
            job_id: facts.job_id,
            compose: compose.clone(),
        },
        components: release_parts.components,
        sidecars: release_parts.sidecars,
        inputs: release_parts.inputs,
        predecessor: snapshot.predecessor.clone(),
        images: snapshot.verified_images(),
        now: OffsetDateTime::now_utc(),
    };
    let result = test_result(job, tree, green, &compose)?;
    let parts = PromotionParts {
        store: job.store,
        release_key: job.release_key,
        attestation_key: job.attestation_key,
        policy: job.policy,
        prefix: job.prefix,
        state_dir: &settings.state_dir,
        // Whatever the settings say: nobody but a confirmed job speaks for the control plane.
        builder_id: match job.confirmation {
            Confirmation::GitLab(_) => &settings.builder_id,
            Confirmation::Local => LOCAL_BUILDER_ID,
        },
    };
    let confirming = Confirming { confirmation: &job.confirmation, facts, log };
    promote(&parts, input, &result, &confirming, &|_| (), log, cancel).await
}

/// The compiled file without what differs from run to run, so that the same hub has the same digest.
fn comparable(compiled: &CompiledStack) -> Vec<u8> {
    let text = String::from_utf8_lossy(&compiled.json).replace(&compiled.project, "stack");
    match serde_json::from_str::<Value>(&text) {
        Ok(mut file) => {
            for key in ["services", "volumes"] {
                let things = file.get_mut(key).and_then(|things| things.as_object_mut());
                for thing in things.into_iter().flat_map(|things| things.values_mut()) {
                    // Labels carry the job, and binds and the profile a path of its own.
                    if let Some(thing) = thing.as_object_mut() {
                        thing.remove("labels");
                        thing.remove("security_opt");
                    }
                    strip_sources(thing);
                }
            }
            serde_json_canonicalizer::to_vec(&file).unwrap_or_else(|_| text.into_bytes())
        }
        Err(_) => text.into_bytes(),
    }
}

/// Keeps of a bind's source what comes after the tree's own place.
fn strip_sources(service: &mut Value) {
    let mounts = service.get_mut("volumes").and_then(|volumes| volumes.as_array_mut());
    for mount in mounts.into_iter().flatten() {
        if let Some(source) = mount.get("source").and_then(|source| source.as_str())
            && let Some((_, inside)) = source.split_once("/hub-tree/")
        {
            mount["source"] = Value::String(inside.to_owned());
        }
    }
}

fn test_result(
    job: &HubJob<'_>,
    tree: &CommitTree,
    green: &Green,
    compose: &Digest,
) -> Outcome<PassedTestResult> {
    let facts = job.test.facts;
    let resource = |name: &str, uri: Option<String>, kind: &str, value: String| Resource {
        name: Some(name.to_owned()),
        uri,
        digest: [(kind.to_owned(), value)].into(),
        media_type: None,
    };
    let image = &job.test.image.pinned;
    let result = TestResult {
        stage: TestStage::Integration,
        closed_world: serde_json::to_value(&green.closed_world)
            .map_err(|e| Failure::internal("the closed-world report cannot be written").because(e))?,
        outcome: TestOutcome::Passed,
        configuration: vec![
            resource(
                "commit",
                Some(format!("git+{}", facts.repository_url)),
                "gitCommit",
                tree.commit().id().to_string(),
            ),
            resource("test image", Some(image.to_string()), "sha256", image.digest().hex().to_owned()),
            resource("compose file", None, "sha256", compose.hex().to_owned()),
        ],
        url: job.job_url.map(Url::to_string),
        passed_tests: Vec::new(),
        failed_tests: Vec::new(),
        script: job.rule.script.clone(),
        exit_status: 0,
        counts: green.report.asserted(),
    };
    PassedTestResult::new(result)
        .map_err(|error| Failure::internal("a test that did not pass reached the promotion").because(error))
}
