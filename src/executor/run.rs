//! The run stage: one call for each script of the job (runner contract §2.1).
//!
//! GitLab's own scripts run in the helper container, the user's in the job container. The last user
//! script of a publishing job is not GitLab's: Airlock runs the rule's lines on the commit's tree, and
//! the delivery follows in the same call, outside every container that the job could touch.

use time::OffsetDateTime;

use crate::cancel::Cancel;
use crate::delivery::commit::CommitTree;
use crate::delivery::heartbeat::beating;
use crate::delivery::{Adapters, Confirmation};
use crate::domain::hub::HubRule;
use crate::domain::job::{PublishRule, RunPhase};
use crate::domain::trust::TrustPolicy;
use crate::engine::{Engine, ResolvedImage};
use crate::executor::containers::{self, TestRun};
use crate::executor::hub_job::{self, HubJob};
use crate::executor::job_record::{JobDirectory, JobKey, JobRecord};
use crate::executor::staging::{self, StagingJob};
use crate::executor::test_job::TestJob;
use crate::executor::{HostAdapters, hub_summary, source, summary};
use crate::failure::{Failure, Outcome};
use crate::gitlab::api::GitLabApi;
use crate::gitlab::job_response::JobResponse;
use crate::hub::snapshot::Projects;
use crate::job_log::JobLog;
use crate::settings::Settings;

/// Runs one phase. `open` opens keys, store and policy; only a publishing job's last step calls it.
pub async fn run(
    settings: &Settings,
    response: &JobResponse,
    phase: &RunPhase,
    script: Vec<u8>,
    open: &dyn Fn() -> Outcome<HostAdapters>,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<()> {
    let key = JobKey::of(&response.facts);
    let directory = JobDirectory::new(&settings.state_dir, &key);
    let Some(mut record) = directory.load()? else {
        return Err(Failure::system(format!("cannot run `{}`: the job was not prepared", phase.name()))
            .because("there is no job record; prepare leaves one")
            .hint("retry the job; if it fails again, the runner's administrator checks that all four stages use the same settings file")
            .note("runner problem, not your script"));
    };
    let engine = Engine::connect(&settings.engine_socket).await?;
    match phase {
        RunPhase::Predefined(_) => {
            let run =
                containers::run_script(&engine, settings, &record.helper_container, script, log, cancel);
            ended(phase, run.await?)
        }
        RunPhase::Step(_) if record.publish.is_some() => {
            let rule = record.publish.clone().expect("the guard saw a rule");
            publish(settings, response, &engine, &key, &directory, &mut record, &rule, open, log, cancel)
                .await
        }
        RunPhase::Step(_) if record.hub.is_some() => {
            let rule = record.hub.clone().expect("the guard saw a rule");
            integrate(settings, response, &engine, &key, &directory, &mut record, &rule, open, log, cancel)
                .await
        }
        RunPhase::Step(_) | RunPhase::AfterScript | RunPhase::Unknown(_) => {
            let Some(container) = &record.job_container else {
                log.line(format!("`{}` is skipped: the sandbox was never started", phase.name()));
                return Ok(());
            };
            let run = containers::run_script(&engine, settings, container, script, log, cancel).await?;
            ended(phase, run)
        }
    }
}

fn ended(phase: &RunPhase, run: TestRun) -> Outcome<()> {
    match run {
        TestRun::Ended { status: 0 } => Ok(()),
        TestRun::Ended { status } => {
            let (whose, note) = match phase {
                RunPhase::Predefined(_) => (
                    "GitLab Runner's own script ",
                    "the lines above say why; this script is not yours, but works on what the job declares",
                ),
                _ => ("", "this is your job's result"),
            };
            let what = format!("{whose}`{}` ended with status {status}", phase.name());
            Err(Failure::job(status.max(1), what).note(note))
        }
        TestRun::Cancelled => Err(Failure::cancelled(format!("`{}` was cancelled", phase.name()))),
    }
}

#[expect(clippy::too_many_arguments, reason = "the composition of one stage; a context object would hide it")]
async fn publish(
    settings: &Settings,
    response: &JobResponse,
    engine: &Engine,
    key: &JobKey,
    directory: &JobDirectory,
    record: &mut JobRecord,
    rule: &PublishRule,
    open: &dyn Fn() -> Outcome<HostAdapters>,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<()> {
    let facts = &response.facts;
    let adapters = open()?;
    let policy: &TrustPolicy = &adapters.policy;
    let api = GitLabApi::new(&settings.gitlab.url, settings.gitlab.ca.as_deref(), response.token.clone())?;
    let (image, helper) = images(settings, engine, record).await?;
    let work_dir = directory.work();

    let tree = fetch(settings, response, engine, key, &helper, &work_dir, log, cancel).await?;
    let started =
        OffsetDateTime::from_unix_timestamp(record.started_unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let labels = containers::labels(key, facts, record.started_unix);
    let workspace = record.helper_container.clone();
    let job = StagingJob {
        test: TestJob {
            engine,
            settings,
            facts,
            image: &image,
            helper: &helper,
            key: key.as_str(),
            labels: &labels,
            work_dir: &work_dir,
            log,
            cancel,
            workspace: Some(&workspace),
        },
        prefix: settings.store.prefix.as_ref(),
        rule,
        policy,
        adapters: Adapters {
            engine,
            store: &adapters.store,
            image_signer: adapters.image_signer.as_ref(),
            attestation_signer: adapters.attestation_signer.as_ref(),
            confirmation: Confirmation::GitLab(&api),
        },
        started,
    };
    let delivered = staging::run(&job, &tree, &mut |container| {
        record.job_container = Some(container.as_str().to_owned());
        directory.save(record)
    })
    .await?;
    // A client's own trust policy and certificates, not this host's.
    let next = summary::verify_command(&settings.store.place, &[], &delivered);
    summary::write(log, &delivered, &adapters.store.place(), &next);
    Ok(())
}

/// Runs the hub's job: snapshot, closed stack, tests, promotion.
#[expect(clippy::too_many_arguments, reason = "the composition of one stage; a context object would hide it")]
async fn integrate(
    settings: &Settings,
    response: &JobResponse,
    engine: &Engine,
    key: &JobKey,
    directory: &JobDirectory,
    record: &mut JobRecord,
    rule: &HubRule,
    open: &dyn Fn() -> Outcome<HostAdapters>,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<()> {
    let facts = &response.facts;
    let adapters = open()?;
    let release_key = adapters.release_signer.as_deref().ok_or_else(|| {
        Failure::usage("this host has no key for releases")
            .hint("for the runner's administrator: `release` under `[keys]` in the host settings")
    })?;
    let api = GitLabApi::new(&settings.gitlab.url, settings.gitlab.ca.as_deref(), response.token.clone())?;
    let (image, helper) = images(settings, engine, record).await?;
    let work_dir = directory.work();
    let tree = fetch(settings, response, engine, key, &helper, &work_dir, log, cancel).await?;
    let labels = containers::labels(key, facts, record.started_unix);
    let workspace = record.helper_container.clone();
    let job_url = facts.job_url().parse::<url::Url>().ok();
    let job = HubJob {
        test: TestJob {
            engine,
            settings,
            facts,
            image: &image,
            helper: &helper,
            key: key.as_str(),
            labels: &labels,
            work_dir: &work_dir,
            log,
            cancel,
            workspace: Some(&workspace),
        },
        rule,
        projects: Projects::Published(&settings.publish),
        policy: &adapters.policy,
        prefix: settings.store.prefix.as_ref(),
        store: adapters.store.as_ref(),
        release_key,
        attestation_key: adapters.attestation_signer.as_ref(),
        confirmation: Confirmation::GitLab(&api),
        variables: &response.hub_variables,
        job_url: job_url.as_ref(),
    };
    let integrated = hub_job::run(&job, &tree, &mut |container| {
        record.job_container = Some(container.as_str().to_owned());
        directory.save(record)
    })
    .await?;
    let platform = &integrated.promoted.release.release().platform;
    hub_summary::write(
        log,
        &integrated,
        &adapters.store.place(),
        &format!("airlock release show {platform}"),
    );
    Ok(())
}

/// The job's image, which must still be the one that prepare resolved, and the helper's.
async fn images(
    settings: &Settings,
    engine: &Engine,
    record: &JobRecord,
) -> Outcome<(ResolvedImage, ResolvedImage)> {
    let image = engine.resolve_image(&record.image, None, &mut |_| {}).await?;
    if image.id != record.image_id {
        return Err(Failure::system("the job's image changed since prepare")
            .because(format!("expected image id {}, found {}", record.image_id, image.id))
            .hint("retry the job"));
    }
    let helper = engine.resolve_image(&settings.helper.image, None, &mut |_| {}).await?;
    Ok((image, helper))
}

#[expect(clippy::too_many_arguments, reason = "the composition of one step; a context object would hide it")]
async fn fetch(
    settings: &Settings,
    response: &JobResponse,
    engine: &Engine,
    key: &JobKey,
    helper: &ResolvedImage,
    work_dir: &std::path::Path,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<CommitTree> {
    let _section = log.section("source", "Source: the commit itself, not the workspace");
    let fetch = source::fetch(engine, settings, helper, key, response, work_dir, log);
    cancel.or("cannot take the commit", beating(log, "fetching the commit", fetch)).await
}
