//! From the commit's tree to an image in the engine: Dockerfile checked, bases pinned, no network.

use std::path::Path;

use crate::delivery::Delivery;
use crate::delivery::commit::{CommitTree, TarOwner};
use crate::delivery::pull::host_credentials;
use crate::dockerfile::ignore::IgnoreFile;
use crate::dockerfile::{CheckedDockerfile, onbuild_refusal, refusals_to_failure};
use crate::domain::component::{ComponentManifest, ImageBuild};
use crate::domain::digest::Digest;
use crate::domain::image::{PinnedImage, Repository};
use crate::domain::job::PublishRule;
use crate::engine::{BUILD_TAG_PREFIX, BuildCache, BuildLock, BuildRequest, Engine, Labels};
use crate::failure::{EXIT_DOCKERFILE_REFUSED, Failure, FailureKind, Outcome};
use crate::job_log::JobLog;
use crate::settings::ImageSettings;

/// Largest Dockerfile or ignore file, in bytes.
const MAX_DOCKERFILE_BYTES: u64 = 1024 * 1024;

/// A build that may go ahead: its repository is listed and its Dockerfile asks for nothing it may not.
pub struct PlannedBuild<'a> {
    pub image: &'a ImageBuild,
    pub repository: Repository,
    pub dockerfile: CheckedDockerfile,
    dockerfile_name: String,
    ignore: IgnoreFile,
}

/// An image in the engine, built from the commit alone.
pub struct BuiltImage<'a> {
    pub plan: PlannedBuild<'a>,
    pub engine_tag: String,
    pub image_id: Digest,
    pub bases: Vec<PinnedImage>,
    /// Diff ids of the base that the final stage inherits; empty for `FROM scratch`.
    pub base_layers: Vec<Digest>,
}

/// Checks every image of a component before anything runs.
pub fn plan<'a>(
    tree: &CommitTree,
    manifest: &'a ComponentManifest,
    rule: &PublishRule,
    prefix: Option<&Repository>,
    images: &ImageSettings,
) -> Outcome<Vec<PlannedBuild<'a>>> {
    let unlisted: Vec<&str> = manifest
        .images()
        .iter()
        .filter(|image| !rule.repositories.contains(&image.repository))
        .map(|image| image.repository.as_str())
        .collect();
    if !unlisted.is_empty() {
        let listed: Vec<&str> = rule.repositories.iter().map(Repository::as_str).collect();
        return Err(Failure::refused_to_publish(format!(
            "cannot publish `{}`: the host's publish rule does not list it",
            unlisted.join("`, `")
        ))
        .because(format!("`airlock.toml` names it; the rule for this job lists `{}`", listed.join("`, `")))
        .hint(
            "name a listed repository in `airlock.toml`, or ask the runner's administrator to list this one",
        )
        .note("the runner refused to publish; retrying will not help"));
    }
    manifest.images().iter().map(|image| plan_one(tree, image, prefix, images)).collect()
}

fn plan_one<'a>(
    tree: &CommitTree,
    image: &'a ImageBuild,
    prefix: Option<&Repository>,
    images: &ImageSettings,
) -> Outcome<PlannedBuild<'a>> {
    let path = image.dockerfile.as_str();
    let Some(text) = tree.read(path, MAX_DOCKERFILE_BYTES)? else {
        return Err(Failure::refused_to_publish(format!(
            "cannot build `{}`: the commit has no file `{path}`",
            image.repository
        ))
        .with_kind(dockerfile_kind())
        .hint("add the Dockerfile, or name it with `dockerfile` in `airlock.toml`"));
    };
    let allowed = |image: &PinnedImage| images.allows(image);
    let dockerfile = CheckedDockerfile::check(&text, path, image.target.as_deref(), &allowed)
        .map_err(|refusals| refusals_to_failure(path, &refusals))?;
    let ignore = match tree.read(&format!("{path}.dockerignore"), MAX_DOCKERFILE_BYTES)? {
        Some(own) => Some(own),
        None => tree.read(&in_context(image.context.as_str(), ".dockerignore"), MAX_DOCKERFILE_BYTES)?,
    };
    let ignore = match ignore {
        Some(bytes) => IgnoreFile::parse(&bytes).map_err(|error| {
            Failure::refused_to_publish("cannot use the file `.dockerignore`")
                .with_kind(dockerfile_kind())
                .because(error)
                .hint("mend the file and push again")
        })?,
        None => IgnoreFile::default(),
    };
    let Some(dockerfile_name) = dockerfile_in_context(image) else {
        return Err(Failure::refused_to_publish(format!(
            "cannot build `{}`: its Dockerfile `{path}` is not inside its context `{}`",
            image.repository, image.context
        ))
        .with_kind(dockerfile_kind())
        .hint("move the Dockerfile into the context, or widen `context` in `airlock.toml`"));
    };
    Ok(PlannedBuild {
        image,
        repository: image.repository.below(prefix),
        dockerfile,
        dockerfile_name,
        ignore,
    })
}

fn dockerfile_kind() -> FailureKind {
    FailureKind::Refused { stage: EXIT_DOCKERFILE_REFUSED, cli: crate::failure::CLI_REFUSED }
}

fn in_context(context: &str, name: &str) -> String {
    if context == "." { name.to_owned() } else { format!("{context}/{name}") }
}

/// Builds one image; the build has no network and sees the commit's files alone.
pub async fn build<'a>(
    engine: &Engine,
    delivery: &Delivery<'_>,
    plan: PlannedBuild<'a>,
    log: &JobLog,
) -> Outcome<BuiltImage<'a>> {
    let engine_tag = format!("{BUILD_TAG_PREFIX}{}:{}", delivery.key, plan.repository.last_part());
    let mut base_layers = Vec::new();
    for base in plan.dockerfile.bases() {
        let credentials = host_credentials(delivery.place, base)?;
        let resolved = engine.resolve_image(base, credentials, &mut |_| {}).await?;
        if !resolved.on_build.is_empty() {
            return Err(onbuild_refusal(base, &resolved.on_build));
        }
        if plan.dockerfile.final_base() == Some(base) {
            base_layers = resolved.layers.clone();
        }
        log.line(format!("base    {}@sha256:{}…  in the engine", base.name(), base.digest().short()));
    }

    let context = context_file(delivery.tree, &plan, delivery.work_dir)?;
    let request = BuildRequest {
        dockerfile: plan.dockerfile_name.clone(),
        target: plan.image.target.clone(),
        tag: engine_tag.clone(),
        // A published image never contains a step that another job ran.
        cache: BuildCache::Off,
        build_args: Labels::new(),
        labels: delivery.labels.clone(),
    };
    let lock = BuildLock::acquire(&delivery.state_dir.join("build.lock"), &mut || {
        log.line("  … another build runs on this host")
    })
    .await?;
    let context = tokio::fs::File::open(&context)
        .await
        .map_err(|e| Failure::system("cannot read the build context").because(e))?;
    let context = tokio_util::io::ReaderStream::new(context);
    let mut lines = 0usize;
    let image_id = engine
        .build(&lock, &request, context, &mut |line| {
            lines += 1;
            if !line.is_internal() {
                log.line(format!("  {}", line.text));
            }
        })
        .await
        .map_err(|error| {
            let what = format!("cannot build `{}` from `{}`", plan.repository, plan.image.dockerfile);
            Failure::from(error).while_doing(what)
        })?;
    tracing::info!(%image_id, lines, "built");
    let bases = plan.dockerfile.bases().to_vec();
    Ok(BuiltImage { plan, engine_tag, image_id, bases, base_layers })
}

/// The name that the Dockerfile has inside the context archive; `None` when it is not in the context.
fn dockerfile_in_context(image: &ImageBuild) -> Option<String> {
    match image.context.as_str() {
        "." => Some(image.dockerfile.as_str().to_owned()),
        context => image.dockerfile.as_str().strip_prefix(context)?.strip_prefix('/').map(str::to_owned),
    }
}

fn context_file(tree: &CommitTree, plan: &PlannedBuild<'_>, work_dir: &Path) -> Outcome<std::path::PathBuf> {
    let base = if plan.image.context.is_root() { "" } else { plan.image.context.as_str() };
    let path = work_dir.join("context.tar");
    let failure = |error: std::io::Error| {
        Failure::system(format!("cannot write the build context `{}`", path.display())).because(error)
    };
    let file = std::fs::File::create(&path).map_err(failure)?;
    let keep = |relative: &str| relative == plan.dockerfile_name || !plan.ignore.excludes(relative);
    tree.write_tar(base, "", TarOwner { uid: 0, gid: 0 }, &keep, std::io::BufWriter::new(file))?;
    Ok(path)
}
