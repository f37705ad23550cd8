//! `airlock try` in a hub's repository: the very hub job, on what this machine's layout directory has staged.

use std::path::Path;

use time::OffsetDateTime;

use super::super::stores;
use super::{TryArguments, images, keys};
use crate::cancel::Cancel;
use crate::delivery::Confirmation;
use crate::delivery::commit::CommitTree;
use crate::domain::hub::{HUB_MANIFEST, HubManifest, HubRule, MAX_MANIFEST_BYTES};
use crate::domain::job::JobFacts;
use crate::engine::Engine;
use crate::executor::hub_job::{self, HubJob};
use crate::executor::job_record::JobKey;
use crate::executor::test_job::TestJob;
use crate::executor::{containers, hub_summary};
use crate::failure::{Failure, Outcome};
use crate::hub::snapshot::Projects;
use crate::job_log::JobLog;
use crate::settings::Settings;
use crate::tools::git::Git;

/// The line that tests a hub.
const SCRIPT: &str = "make integration-test";

/// Runs the hub job of a tree that is already recomputed.
#[expect(clippy::too_many_arguments, reason = "the composition of one verb; a context object would hide it")]
pub async fn run(
    arguments: &TryArguments,
    git: &Git,
    tree: &CommitTree,
    facts: &JobFacts,
    started: OffsetDateTime,
    settings: &Settings,
    key: &JobKey,
    work_dir: &Path,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<()> {
    let image = arguments
        .image
        .clone()
        .or_else(|| try_image(tree))
        .or_else(|| settings.images.default.clone())
        .ok_or_else(|| {
            Failure::usage(format!(
                "cannot try the hub in `{}`: no image is named for its tests",
                git.directory().display()
            ))
            .hint(format!("give --image HOST/NAME@sha256:…, or set `[try] image` in `{HUB_MANIFEST}`"))
        })?;
    let rule = HubRule {
        project_id: facts.project_id,
        project_path: facts.project_path.clone(),
        ref_name: facts.ref_name.clone(),
        job: facts.job_name.clone(),
        script: vec![SCRIPT.into()],
        override_users: Vec::new(),
    };
    let engine = Engine::connect(&settings.engine_socket).await?;
    let (resolved, helper) = images(&engine, settings, &image, log, cancel).await?;
    let mask = |secret: &str| log.mask(secret);
    let store = stores::open_store(&settings.store.place, &mask)?;
    let keys = keys(arguments, settings, &mask)?;
    let release_key = keys.signers.release.as_deref().ok_or_else(|| {
        Failure::usage("these host settings have no key for releases")
            .hint("set `release` under `[keys]`, or try without --settings: throw-away keys have one")
    })?;
    let labels = containers::labels(key, facts, started.unix_timestamp());
    let job = HubJob {
        test: TestJob {
            engine: &engine,
            settings,
            facts,
            image: &resolved,
            helper: &helper,
            key: key.as_str(),
            labels: &labels,
            work_dir,
            log,
            cancel,
            workspace: None,
        },
        rule: &rule,
        projects: Projects::Local,
        policy: &keys.policy,
        prefix: settings.store.prefix.as_ref(),
        store: store.as_ref(),
        release_key,
        attestation_key: keys.signers.attestation.as_ref(),
        confirmation: Confirmation::Local,
        variables: &[],
        job_url: None,
    };
    let integrated = hub_job::run(&job, tree, &mut |_| Ok(())).await?;
    let platform = integrated.promoted.release.release().platform.clone();
    hub_summary::write(log, &integrated, &store.place(), &keys.release_command(settings, &platform));
    Ok(())
}

/// The image that the manifest names; what is wrong with the manifest is told where it is used.
fn try_image(tree: &CommitTree) -> Option<crate::domain::image::PinnedImage> {
    let bytes = tree.read(HUB_MANIFEST, MAX_MANIFEST_BYTES as u64).ok()??;
    HubManifest::parse(&String::from_utf8(bytes).ok()?).ok()?.try_image
}
