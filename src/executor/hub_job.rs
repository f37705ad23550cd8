//! The hub job: a snapshot of all staged components, their closed stack, the rule's own lines on it, and,
//! when all is green, the promotion of the same digests.
//!
//! `airlock executor run` and `airlock try` both come here. Everything that is tested comes from Airlock's own
//! fetch of the hub's commit; the stack goes down whatever happened.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use time::OffsetDateTime;
use url::Url;

use crate::compose::{CompiledStack, ServiceLimits, StackRequest, TreePath, compile};
use crate::delivery::Confirmation;
use crate::delivery::commit::CommitTree;
use crate::delivery::heartbeat::beating;
use crate::domain::closed_world::ClosedWorld;
use crate::domain::commit::EntryMode;
use crate::domain::component::version::Version;
use crate::domain::digest::Digest;
use crate::domain::evidence::provenance::{LOCAL_BUILDER_ID, Resource};
use crate::domain::evidence::test_result::{
    AssertedCounts, PassedTestResult, TestOutcome, TestResult, TestStage,
};
use crate::domain::hub::{
    HUB_MANIFEST, HubInputs, HubManifest, HubRule, HubVariable, IntegrationVerdict, MAX_MANIFEST_BYTES,
};
use crate::domain::image::{NamePattern, Repository};
use crate::domain::job::JobFacts;
use crate::domain::release::ReleaseHub;
use crate::domain::sandbox::{SandboxNetwork, SeccompProfile};
use crate::domain::test_report::TestReport;
use crate::domain::trust::TrustPolicy;
use crate::executor::containers::{self, user};
use crate::executor::reports;
use crate::executor::test_job::{self, KeepContainer, TestJob, TestWords};
use crate::failure::{Failure, FailureKind, Outcome};
use crate::gitlab::status::{StatusPlace, report};
use crate::hub::snapshot::{
    EngineParts, LoadedSnapshot, Patience, Projects, Snapshot, SnapshotParts, into_engine, refuse_sidecars,
    take,
};
use crate::hub::stack::{ClosedStack, STACK_LABEL, Stack, StackParts, down, test_network};
use crate::hub::{compose_config, records};
use crate::job_log::JobLog;
use crate::keys::Signer;
use crate::registry::ImageStore;
use crate::release::compose::ReleaseInput;
use crate::release::promote::{Promoted, PromotionParts, StillTheJob, promote};
use crate::release::store::candidate;
use crate::tools::compose::Compose;

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
    let mut clock = Instant::now();
    let mut lap = |name: &'static str, times: &mut Vec<(&'static str, Duration)>| {
        times.push((name, clock.elapsed()));
        clock = Instant::now();
    };

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
    lap("snapshot", &mut times);

    // From here on there are components that wait for a word, green or red.
    let tested = test(job, tree, &hub, snapshot.clone(), keep_container, &mut times).await;
    let outcome = match tested {
        Ok((loaded, green)) => {
            let mut clock = Instant::now();
            let promoted = promote_green(job, tree, &hub, &loaded.snapshot, &green).await;
            times.push(("promote", std::mem::replace(&mut clock, Instant::now()).elapsed()));
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

/// Describes the stack to the compiler; the tree is put where read-only binds find it.
fn request(
    job: &HubJob<'_>,
    tree: &CommitTree,
    loaded: &LoadedSnapshot,
    project: String,
    labels: &crate::engine::Labels,
) -> Outcome<StackRequest> {
    let work_dir = job.test.work_dir;
    let failed = |error: std::io::Error| {
        Failure::system(format!("cannot write into `{}`", work_dir.display())).because(error)
    };
    let tree_on_host = work_dir.join("hub-tree");
    tree.write_directory(&tree_on_host)?;
    let seccomp_on_host = work_dir.join("seccomp.json");
    std::fs::write(&seccomp_on_host, SeccompProfile::shipped().as_json()).map_err(failed)?;
    let mut paths = std::collections::BTreeMap::new();
    for (path, mode) in tree.paths() {
        for (slash, _) in path.match_indices('/') {
            paths.insert(path[..slash].to_owned(), TreePath::Directory);
        }
        let kind = match mode {
            EntryMode::Symlink => TreePath::Link,
            EntryMode::Directory => TreePath::Directory,
            EntryMode::File | EntryMode::Executable => TreePath::File,
        };
        paths.insert(path.to_owned(), kind);
    }
    let limits = &job.test.settings.sandbox;
    Ok(StackRequest {
        project,
        images: loaded.images.clone(),
        tree: paths,
        tree_on_host,
        seccomp_on_host,
        labels: labels.clone(),
        limits: ServiceLimits {
            memory_bytes: limits.memory_mib * MIB,
            cpu_millis: u64::from(limits.cpus) * 1000,
            pids: limits.pids,
            tmp_bytes: limits.tmp_mib * MIB,
        },
    })
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
    let tested = tests(job, tree, &stack, compiled, keep_container).await;
    let green =
        tested.map(|report| Green { compiled: compiled.clone(), closed_world: closed_world.clone(), report });
    (green, Some(closed_world))
}

async fn tests(
    job: &HubJob<'_>,
    tree: &CommitTree,
    stack: &Stack<'_>,
    compiled: &CompiledStack,
    keep_container: KeepContainer<'_>,
) -> Outcome<TestReport> {
    let TestJob { log, cancel, .. } = job.test;
    let container = {
        let _section = log.section("sandbox", "Sandbox of the tests, on the stack's closed network");
        let network = SandboxNetwork::Only(test_network(compiled));
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
        let said = if ran.is_ok() { reports::summary(report) } else { reports::counts(report) };
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

/// Leaves logs, health, the compiled file and the closed-world report where artifacts are taken from.
async fn keep_records(
    job: &HubJob<'_>,
    compiled: &CompiledStack,
    closed_world: Option<&ClosedWorld>,
) -> Outcome<()> {
    let files = records::collect(job.test.engine, compiled, closed_world).await?;
    match job.test.workspace {
        Some(_) => {
            let files: Vec<_> =
                files.into_iter().map(|(path, bytes)| (format!("{RECORDS}/{path}"), bytes)).collect();
            reports::copy_back(&job.test, &files).await?;
            job.test.log.line(format!("records {} files in `{RECORDS}/` of the workspace", files.len()));
        }
        None => {
            let directory = job.test.settings.state_dir.join("hub");
            write_records(&directory, &files).map_err(|error| {
                Failure::system(format!("cannot write the records into `{}`", directory.display()))
                    .because(error)
            })?;
            job.test.log.line(format!("records {} files in {}", files.len(), directory.display()));
        }
    }
    Ok(())
}

fn write_records(directory: &std::path::Path, files: &[records::Record]) -> std::io::Result<()> {
    // Those of an earlier try would be taken for this one's.
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    for (path, bytes) in files {
        let at = directory.join(path);
        if let Some(parent) = at.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(at, bytes)?;
    }
    Ok(())
}

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

async fn promote_green(
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
    match serde_json::from_str::<serde_json::Value>(&text) {
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
fn strip_sources(service: &mut serde_json::Value) {
    let mounts = service.get_mut("volumes").and_then(|volumes| volumes.as_array_mut());
    for mount in mounts.into_iter().flatten() {
        if let Some(source) = mount.get("source").and_then(|source| source.as_str())
            && let Some((_, inside)) = source.split_once("/hub-tree/")
        {
            mount["source"] = serde_json::Value::String(inside.to_owned());
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
    let counts = green.report.totals();
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
        counts: (counts.tests > 0).then(|| AssertedCounts {
            passed: counts.tests.saturating_sub(counts.failures + counts.errors + counts.skipped),
            failed: counts.failures,
            errored: counts.errors,
            skipped: counts.skipped,
        }),
    };
    PassedTestResult::new(result)
        .map_err(|error| Failure::internal("a test that did not pass reached the promotion").because(error))
}

/// Tells the changed components how it ended; nothing here changes the verdict.
async fn feedback(job: &HubJob<'_>, snapshot: &Snapshot, outcome: Result<&Promoted, &Failure>) {
    let TestJob { settings, log, .. } = job.test;
    let verdict = match outcome {
        Ok(promoted) => IntegrationVerdict::Green { release: promoted.release.release().version.clone() },
        // The runner's trouble is no word on a component.
        Err(failure) if !matches!(failure.kind(), FailureKind::Job { .. } | FailureKind::Refused { .. }) => {
            return;
        }
        Err(failure) => IntegrationVerdict::Red { reason: failure.what().to_owned() },
    };
    let Confirmation::GitLab(_) = job.confirmation else { return };
    let statuses = snapshot.statuses(&verdict, job.job_url);
    if statuses.is_empty() {
        return;
    }
    let _section = log.section("feedback", "Feedback: commit statuses of the changed components");
    let place = StatusPlace {
        url: &settings.gitlab.url,
        ca: settings.gitlab.ca.as_deref(),
        token_file: settings.gitlab.status_token_file.as_deref(),
    };
    let mask = |secret: &str| log.mask(secret);
    let owed = beating(log, "setting statuses", report(&place, &statuses, &mask)).await;
    for status in statuses.iter().filter(|status| !owed.iter().any(|owed| owed.status == **status)) {
        log.line(format!("status  {} {}: {}", status.component, status.state(), status.description));
    }
    for status in owed {
        log.line(status.to_string());
    }
}
