//! Composes the provenance and the test result from facts of the control plane alone.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::delivery::build::BuiltImage;
use crate::delivery::documents::DescribedImage;
use crate::delivery::{Confirmation, Delivery};
use crate::domain::evidence::provenance::{
    CheckResult, Commit, Hermetic, HermeticCheck, LOCAL_BUILDER_ID, Origin, Project, Provenance, Resource,
};
use crate::domain::evidence::test_result::{PassedTestResult, TestOutcome, TestResult, TestStage};
use crate::domain::hermetic::CheckOutcome;
use crate::engine::EngineFacts;
use crate::failure::{Failure, Outcome};

/// Returns what is known about the making of an image.
pub fn provenance(
    delivery: &Delivery<'_>,
    confirmation: &Confirmation<'_>,
    built: &BuiltImage<'_>,
    described: &DescribedImage,
    (engine, runner): (&EngineFacts, u64),
    now: OffsetDateTime,
) -> Provenance {
    let facts = delivery.facts;
    let commit = delivery.tree.commit();
    let versions = BTreeMap::from([
        ("airlock".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("engine".to_owned(), engine.engine.clone()),
        ("containerd".to_owned(), engine.containerd.clone()),
        ("runc".to_owned(), engine.runc.clone()),
        ("kernel".to_owned(), engine.kernel.clone()),
    ]);
    Provenance {
        source: facts.repository_url.to_string(),
        reference: facts.ref_name.clone(),
        entry_point: facts.job_name.clone(),
        script: delivery.rule.script.clone(),
        image: Some(delivery.test_image.clone()),
        project: Project { id: facts.project_id, path: facts.project_path.clone() },
        origin: match confirmation {
            Confirmation::GitLab(_) => {
                Origin::GitLab { pipeline: facts.pipeline_id, job: facts.job_id, runner }
            }
            Confirmation::Local => Origin::Local,
        },
        architecture: engine.architecture.clone(),
        versions,
        hermetic: hermetic(delivery),
        commit: Commit { id: commit.id().to_string(), tree: Some(commit.tree().to_string()) },
        base_images: built.bases.clone(),
        other_dependencies: Vec::new(),
        // Whatever the settings say: nobody but a confirmed job speaks for the control plane.
        builder_id: match confirmation {
            Confirmation::GitLab(_) => delivery.builder_id.to_owned(),
            Confirmation::Local => LOCAL_BUILDER_ID.to_owned(),
        },
        invocation_id: match confirmation {
            Confirmation::GitLab(_) => delivery.facts.job_url(),
            Confirmation::Local => format!("urn:airlock:try:{}", delivery.key),
        },
        started_on: delivery.started,
        finished_on: now,
        byproducts: vec![Resource {
            name: Some("image config".to_owned()),
            uri: None,
            digest: BTreeMap::from([("sha256".to_owned(), described.image.config_digest.hex().to_owned())]),
            media_type: Some("application/vnd.oci.image.config.v1+json".to_owned()),
        }],
    }
}

fn hermetic(delivery: &Delivery<'_>) -> Hermetic {
    let checks = delivery
        .hermetic
        .checks()
        .iter()
        .map(|check| HermeticCheck {
            name: check.id.as_str().to_owned(),
            result: match check.outcome {
                CheckOutcome::Held => CheckResult::Held,
                CheckOutcome::NotHeld(_) => CheckResult::NotHeld,
                CheckOutcome::NotMeasured(_) => CheckResult::NotMeasured,
            },
        })
        .collect();
    Hermetic { level: delivery.hermetic.level().number(), checks }
}

/// Returns the test result of the lines that Airlock itself ran; it exists only when they passed.
pub fn test_result(delivery: &Delivery<'_>, confirmation: &Confirmation<'_>) -> Outcome<PassedTestResult> {
    let commit = delivery.tree.commit();
    let configuration = vec![
        Resource {
            name: Some("commit".to_owned()),
            uri: Some(format!("git+{}", delivery.facts.repository_url)),
            digest: BTreeMap::from([("gitCommit".to_owned(), commit.id().to_string())]),
            media_type: None,
        },
        Resource {
            name: Some("test image".to_owned()),
            uri: Some(delivery.test_image.to_string()),
            digest: BTreeMap::from([("sha256".to_owned(), delivery.test_image.digest().hex().to_owned())]),
            media_type: None,
        },
    ];
    let result = TestResult {
        stage: TestStage::Unit,
        closed_world: serde_json::Value::Null,
        outcome: TestOutcome::Passed,
        configuration,
        url: match confirmation {
            Confirmation::GitLab(_) => Some(delivery.facts.job_url()),
            Confirmation::Local => None,
        },
        passed_tests: Vec::new(),
        failed_tests: Vec::new(),
        script: delivery.rule.script.clone(),
        exit_status: 0,
        counts: delivery.test_report.asserted(),
    };
    PassedTestResult::new(result)
        .map_err(|error| Failure::internal("a test that did not pass reached the delivery").because(error))
}
