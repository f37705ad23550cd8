//! The containers of one job: the helper for GitLab's scripts, the sealed one for the user's.

use std::path::Path;
use std::time::Duration;

use tokio_util::io::ReaderStream;

use crate::cancel::Cancel;
use crate::domain::hermetic::{Check, CheckId, CheckOutcome, HermeticReport};
use crate::domain::job::JobFacts;
use crate::domain::sandbox::{
    Access, Limits, Sandbox, SandboxError, SandboxNetwork, SandboxSpec, SandboxUser, SeccompProfile,
    VolumeMount,
};
use crate::engine::{ContainerId, Engine, ExecInput, ExecRequest, Labels, ResolvedImage};
use crate::executor::job_record::JobKey;
use crate::executor::test_job::TestJob;
use crate::executor::{BOOT_LABEL, BUILDS_DIR, CACHE_DIR, DEADLINE_LABEL, JOB_LABEL, boot_id};
use crate::failure::{Failure, Outcome};
use crate::job_log::JobLog;
use crate::settings::{SandboxLimits, Settings};

/// How long processes may take to end after SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How much longer than GitLab's time limit a job may live before the sweep counts it as dead.
const DEADLINE_MARGIN_S: i64 = 3600;
/// `SOURCE_DATE_EPOCH` where no commit was recomputed: 1980-01-01, the earliest date that zip knows.
const NO_COMMIT_TIME: u64 = 315_532_800;
const MIB: u64 = 1024 * 1024;

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestRun {
    Ended { status: u8 },
    Cancelled,
}

/// The sealed container of a publishing job.
pub struct JobContainer {
    pub id: ContainerId,
    pub sandbox: Sandbox,
}

/// Returns the labels that everything of a job carries.
pub fn labels(key: &JobKey, facts: &JobFacts, started_unix: i64) -> Labels {
    let timeout = i64::try_from(facts.timeout_s).unwrap_or(i64::MAX / 2);
    let deadline = started_unix.saturating_add(timeout).saturating_add(DEADLINE_MARGIN_S);
    Labels::from([
        (JOB_LABEL.to_owned(), key.as_str().to_owned()),
        (DEADLINE_LABEL.to_owned(), deadline.to_string()),
        (BOOT_LABEL.to_owned(), boot_id()),
    ])
}

/// Starts the container for GitLab's own scripts; it holds the workspace volume for the whole job.
pub async fn start_helper(
    engine: &Engine,
    settings: &Settings,
    helper: &ResolvedImage,
    key: &JobKey,
    labels: Labels,
) -> Outcome<String> {
    let user = user(&settings.sandbox)?;
    let tools = tools_volume(engine, helper, key.as_str(), &labels).await?;
    let workspace = name(key.as_str(), "workspace");
    let cache = name(key.as_str(), "cache");
    let size = settings.sandbox.workspace_mib * MIB;
    engine.create_workspace_volume(&workspace, size, user, &labels).await?;
    engine.create_workspace_volume(&cache, size, user, &labels).await?;
    let mut mounts = vec![
        VolumeMount { volume: workspace, target: BUILDS_DIR.into(), access: Access::ReadWrite },
        VolumeMount { volume: cache, target: CACHE_DIR.into(), access: Access::ReadWrite },
    ];
    if let Some(program) = &settings.helper.gitlab_runner {
        let bytes = std::fs::metadata(program).map_err(|error| gitlab_runner_failure(program, &error))?.len();
        let volume = name(key.as_str(), "gitlab-runner");
        engine.create_workspace_volume(&volume, bytes + 16 * MIB, user, &labels).await?;
        mounts.push(VolumeMount { volume, target: GITLAB_RUNNER_DIR.into(), access: Access::ReadWrite });
    }
    let sandbox = Sandbox::seal(SandboxSpec {
        image: helper.id.clone(),
        user,
        network: SandboxNetwork::Open,
        tools_volume: tools,
        mounts,
        limits: limits(&settings.sandbox),
        seccomp: SeccompProfile::shipped(),
        source_date_epoch: NO_COMMIT_TIME,
        env: Default::default(),
        labels,
    })
    .map_err(bad_sandbox)?;
    let id = engine.create_container(&name(key.as_str(), "helper"), &sandbox).await?;
    engine.start_container(&id).await?;
    if let Some(program) = &settings.helper.gitlab_runner {
        put_program(engine, &id, program, &settings.sandbox).await?;
    }
    Ok(id.as_str().to_owned())
}

/// Where GitLab's scripts find `gitlab-runner`: a directory that is on every search path.
const GITLAB_RUNNER_DIR: &str = "/usr/local/bin";

fn gitlab_runner_failure(program: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot use `helper.gitlab_runner` `{}`", program.display()))
        .because(error)
        .hint(
            "for the runner's administrator: name the installed `gitlab-runner` program in the host settings",
        )
        .note("runner problem, not your script")
}

async fn put_program(
    engine: &Engine,
    container: &ContainerId,
    program: &Path,
    limits: &SandboxLimits,
) -> Outcome<()> {
    let failure = |error: std::io::Error| gitlab_runner_failure(program, &error);
    let spool = tempfile::tempfile().map_err(failure)?;
    let mut tar = tar::Builder::new(spool);
    let mut file = std::fs::File::open(program).map_err(failure)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(file.metadata().map_err(failure)?.len());
    header.set_mode(0o755);
    header.set_uid(limits.uid.into());
    header.set_gid(limits.uid.into());
    tar.append_data(&mut header, "gitlab-runner", &mut file).map_err(failure)?;
    let mut spool = tar.into_inner().map_err(failure)?;
    std::io::Seek::rewind(&mut spool).map_err(failure)?;
    engine
        .put_archive(container, GITLAB_RUNNER_DIR, ReaderStream::new(tokio::fs::File::from_std(spool)))
        .await?;
    Ok(())
}

/// Starts the sealed container of a job that publishes nothing: it shares GitLab's workspace.
pub async fn start_plain_job(
    engine: &Engine,
    settings: &Settings,
    image: &ResolvedImage,
    key: &JobKey,
    labels: Labels,
) -> Outcome<String> {
    let sandbox = Sandbox::seal(SandboxSpec {
        image: image.id.clone(),
        user: user(&settings.sandbox)?,
        network: SandboxNetwork::None,
        tools_volume: name(key.as_str(), "tools"),
        mounts: vec![VolumeMount {
            volume: name(key.as_str(), "workspace"),
            target: BUILDS_DIR.into(),
            access: Access::ReadWrite,
        }],
        limits: limits(&settings.sandbox),
        seccomp: SeccompProfile::shipped(),
        source_date_epoch: NO_COMMIT_TIME,
        env: Default::default(),
        labels,
    })
    .map_err(bad_sandbox)?;
    let id = engine.create_container(&name(key.as_str(), "job"), &sandbox).await?;
    engine.start_container(&id).await?;
    Ok(id.as_str().to_owned())
}

/// Starts the sealed container of a publishing job with a fresh volume of its own.
pub async fn start_job(
    job: &TestJob<'_>,
    commit_time: i64,
    network: SandboxNetwork,
) -> Outcome<JobContainer> {
    let engine = job.engine;
    let user = user(&job.settings.sandbox)?;
    let labels = job.labels.clone();
    let tools = tools_volume(engine, job.helper, job.key, &labels).await?;
    let source = name(job.key, "source");
    // A second run of the last step would find the first one's files: the volume is always a new one.
    engine.remove_container_by_name(&name(job.key, "job")).await?;
    engine.remove_volume(&source).await?;
    engine.create_workspace_volume(&source, job.settings.sandbox.workspace_mib * MIB, user, &labels).await?;
    let sandbox = Sandbox::seal(SandboxSpec {
        image: job.image.id.clone(),
        user,
        network,
        tools_volume: tools,
        mounts: vec![VolumeMount { volume: source, target: BUILDS_DIR.into(), access: Access::ReadWrite }],
        limits: limits(&job.settings.sandbox),
        seccomp: SeccompProfile::shipped(),
        source_date_epoch: commit_time.unsigned_abs(),
        env: Default::default(),
        labels,
    })
    .map_err(bad_sandbox)?;
    let id = engine.create_container(&name(job.key, "job"), &sandbox).await?;
    engine.start_container(&id).await?;
    let network = match sandbox.network() {
        SandboxNetwork::Only(name) => name,
        _ => "none",
    };
    job.log.line(format!("sandbox {}  network {network}, read-only root, uid {}", id.short(), user.uid()));
    Ok(JobContainer { id, sandbox })
}

/// Unpacks the commit's files into the job container's own volume.
pub async fn fill(job: &TestJob<'_>, container: &JobContainer, tar: &Path) -> Outcome<()> {
    let file = tokio::fs::File::open(tar)
        .await
        .map_err(|e| Failure::system(format!("cannot read `{}`", tar.display())).because(e))?;
    job.engine.put_archive(&container.id, BUILDS_DIR, ReaderStream::new(file)).await?;
    Ok(())
}

/// Measures the sandbox from inside before the first line of the job runs in it.
pub async fn measure(job: &TestJob<'_>, container: &JobContainer) -> Outcome<HermeticReport> {
    let engine = job.engine;
    let probe = name(job.key, "probe");
    let further = addresses_to_try(job).await;
    let measurement =
        engine.probe(&probe, &container.id, &container.sandbox, &job.helper.id, &further).await?;
    let mut checks = measurement.checks(&container.sandbox);
    checks.extend([
        Check::held(CheckId::SourceIsCommit),
        Check::held(CheckId::ImagesByDigest),
        Check::held(CheckId::FreshState),
        // What a shared engine's daemon can reach is not ours to measure.
        Check::not_measured(
            CheckId::BuildNetwork,
            "the image is built by an engine that others share; an engine without a route would show it",
        ),
    ]);
    let report = HermeticReport::new(checks);
    for check in report.checks() {
        let (mark, reason) = match &check.outcome {
            CheckOutcome::Held => ("held", String::new()),
            CheckOutcome::NotHeld(reason) => ("NOT HELD", format!(": {reason}")),
            CheckOutcome::NotMeasured(reason) => ("not measured", format!(": {reason}")),
        };
        job.log.line(format!("{mark:<12}  {}{reason}", check.id.name()));
    }
    job.log.line(format!("level {}", report.level()));
    Ok(report)
}

/// Addresses that a sandbox must not reach although the host does: GitLab's own.
async fn addresses_to_try(job: &TestJob<'_>) -> Vec<std::net::SocketAddr> {
    let url = &job.settings.gitlab.url;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Vec::new() };
    tokio::net::lookup_host((host, port)).await.map(|found| found.take(2).collect()).unwrap_or_default()
}

/// Runs lines as one script of `sh -e` in the project's directory; no CI variable reaches them.
pub async fn run_lines(job: &TestJob<'_>, container: &JobContainer, lines: &[String]) -> Outcome<TestRun> {
    let user = user(&job.settings.sandbox)?;
    let mut script = lines.join("\n");
    script.push('\n');
    let request = ExecRequest::new(user, ["sh", "-e"])
        .workdir(format!("{BUILDS_DIR}/{}", job.facts.project_path))
        .stdin(ExecInput::Bytes(script.into()));
    execute(job.engine, &container.id, request, user, job.log, job.cancel).await
}

/// Runs a script that GitLab Runner wrote: bash where the image has it, else sh.
pub async fn run_script(
    engine: &Engine,
    settings: &Settings,
    container: &str,
    script: Vec<u8>,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<TestRun> {
    const SHELL: &str = "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi";
    let user = user(&settings.sandbox)?;
    let request = ExecRequest::new(user, ["sh", "-c", SHELL]).stdin(ExecInput::Bytes(script.into()));
    execute(engine, &container.parse()?, request, user, log, cancel).await
}

async fn execute(
    engine: &Engine,
    container: &ContainerId,
    request: ExecRequest,
    user: SandboxUser,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<TestRun> {
    let mut output = |_stream, bytes: &[u8]| log.raw(bytes);
    let run = tokio::select! {
        biased;
        () = cancel.cancelled() => TestRun::Cancelled,
        status = engine.exec(container, request, &mut output) => TestRun::Ended { status: status? },
    };
    // What the script left running must not see, or change, what comes after it.
    engine.kill_processes(container, user, GRACE).await?;
    Ok(run)
}

pub(super) async fn tools_volume(
    engine: &Engine,
    helper: &ResolvedImage,
    key: &str,
    labels: &Labels,
) -> Outcome<String> {
    let volume = name(key, "tools");
    engine.create_tools_volume(&volume, &helper.id, labels).await?;
    Ok(volume)
}

/// Returns the name of one thing of a job in the engine.
pub fn name(key: &str, part: &str) -> String {
    format!("airlock-{key}-{part}")
}

/// Returns the user of everything that runs in a sandbox.
pub fn user(limits: &SandboxLimits) -> Outcome<SandboxUser> {
    SandboxUser::new(limits.uid, limits.uid).map_err(bad_sandbox)
}

/// Returns the limits of every container of a job.
pub fn limits(limits: &SandboxLimits) -> Limits {
    Limits {
        memory_bytes: limits.memory_mib * MIB,
        cpu_millis: u64::from(limits.cpus) * 1000,
        pids: limits.pids,
        tmp_bytes: limits.tmp_mib * MIB,
        ..Limits::default()
    }
}

/// Turns a sandbox that the settings cannot describe into what the administrator reads.
pub fn bad_sandbox(error: SandboxError) -> Failure {
    Failure::usage("cannot describe the sandbox")
        .because(error)
        .hint("for the runner's administrator: check `[sandbox]` in the host settings")
}
