//! `airlock try`: the very staging job on a developer's machine, from a commit of his repository.
//!
//! The same code runs as in a GitLab job; git on this machine hands over the objects, throw-away keys
//! sign unless others are named, and the provenance says `local`.

use std::path::{Component, Path, PathBuf};

use clap::Args;
use time::OffsetDateTime;

use crate::cancel::Cancel;
use crate::delivery::commit::CommitTree;
use crate::delivery::heartbeat::beating;
use crate::delivery::pull::host_credentials;
use crate::delivery::{Adapters, Confirmation};
use crate::domain::commit::ObjectId;
use crate::domain::hub::HUB_MANIFEST;
use crate::domain::image::PinnedImage;
use crate::domain::job::{JobFacts, PublishRule};
use crate::engine::{Engine, ResolvedImage};
use crate::executor::job_record::{JobDirectory, JobKey};
use crate::executor::staging::{self, StagingJob};
use crate::executor::test_job::TestJob;
use crate::executor::{cleanup, containers, prepare, summary};
use crate::failure::{Failure, Outcome};
use crate::job_log::{JobLog, LogStyle, printable};
use crate::settings::Settings;
use crate::tools::ToolError;
use crate::tools::git::Git;

use super::stores;

mod hub;
mod local_keys;
mod local_settings;

pub use local_settings::state_dir as local_state_dir;

#[derive(Args)]
pub struct TryArguments {
    /// Commit or branch to try; what is not committed is named, not used
    #[arg(default_value = "HEAD")]
    revision: String,
    /// Directory of OCI image layouts that receives the image
    #[arg(long)]
    layout: Option<PathBuf>,
    /// Image that the test runs in, instead of `[try] image` in `airlock.toml`
    #[arg(long)]
    image: Option<PinnedImage>,
    /// Helper image, where there are no host settings
    #[arg(long)]
    helper_image: Option<PinnedImage>,
    /// Take engine, images, sandbox, store and keys from these host settings
    #[arg(long, conflicts_with_all = ["layout", "helper_image", "keys", "compose"])]
    settings: Option<PathBuf>,
    /// Docker Compose on this machine, for a hub's stack, where there are no host settings
    #[arg(long)]
    compose: Option<PathBuf>,
    /// Directory for the throw-away keys and their trust policy; an existing pair is used again
    #[arg(long)]
    keys: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(arguments: TryArguments) -> Outcome<()> {
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(try_job(&arguments));
    runtime.shutdown_background();
    outcome
}

async fn try_job(arguments: &TryArguments) -> Outcome<()> {
    let log = JobLog::new(Box::new(std::io::stdout()), LogStyle::Terminal);
    let cancel = Cancel::listen()?;
    let here = std::path::absolute(".")
        .map_err(|e| Failure::usage("cannot tell which directory this is").because(e))?;
    let git = Git::open(&here, home()).await.map_err(|error| no_repository(&here, error))?;
    let commit: ObjectId = git
        .commit_id(&arguments.revision)
        .await?
        .ok_or_else(|| no_commit(&git, &arguments.revision))?
        .parse()
        .map_err(|e| Failure::usage(format!("cannot try `{}`", arguments.revision)).because(e))?;
    name_uncommitted(&git, &log).await?;

    let started = OffsetDateTime::now_utc();
    let key = JobKey::local(std::process::id(), started.unix_timestamp());
    let settings = match &arguments.settings {
        Some(path) => super::read_settings(path)?,
        None => local_settings::settings(
            arguments.layout.as_deref(),
            arguments.helper_image.as_ref(),
            arguments.compose.as_deref(),
            git.directory(),
        )?,
    };
    super::tracing_log::start(&settings.state_dir);
    let directory = JobDirectory::new(&settings.state_dir, &key);
    directory.create()?;

    let outcome =
        in_directory(arguments, &git, commit, started, &settings, &key, &directory, &log, &cancel).await;
    // Whatever happened, nothing of the try stays in the engine.
    let removed = cleanup::remove_job(&settings, &key).await;
    outcome.and(removed)
}

async fn name_uncommitted(git: &Git, log: &JobLog) -> Outcome<()> {
    let paths = git.uncommitted().await?;
    if !paths.is_empty() {
        log.line(format!("not committed, so not used: {}", paths.len()));
        for (state, path) in paths.iter().take(MAX_NAMED) {
            log.line(format!("  {state:<10}  {}", printable(path)));
        }
        if paths.len() > MAX_NAMED {
            log.line(format!("  and {} more; `git status` shows them", paths.len() - MAX_NAMED));
        }
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the composition of one verb; a context object would hide it")]
async fn in_directory(
    arguments: &TryArguments,
    git: &Git,
    commit: ObjectId,
    started: OffsetDateTime,
    settings: &Settings,
    key: &JobKey,
    directory: &JobDirectory,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<()> {
    let work_dir = directory.work();
    let tree = {
        let _section = log.section("source", "Source: the commit itself, not the working tree");
        let mut objects = git.cat_file()?;
        let limit = settings.sandbox.workspace_mib << 20;
        let (requests, answers) = (&mut objects.requests, &mut objects.answers);
        let fetch = async { Ok(CommitTree::fetch(commit, requests, answers, &work_dir, limit).await?) };
        let tree = cancel.or("cannot take the commit", beating(log, "reading", fetch)).await?;
        log.line(format!("commit  {commit}  recomputed from {} files", tree.len()));
        tree
    };
    let name = git.directory().file_name().map_or_else(|| "component".into(), |name| name.to_string_lossy());
    let project_path = format!("local/{}", project_name(&name));
    if tree.read(HUB_MANIFEST, 0).map_or(true, |file| file.is_some()) {
        let facts = facts(arguments, git, commit, "integration", project_path).await?;
        return hub::run(arguments, git, &tree, &facts, started, settings, key, &work_dir, log, cancel).await;
    }
    let manifest = staging::component_manifest(&tree, &project_path)?;
    let image = arguments
        .image
        .clone()
        .or_else(|| manifest.try_image().cloned())
        .or_else(|| settings.images.default.clone())
        .ok_or_else(|| {
            Failure::usage("cannot try the job: no image is named for the test")
                .hint("give --image HOST/NAME@sha256:…, or set `[try] image` in `airlock.toml`")
        })?;
    let facts = facts(arguments, git, commit, "stage-unit-test", project_path).await?;
    let rule = PublishRule {
        project_id: 0,
        project_path: facts.project_path.clone(),
        ref_name: facts.ref_name.clone(),
        job: facts.job_name.clone(),
        script: vec!["make stage-unit-test".into()],
        repositories: manifest.images().iter().map(|image| image.repository.clone()).collect(),
    };

    let engine = Engine::connect(&settings.engine_socket).await?;
    let (resolved, helper) = images(&engine, settings, &image, log, cancel).await?;
    let mask = |secret: &str| log.mask(secret);
    let store = stores::open_store(&settings.store.place, &mask)?;
    let keys = keys(arguments, settings, &mask)?;
    let labels = containers::labels(key, &facts, started.unix_timestamp());
    let job = StagingJob {
        test: TestJob {
            engine: &engine,
            settings,
            facts: &facts,
            image: &resolved,
            helper: &helper,
            key: key.as_str(),
            labels: &labels,
            work_dir: &work_dir,
            log,
            cancel,
            workspace: None,
        },
        prefix: settings.store.prefix.as_ref(),
        rule: &rule,
        policy: &keys.policy,
        adapters: Adapters {
            engine: &engine,
            store: &store,
            image_signer: keys.signers.image.as_ref(),
            attestation_signer: keys.signers.attestation.as_ref(),
            confirmation: Confirmation::Local,
        },
        started,
    };
    let delivered = staging::run(&job, &tree, &mut |_| Ok(())).await?;
    summary::write(log, &delivered, &store.place(), &keys.verify_command(settings, &delivered));
    Ok(())
}

/// What a try knows of its job: the commit and the branch; nobody else stands behind it.
async fn facts(
    arguments: &TryArguments,
    git: &Git,
    commit: ObjectId,
    job_name: &str,
    project_path: String,
) -> Outcome<JobFacts> {
    Ok(JobFacts {
        job_id: 0,
        job_name: job_name.into(),
        project_id: 0,
        project_path,
        pipeline_id: 0,
        user_id: None,
        ref_name: git.branch_of(&arguments.revision).await?,
        ref_type: "branch".into(),
        protected: None,
        commit,
        repository_url: url::Url::from_file_path(git.directory())
            .map_err(|()| Failure::internal("the repository's path is not absolute"))?,
        runner_uuid: String::new(),
        timeout_s: 7200,
    })
}

/// The image of the test and the helper's, as the engine has them.
async fn images(
    engine: &Engine,
    settings: &Settings,
    image: &PinnedImage,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<(ResolvedImage, ResolvedImage)> {
    let (place, helper) = (&settings.store.place, &settings.helper.image);
    cancel
        .or("cannot have the images", async {
            let image = prepare::resolve(engine, image, host_credentials(place, image)?, log).await?;
            Ok((image, prepare::resolve(engine, helper, host_credentials(place, helper)?, log).await?))
        })
        .await
}

/// The host's own keys where its settings are named, throw-away ones else.
fn keys(
    arguments: &TryArguments,
    settings: &Settings,
    mask: stores::Mask<'_>,
) -> Outcome<local_keys::TryKeys> {
    match &arguments.settings {
        Some(_) => local_keys::of_settings(settings, mask),
        None => local_keys::throw_away(arguments.keys.as_deref(), settings),
    }
}

/// Most uncommitted paths that are named.
const MAX_NAMED: usize = 10;
/// Longest name of a component.
const MAX_NAME: usize = 63;

/// Where git looks for a developer's own configuration, which may say which directories are safe.
fn home() -> Option<std::ffi::OsString> {
    #[expect(clippy::disallowed_methods, reason = "the command line is where the environment is read")]
    std::env::var_os("HOME")
}

fn no_repository(directory: &Path, error: ToolError) -> Failure {
    match error {
        ToolError::Failed { stderr, .. } => {
            Failure::usage(format!("cannot try `{}`: it is not a usable git repository", directory.display()))
                .because(stderr)
                .hint("run `airlock try` in the working tree of a component")
        }
        error => error.into(),
    }
}

fn no_commit(git: &Git, revision: &str) -> Failure {
    let failure = Failure::usage(format!(
        "cannot try `{revision}`: `{}` has no such commit",
        git.directory().display()
    ));
    match revision {
        "HEAD" => failure.hint("commit something first: a try takes the commit, not the working tree"),
        _ => failure.hint("`git log --oneline --all` shows what there is"),
    }
}

/// Makes a path absolute and takes `.` and `..` away, so that what is printed reads well elsewhere.
fn clean_absolute(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    // Past a symbolic link `..` is not the name before it: then the path stays as it is.
    let linked = absolute.ancestors().any(Path::is_symlink);
    if linked {
        return Ok(absolute);
    }
    let mut clean = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    Ok(clean)
}

/// A directory's name as a component's: words of lower-case letters and digits between single hyphens.
fn project_name(name: &str) -> String {
    let words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let name: String = words.join("-").chars().take(MAX_NAME).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { "component".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_directory_name_becomes_a_component_name() {
        for (name, expected) in [
            ("billing", "billing"),
            ("My App -- 2!", "my-app-2"),
            ("--", "component"),
            ("Ünï", "n"),
            (&"long-".repeat(30), &"long-".repeat(30)[..63]),
        ] {
            assert_eq!(project_name(name), expected);
        }
    }

    #[test]
    fn a_path_is_printed_without_detours() {
        let clean = |path: &str| clean_absolute(Path::new(path)).expect("a path").display().to_string();
        assert_eq!(clean("/srv/./app/../store"), "/srv/store");
        assert_eq!(clean("/../x"), "/x");
    }
}
