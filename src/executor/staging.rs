//! The staging job: the commit's tree, the rule's own lines in a sealed container, then the delivery.
//!
//! `airlock executor run` and `airlock try` both come here; they differ in who hands over the commit's
//! objects and in who can confirm the job. Nothing that get_sources, caches, artifacts or hooks left is
//! seen by the test or the build: the project directory is a fresh volume filled from the commit.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::delivery::commit::CommitTree;
use crate::delivery::heartbeat::beating;
use crate::delivery::{self, Adapters, Confirmation, DeliveredImage, Delivery};
use crate::domain::component::ComponentManifest;
use crate::domain::hermetic::HermeticReport;
use crate::domain::image::Repository;
use crate::domain::job::PublishRule;
use crate::domain::sandbox::SandboxNetwork;
use crate::domain::test_report::TestReport;
use crate::domain::trust::TrustPolicy;
use crate::executor::test_job::{self, KeepContainer, TestJob, TestWords};
use crate::executor::{containers, reports};
use crate::failure::{Failure, Outcome};

/// Largest component manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024;

/// Everything that a staging job is made of.
pub struct StagingJob<'a> {
    pub test: TestJob<'a>,
    pub prefix: Option<&'a Repository>,
    pub rule: &'a PublishRule,
    pub policy: &'a TrustPolicy,
    pub adapters: Adapters<'a>,
    pub started: OffsetDateTime,
}

/// What a staging job gave.
pub struct Delivered {
    pub images: Vec<DeliveredImage>,
    pub hermetic: HermeticReport,
    pub report: TestReport,
    pub times: Vec<(&'static str, Duration)>,
}

/// Runs the job on a tree that is already recomputed; `keep_container` is told the job container's id
/// as soon as there is one.
pub async fn run(
    job: &StagingJob<'_>,
    tree: &CommitTree,
    keep_container: KeepContainer<'_>,
) -> Outcome<Delivered> {
    let TestJob { settings, facts, log, cancel, .. } = job.test;
    let manifest = component_manifest(tree, &facts.project_path)?;
    let plans = delivery::build::plan(tree, &manifest, job.rule, job.prefix, &settings.images)?;
    let version = delivery::version(tree, &manifest)?;
    for plan in &plans {
        log.line(format!("image   {}:{version}  from {}", plan.repository, plan.image.dockerfile));
    }

    let begun = Instant::now();
    let container = {
        let _section = log.section("sandbox", "Sandbox");
        let starting =
            beating(log, "starting", test_job::start(&job.test, tree, SandboxNetwork::None, keep_container));
        cancel.or("cannot start the sandbox", starting).await?
    };
    let hermetic = {
        let _section = log.section("probe", "Hermetic probe");
        let measuring = beating(log, "measuring", containers::measure(&job.test, &container));
        cancel.or("cannot measure the sandbox", measuring).await?
    };

    let sandbox_time = begun.elapsed();
    let test_started = Instant::now();
    {
        let _section = log.open_section("test", "Unit test: the rule's own lines, in the sandbox");
        let words = TestWords {
            test: "unit test",
            consequence: "nothing is built or published",
            hint: match job.adapters.confirmation {
                Confirmation::GitLab(_) => Some("run the same job on your machine: `airlock try`"),
                Confirmation::Local => None,
            },
        };
        test_job::run(&job.test, &container, &job.rule.script, &words).await?;
    }
    let test_time = test_started.elapsed();

    let report = {
        let _section = log.section("reports", "Test reports");
        let report = reports::collect(&job.test, &container, manifest.junit(), "").await?;
        log.line(format!("reports {}", reports::summary(&report)));
        report
    };
    reports::refuse_failures(&report)?;

    let delivery = Delivery {
        facts,
        rule: job.rule,
        tree,
        manifest: &manifest,
        policy: job.policy,
        prefix: job.prefix,
        place: &settings.store.place,
        builder_id: &settings.builder_id,
        test_image: &job.test.image.pinned,
        test_report: &report,
        hermetic: &hermetic,
        started: job.started,
        key: job.test.key,
        labels: job.test.labels,
        work_dir: job.test.work_dir,
        state_dir: &settings.state_dir,
    };
    let images = delivery::deliver(&job.adapters, &delivery, plans, log, cancel).await?;
    let times = vec![("sandbox", sandbox_time), ("test", test_time)];
    Ok(Delivered { images, hermetic, report, times })
}

/// Reads `airlock.toml` from the commit, or takes its defaults.
pub fn component_manifest(tree: &CommitTree, project_path: &str) -> Outcome<ComponentManifest> {
    match tree.read("airlock.toml", MAX_MANIFEST_BYTES)? {
        Some(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| {
                Failure::refused("cannot use the component manifest `airlock.toml`")
                    .because("it is not UTF-8")
                    .hint("save the file as UTF-8 and commit it")
            })?;
            Ok(ComponentManifest::parse(&text, project_path)?)
        }
        None => Ok(ComponentManifest::absent(project_path)?),
    }
}
