//! The hub job: a snapshot of all staged components, their closed stack, the rule's own lines on it, and,
//! when all is green, the promotion of the same digests.
//!
//! `airlock executor run` and `airlock try` both come here. Everything that is tested comes from Airlock's own
//! fetch of the hub's commit; the stack goes down whatever happened.

mod feedback;
mod kept_records;
mod promotion;
mod request;

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use url::Url;

use crate::compose::{CompiledStack, compile};
use crate::delivery::Confirmation;
use crate::delivery::commit::CommitTree;
use crate::delivery::heartbeat::beating;
use crate::domain::closed_world::ClosedWorld;
use crate::domain::component::version::Version;
use crate::domain::digest::Digest;
use crate::domain::hub::{HUB_MANIFEST, HubInputs, HubManifest, HubRule, HubVariable, MAX_MANIFEST_BYTES};
use crate::domain::image::{NamePattern, Repository};
use crate::domain::sandbox::{SandboxNetwork, SeccompProfile};
use crate::domain::test_report::TestReport;
use crate::domain::trust::TrustPolicy;
use crate::executor::containers::{self, user};
use crate::executor::reports;
use crate::executor::test_job::{self, KeepContainer, TestJob, TestWords};
use crate::failure::{Failure, FailureKind, Outcome};
use crate::hub::compose_config;
use crate::hub::snapshot::{
    EngineParts, LoadedSnapshot, Patience, Projects, Snapshot, SnapshotParts, into_engine, refuse_sidecars,
    take,
};
use crate::hub::stack::{ClosedStack, STACK_LABEL, Stack, StackParts, down};
use crate::keys::Signer;
use crate::registry::ImageStore;
use crate::release::promote::Promoted;
use crate::release::store::candidate;
use crate::tools::compose::Compose;
use feedback::feedback;
use kept_records::keep_records;
use promotion::promote_green;
use request::request;

/// Where the records of a run are in GitLab's workspace.
pub const RECORDS: &str = ".airlock/hub";
/// The reports that the tests of a hub write.
const REPORTS: &str = "reports/*.xml";
const MIB: u64 = 1024 * 1024;

/// Everything that a hub job is made of.
pub struct HubJob<'a> {
    pub test: TestJob<'a>,
    pub rule: &'a HubRule,
    pub projects: Projects<'a>,
    pub policy: &'a TrustPolicy,
    pub prefix: Option<&'a Repository>,
    pub store: &'a dyn ImageStore,
    pub release_key: &'a dyn Signer,
    pub attestation_key: &'a dyn Signer,
    pub confirmation: Confirmation<'a>,
    /// The two variables that a hub reads.
    pub variables: &'a [HubVariable],
    /// The job's page in GitLab.
    pub job_url: Option<&'a Url>,
}

/// What a green hub job gave.
pub struct Integrated {
    pub promoted: Promoted,
    pub snapshot: Snapshot,
    pub report: TestReport,
    pub closed_networks: usize,
    pub services: usize,
    pub times: Vec<(&'static str, Duration)>,
}

/// What stands in the hub's own commit.
struct Hub {
    manifest: HubManifest,
    version: Version,
}

/// Runs the job on a tree that is already recomputed.
pub async fn run(
    job: &HubJob<'_>,
    tree: &CommitTree,
    keep_container: KeepContainer<'_>,
) -> Outcome<Integrated> {
    let TestJob { settings, log, cancel, facts, .. } = job.test;
    let hub = read_hub(tree)?;
    let inputs = HubInputs::from_variables(job.variables, facts.user_id, job.rule, &hub.manifest)?;
    refuse_sidecars(&hub.manifest, &settings.images, job.store, job.prefix)?;
    let mut times = Vec::new();
    let begun = Instant::now();
    let now = OffsetDateTime::now_utc();
    let reading = candidate(job.store, job.policy, job.prefix, &hub.manifest.platform, now);
    let what = "cannot read the present candidate";
    let predecessor = cancel.or(what, beating(log, "reading the present candidate", reading)).await?;
    let parts = SnapshotParts {
        store: job.store,
        policy: job.policy,
        prefix: job.prefix,
        projects: job.projects,
        predecessor,
        now,
        patience: Patience::default(),
    };
    let snapshot = take(parts, &hub.manifest, inputs, log, cancel).await?;
    times.push(("snapshot", begun.elapsed()));

    // From here on there are components that wait for a word, green or red.
    let tested = test(job, tree, &hub, snapshot.clone(), keep_container, &mut times).await;
    let outcome = match tested {
        Ok((loaded, green)) => {
            let begun = Instant::now();
            let promoted = promote_green(job, tree, &hub, &loaded.snapshot, &green).await;
            times.push(("promote", begun.elapsed()));
            promoted.map(|promoted| (loaded, green, promoted))
        }
        Err(failure) => Err(failure),
    };
    feedback(job, &snapshot, outcome.as_ref().map(|(_, _, promoted)| promoted)).await;
    let (loaded, green, promoted) = outcome?;
    Ok(Integrated {
        promoted,
        snapshot: loaded.snapshot,
        report: green.report,
        closed_networks: green.closed_world.networks.len(),
        services: green.compiled.services.len(),
        times,
    })
}

fn read_hub(tree: &CommitTree) -> Outcome<Hub> {
    let bytes = tree.read(HUB_MANIFEST, MAX_MANIFEST_BYTES as u64)?.ok_or_else(|| {
        Failure::refused(format!("there is no `{HUB_MANIFEST}` at the root of the hub's commit"))
            .hint("commit one; `integration-hub/hub` shows a whole hub")
    })?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::refused(format!("cannot use the hub's manifest `{HUB_MANIFEST}`"))
            .because("it is not UTF-8")
            .hint("save the file as UTF-8 and commit it")
    })?;
    let manifest = HubManifest::parse(&text)?;
    let file = tree.read(manifest.version_file.as_str(), 4096)?;
    Ok(Hub { version: Version::from_file(file.as_deref())?, manifest })
}

/// A stack that was tested and passed.
struct Green {
    compiled: CompiledStack,
    closed_world: ClosedWorld,
    report: TestReport,
}

/// Brings the stack up, tests it, keeps its records and takes it down, in this order whatever happens.
async fn test(
    job: &HubJob<'_>,
    tree: &CommitTree,
    hub: &Hub,
    snapshot: Snapshot,
    keep_container: KeepContainer<'_>,
    times: &mut Vec<(&'static str, Duration)>,
) -> Outcome<(LoadedSnapshot, Green)> {
    let TestJob { engine, settings, helper, key, work_dir, log, cancel, .. } = job.test;
    let mut clock = Instant::now();
    let mut lap =
        |name: &'static str| times.push((name, std::mem::replace(&mut clock, Instant::now()).elapsed()));
    let parts = EngineParts {
        engine,
        store: job.store,
        place: &settings.store.place,
        prefix: job.prefix,
        images: &settings.images,
        work_dir,
    };
    let loaded = into_engine(&parts, snapshot, &hub.manifest, log, cancel).await?;
    lap("images");

    let project = format!("airlock-{key}").to_ascii_lowercase();
    let mut labels = job.test.labels.clone();
    labels.insert(STACK_LABEL.to_owned(), project.clone());
    let compose = Compose::open(&settings.compose_program, &settings.engine_socket).await?;
    let stack_parts = StackParts {
        engine,
        compose: &compose,
        helper: helper.id.clone(),
        user: user(&settings.sandbox)?,
        tools_volume: containers::tools_volume(engine, helper, key, job.test.labels).await?,
        seccomp: SeccompProfile::shipped(),
        key,
        labels: &labels,
        ready_timeout: Duration::from_secs(hub.manifest.ready_timeout_s),
        work_dir,
    };
    let compiled = {
        let _section =
            log.section("compose", "Compose file: resolved in a sandbox, compiled to what a stack may have");
        let file = hub.manifest.compose.as_str();
        let resolving = beating(log, "resolving", compose_config::config(&stack_parts, tree, file));
        let config = cancel.or("cannot resolve the Compose file", resolving).await?;
        let compiled = compile(&config, &request(job, tree, &loaded, project, &labels)?)?;
        log.line(format!(
            "compose {file}: {} services, {} networks, {}",
            compiled.services.len(),
            compiled.networks.len(),
            Digest::of(&compiled.json)
        ));
        compiled
    };

    let (outcome, closed_world) = on_the_stack(job, tree, &stack_parts, &compiled, keep_container).await;
    lap("stack and tests");
    let kept = keep_records(job, &compiled, closed_world.as_ref()).await;
    let removed = down(engine, &compiled.project).await;
    lap("down");
    // What the tests say comes first; what cannot be removed now, the sweep removes.
    let green = outcome?;
    kept?;
    removed?;
    Ok((loaded, green))
}

async fn on_the_stack(
    job: &HubJob<'_>,
    tree: &CommitTree,
    parts: &StackParts<'_>,
    compiled: &CompiledStack,
    keep_container: KeepContainer<'_>,
) -> (Outcome<Green>, Option<ClosedWorld>) {
    let TestJob { log, cancel, .. } = job.test;
    let section = log.section("stack", "Stack: networks closed and probed, services up and ready");
    let closed = match ClosedStack::make(parts, compiled, log, cancel).await {
        Ok(closed) => closed,
        Err(failure) => return (Err(failure), None),
    };
    // What was measured stays a record also of a stack that does not come up.
    let closed_world = closed.closed_world().clone();
    let stack = match closed.start(log, cancel).await {
        Ok(stack) => stack,
        Err(failure) => return (Err(failure), Some(closed_world)),
    };
    drop(section);
    let tested = tests(job, tree, &stack, keep_container).await;
    let green =
        tested.map(|report| Green { compiled: compiled.clone(), closed_world: closed_world.clone(), report });
    (green, Some(closed_world))
}

async fn tests(
    job: &HubJob<'_>,
    tree: &CommitTree,
    stack: &Stack<'_>,
    keep_container: KeepContainer<'_>,
) -> Outcome<TestReport> {
    let TestJob { log, cancel, .. } = job.test;
    let container = {
        let _section = log.section("sandbox", "Sandbox of the tests, on the stack's closed network");
        let network = SandboxNetwork::Only(stack.test_network());
        let starting = beating(log, "starting", test_job::start(&job.test, tree, network, keep_container));
        cancel.or("cannot start the sandbox", starting).await?
    };
    let ran = {
        let _section = log.open_section("test", "Integration test: the rule's own lines");
        let words = TestWords {
            test: "integration test",
            consequence: "nothing is promoted, and the present candidate stands",
            hint: match job.confirmation {
                Confirmation::GitLab(_) => Some(
                    "the services' logs and the reports are in `.airlock/hub/`; declare them as artifacts",
                ),
                Confirmation::Local => None,
            },
        };
        test_job::run(&job.test, &container, &job.rule.script, &words).await
    };
    let _section = log.section("reports", "Test reports");
    let patterns = [NamePattern::new(REPORTS)];
    let collected = reports::collect(&job.test, &container, &patterns, RECORDS).await;
    if let Ok(report) = &collected {
        let said = match (&ran, report.files().is_empty()) {
            (Ok(_), _) => reports::summary(report),
            (Err(_), true) => "none were written".to_owned(),
            (Err(_), false) => format!("{} (the tenant's own words)", reports::counts(report)),
        };
        log.line(format!("reports {said}"));
    }
    // A service that fell over explains a red test better than the test does.
    if !matches!(ran.as_ref().map_err(Failure::kind), Err(FailureKind::Cancelled)) {
        stack.check_still_ready().await?;
    }
    ran?;
    let report = collected?;
    reports::refuse_failures(&report)?;
    Ok(report)
}
