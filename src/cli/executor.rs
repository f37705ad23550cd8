//! `airlock executor`: the four stages as GitLab Runner calls them (runner contract §1.1).

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cancel::Cancel;
use crate::domain::job::RunPhase;
use crate::executor::{self, HostAdapters};
use crate::failure::{Failure, FailureKind, Outcome};
use crate::gitlab::job_response::JobResponse;
use crate::gitlab::stage_environment::{StageEnvironment, StageKind};
use crate::job_log::{JobLog, LogStyle};
use crate::settings::Settings;

use super::stores;

#[derive(Subcommand)]
pub enum Stage {
    /// Tell GitLab Runner where the workspace is
    Config(Common),
    /// Resolve the image and start the containers
    Prepare(Common),
    /// Run one script of the job, and deliver after the last one of a publishing job
    Run(RunArguments),
    /// Remove all that the job left; never publishes
    Cleanup(Common),
}

#[derive(Args)]
pub struct Common {
    /// Host settings
    #[arg(long, default_value = super::DEFAULT_SETTINGS)]
    settings: PathBuf,
}

#[derive(Args)]
pub struct RunArguments {
    #[command(flatten)]
    common: Common,
    /// File with the script that GitLab Runner wrote
    script: PathBuf,
    /// Name of the run phase, for example `build_script`
    phase: String,
}

/// Runs a stage and returns the exit code that GitLab Runner understands.
pub fn run(stage: Stage) -> ExitCode {
    let environment = StageEnvironment::read(|name| {
        #[expect(clippy::disallowed_methods, reason = "the command line is where the environment is read")]
        std::env::var(name).ok()
    });
    let log = job_log();
    let (kind, outcome) = match stage {
        Stage::Config(common) => (StageKind::Config, config(&common)),
        Stage::Prepare(common) => (StageKind::Prepare, prepare(&common, &environment, &log)),
        Stage::Run(arguments) => {
            environment.reset_exit_code();
            (StageKind::Run, run_phase(&arguments, &environment, &log))
        }
        Stage::Cleanup(common) => (StageKind::Cleanup, cleanup(&common, &environment)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let failure = match whose_problem(failure.kind(), kind) {
                Some(note) => failure.or_note(note),
                None => failure,
            };
            let text = log.masked(&failure.to_string());
            tracing::warn!(stage = ?kind, failure = %text, "the stage failed");
            super::complain(&text);
            ExitCode::from(environment.exit_code(failure.kind(), kind))
        }
    }
}

/// The last line of a failed stage: whose problem it is, where the failure doesn't say it better.
fn whose_problem(kind: FailureKind, stage: StageKind) -> Option<&'static str> {
    match (kind, stage) {
        (FailureKind::Job { .. }, _) => Some("this is your job's result"),
        (FailureKind::Refused { .. }, _) => Some("the runner refused this job; retrying will not help"),
        (
            FailureKind::Usage | FailureKind::System | FailureKind::Internal,
            StageKind::Config | StageKind::Prepare,
        ) => Some("runner problem, not your script; GitLab tries prepare up to 3 times"),
        (
            FailureKind::Usage | FailureKind::System | FailureKind::Internal,
            StageKind::Run | StageKind::Cleanup,
        ) => Some("runner problem, not your script"),
        (FailureKind::Cancelled, _) => None,
    }
}

fn config(common: &Common) -> Outcome<()> {
    // Broken settings are told at the first stage, before anything is made.
    super::read_settings(&common.settings)?;
    let answer = serde_json::to_string(&executor::config::config())
        .map_err(|e| Failure::internal("the answer cannot be written as JSON").because(e))?;
    let mut out = std::io::stdout();
    out.write_all(answer.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::system("cannot answer GitLab Runner").because(e))
}

fn job_log() -> JobLog {
    JobLog::new(Box::new(std::io::stdout()), LogStyle::GitLab)
}

fn start(common: &Common) -> Outcome<Settings> {
    let settings = super::read_settings(&common.settings)?;
    super::tracing_log::start(&settings.state_dir);
    Ok(settings)
}

fn prepare(common: &Common, environment: &StageEnvironment, log: &JobLog) -> Outcome<()> {
    let settings = start(common)?;
    let response = JobResponse::read(environment.job_response_file()?)?;
    log.mask(&response.token);
    let facts = &response.facts;
    tracing::info!(job = facts.job_id, project = facts.project_path, commit = %facts.commit, "prepare");
    in_runtime(async {
        let cancel = Cancel::listen()?;
        executor::prepare::prepare(&settings, &response, log, &cancel).await
    })
}

fn run_phase(arguments: &RunArguments, environment: &StageEnvironment, log: &JobLog) -> Outcome<()> {
    let settings = start(&arguments.common)?;
    let response = JobResponse::read(environment.job_response_file()?)?;
    let script = std::fs::read(&arguments.script).map_err(|e| {
        Failure::system(format!("cannot read GitLab Runner's script `{}`", arguments.script.display()))
            .because(e)
            .hint("retry the job; the runner writes the script into its temporary directory right before this call")
    })?;
    let phase = RunPhase::parse(&arguments.phase);
    log.mask(&response.token);
    tracing::info!(job = response.facts.job_id, phase = phase.name(), "run");
    let mask = |secret: &str| log.mask(secret);
    in_runtime(async {
        let cancel = Cancel::listen()?;
        let open = || -> Outcome<HostAdapters> {
            let signers = stores::open_signers(&settings.keys, &mask)?;
            Ok(HostAdapters {
                store: stores::open_store(&settings.store.place, &mask)?,
                image_signer: signers.image,
                attestation_signer: signers.attestation,
                release_signer: signers.release,
                policy: stores::read_policy(&settings.trust)?,
            })
        };
        executor::run::run(&settings, &response, &phase, script, &open, log, &cancel).await
    })
}

fn cleanup(common: &Common, environment: &StageEnvironment) -> Outcome<()> {
    let settings = start(common)?;
    // After a very early failure there is no job response; what such a job left, the sweep removes.
    let facts = match environment.job_response_file().map(JobResponse::read) {
        Ok(Ok(response)) => Some(response.facts),
        _ => None,
    };
    in_runtime(executor::cleanup::cleanup(&settings, facts.as_ref()))
}

fn in_runtime(work: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(work);
    // Blocking work that was cancelled must not hold the process: what it writes is named by no tag.
    runtime.shutdown_background();
    outcome
}
