//! The staging job: the commit's tree, the rule's own lines in a sealed container, then the delivery.
//!
//! `airlock executor run` and `airlock try` both come here; they differ in who hands over the commit's
//! objects and in who can confirm the job. Nothing that get_sources, caches, artifacts or hooks left is
//! seen by the test or the build: the project directory is a fresh volume filled from the commit.

use std::path::Path;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::cancel::Cancel;
use crate::delivery::commit::{CommitTree, TarOwner};
use crate::delivery::heartbeat::beating;
use crate::delivery::{self, Adapters, Confirmation, DeliveredImage, Delivery};
use crate::domain::component::ComponentManifest;
use crate::domain::hermetic::HermeticReport;
use crate::domain::image::Repository;
use crate::domain::job::{JobFacts, PublishRule};
use crate::domain::test_report::TestReport;
use crate::domain::trust::TrustPolicy;
use crate::engine::{ContainerId, Labels, ResolvedImage};
use crate::executor::containers::{self, JobContainer, TestRun};
use crate::executor::reports;
use crate::failure::{
    EXIT_CANCELLED, EXIT_REFUSED_BEFORE_SCRIPT, EXIT_TESTS_FAILED, Failure, FailureKind, Outcome,
};
use crate::job_log::JobLog;
use crate::settings::Settings;

/// Largest component manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024;

/// Everything that a staging job is made of.
pub struct StagingJob<'a> {
    pub settings: &'a Settings,
    pub prefix: Option<&'a Repository>,
    pub facts: &'a JobFacts,
    pub rule: &'a PublishRule,
    pub image: &'a ResolvedImage,
    pub helper: &'a ResolvedImage,
    pub policy: &'a TrustPolicy,
    pub adapters: Adapters<'a>,
    /// Label value of everything that this job makes in the engine.
    pub key: &'a str,
    pub labels: &'a Labels,
    pub work_dir: &'a Path,
    pub started: OffsetDateTime,
    pub log: &'a JobLog,
    pub cancel: &'a Cancel,
    /// The container with GitLab's workspace, which receives the declared reports.
    pub workspace: Option<&'a str>,
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
    keep_container: &mut (dyn FnMut(&ContainerId) -> Outcome<()> + Send),
) -> Outcome<Delivered> {
    let manifest = component_manifest(tree, &job.facts.project_path)?;
    let plans = delivery::build::plan(tree, &manifest, job.rule, job.prefix, &job.settings.images)?;
    let version = delivery::version(tree, &manifest)?;
    for plan in &plans {
        job.log.line(format!("image   {}:{version}  from {}", plan.repository, plan.image.dockerfile));
    }

    let begun = Instant::now();
    let container = {
        let _section = job.log.section("sandbox", "Sandbox");
        let starting = beating(job.log, "starting", start(job, tree, keep_container));
        job.cancel.or("cannot start the sandbox", starting).await?
    };
    let hermetic = {
        let _section = job.log.section("probe", "Hermetic probe");
        let measuring = beating(job.log, "measuring", containers::measure(job, &container));
        job.cancel.or("cannot measure the sandbox", measuring).await?
    };

    let sandbox_time = begun.elapsed();
    let test_started = Instant::now();
    {
        let _section = job.log.open_section("test", "Unit test: the rule's own lines, in the sandbox");
        test(job, &container).await?;
    }
    let test_time = test_started.elapsed();

    let report = {
        let _section = job.log.section("reports", "Test reports");
        reports::collect(job, &container, &manifest).await?
    };
    if report.has_failures() {
        return Err(Failure::job(EXIT_TESTS_FAILED, "the tests failed: the script ended with 0, its reports tell of failures")
            .because(reports::counts(&report))
            .hint("see the failing cases in the reports; make the script end with another status than 0 when a test fails")
            .note("this is your job's result"));
    }

    let delivery = Delivery {
        facts: job.facts,
        rule: job.rule,
        tree,
        manifest: &manifest,
        policy: job.policy,
        prefix: job.prefix,
        place: &job.settings.store.place,
        builder_id: &job.settings.builder_id,
        test_image: &job.image.pinned,
        test_report: &report,
        hermetic: &hermetic,
        started: job.started,
        key: job.key,
        labels: job.labels,
        work_dir: job.work_dir,
        state_dir: &job.settings.state_dir,
    };
    let images = delivery::deliver(&job.adapters, &delivery, plans, job.log, job.cancel).await?;
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

async fn start(
    job: &StagingJob<'_>,
    tree: &CommitTree,
    keep_container: &mut (dyn FnMut(&ContainerId) -> Outcome<()> + Send),
) -> Outcome<JobContainer> {
    let container = containers::start_job(job, tree.commit().time()).await?;
    keep_container(&container.id)?;
    let tar = job.work_dir.join("tree.tar");
    let file = std::fs::File::create(&tar)
        .map_err(|e| Failure::system(format!("cannot write `{}`", tar.display())).because(e))?;
    let owner = TarOwner { uid: job.settings.sandbox.uid, gid: job.settings.sandbox.uid };
    let prefix = format!("{}/", job.facts.project_path);
    tree.write_tar("", &prefix, owner, &|_| true, std::io::BufWriter::new(file))?;
    containers::fill(job, &container, &tar).await?;
    let _ = std::fs::remove_file(&tar);
    job.log.line(format!(
        "tree    {} files, {} bytes, exactly those of commit {}",
        tree.len(),
        tree.bytes(),
        tree.commit().id().short()
    ));
    Ok(container)
}

/// Runs the rule's lines; the verdict is the exit status.
async fn test(job: &StagingJob<'_>, container: &JobContainer) -> Outcome<()> {
    for line in &job.rule.script {
        job.log.line(format!("$ {line}"));
    }
    match containers::run_lines(job, container, &job.rule.script).await? {
        TestRun::Ended { status: 0 } => Ok(()),
        TestRun::Ended { status } => {
            // These numbers are Airlock's own words in a publishing job.
            let shown = match status {
                code @ EXIT_REFUSED_BEFORE_SCRIPT..=EXIT_CANCELLED => {
                    job.log.line(format!("the script's status {code} is reported as 1"));
                    1
                }
                code => code,
            };
            let failure = Failure::new(
                FailureKind::Job { exit_code: shown },
                format!(
                    "the unit test `{}` ended with status {status}; nothing is built or published",
                    job.rule.script.join("; ")
                ),
            );
            let failure = match meaning(status) {
                Some(meaning) => failure.because(meaning),
                None => failure,
            };
            let failure = match job.adapters.confirmation {
                Confirmation::GitLab(_) => failure.hint("run the same job on your machine: `airlock try`"),
                Confirmation::Local => failure,
            };
            Err(failure.note("this is your job's result"))
        }
        TestRun::Cancelled => {
            Err(Failure::cancelled("the unit test was cancelled; nothing is built or published"))
        }
    }
}

/// What a status means by a shell's convention, where it means something.
fn meaning(status: u8) -> Option<&'static str> {
    match status {
        126 => Some("126: a program was found but cannot be run"),
        127 => Some(
            "127: a program was not found; the image must have `sh` and every program that these lines call",
        ),
        137 => {
            Some("137: it was killed, as happens when it needs more memory than `sandbox.memory_mib` gives")
        }
        143 => Some("143: it was ended by SIGTERM"),
        _ => None,
    }
}
