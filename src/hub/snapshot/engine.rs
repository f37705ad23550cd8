//! The snapshot's images in the engine: by digest, and then known by the engine's own immutable id.
//!
//! What the engine has afterwards is what was verified: its id of an image is the digest of the config
//! that the evidence is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};

use super::{Snapshot, SnapshotImage, SnapshotSidecar};
use crate::cancel::Cancel;
use crate::delivery::heartbeat::{Progress, beating_with};
use crate::delivery::pull::host_credentials;
use crate::domain::digest::Digest;
use crate::domain::hub::{HUB_MANIFEST, HubManifest};
use crate::domain::image::{PinnedImage, Repository};
use crate::engine::{Engine, ResolvedImage};
use crate::failure::{Failure, Outcome};
use crate::job_log::JobLog;
use crate::registry::{Descriptor, ImageStore};
use crate::settings::{ImageSettings, StorePlace};

/// How many images are fetched at the same time.
const MAX_AT_ONCE: usize = 4;
/// Name part of the images that are loaded from a layout; they stay as a cache for the next runs.
pub const LOADED_TAG_PREFIX: &str = "airlock-hub/";
/// How long an image that was loaded from a layout stays in the engine after the last run that took it.
const KEPT_UNUSED: Duration = Duration::days(7);

/// What images are put into the engine with.
pub struct EngineParts<'a> {
    pub engine: &'a Engine,
    pub store: &'a dyn ImageStore,
    /// Where `store` is.
    pub place: &'a StorePlace,
    /// Above all repositories of the store.
    pub prefix: Option<&'a Repository>,
    /// What a sidecar may be.
    pub images: &'a ImageSettings,
    /// The job's own directory on the host, for layers on their way.
    pub work_dir: &'a Path,
}

/// A snapshot whose images the engine has.
#[derive(Debug, Clone)]
pub struct LoadedSnapshot {
    /// With its sidecars.
    pub snapshot: Snapshot,
    /// The engine's immutable id of every service of the manifest, sidecars included.
    pub images: BTreeMap<String, Digest>,
}

/// Refuses sidecars that the host does not allow, all of them at once; nothing is fetched.
pub fn refuse_sidecars(
    manifest: &HubManifest,
    images: &ImageSettings,
    store: &dyn ImageStore,
    prefix: Option<&Repository>,
) -> Outcome<()> {
    let own = |name: &str| {
        manifest.components.iter().find(|(_, component)| {
            component.services.values().any(|r| store.docker_reference(&r.below(prefix)) == name)
        })
    };
    let mut causes = Vec::new();
    for (service, image) in &manifest.sidecars {
        let name = image.name();
        // What a component builds is verified; as a sidecar it would come in without its evidence.
        if let Some((component, _)) = own(&name) {
            causes.push(format!("`{service}`: `{name}` is an image of the component `{component}`"));
        } else if !images.allows(image) {
            causes.push(format!("`{service}`: `{name}` is not on the host's list `[images] allow`"));
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    let failure = Failure::refused(format!("cannot use the sidecars of `{}`", manifest.platform));
    Err(causes
        .into_iter()
        .fold(failure, Failure::because)
        .hint(format!("correct `[sidecars]` in {HUB_MANIFEST}: only third-party images that the host allows"))
        .hint("for the runner's administrator: `allow` under `[images]` in the host settings"))
}

/// Puts every image of the snapshot, and every sidecar, into the engine.
pub async fn into_engine(
    parts: &EngineParts<'_>,
    mut snapshot: Snapshot,
    manifest: &HubManifest,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<LoadedSnapshot> {
    let _section = log.section("images", "Images of the stack");
    refuse_sidecars(manifest, parts.images, parts.store, parts.prefix)?;
    if matches!(parts.place, StorePlace::Layout(_)) {
        forget_unused(parts.engine, LOADED_TAG_PREFIX, OffsetDateTime::now_utc(), log).await?;
    }
    // Several services may run one image; it is fetched once.
    let mut unique: BTreeMap<(&Repository, &Digest), &SnapshotImage> = BTreeMap::new();
    for image in snapshot.components.iter().flat_map(|component| &component.images) {
        unique.entry((&image.repository, image.image.digest())).or_insert(image);
    }
    let progress = Progress::default();
    let fetching = async {
        let components =
            stream::iter(unique.values().map(|image| component_image(parts, image, log, &progress)))
                .buffer_unordered(MAX_AT_ONCE)
                .try_for_each(|()| async { Ok(()) });
        let sidecars = stream::iter(
            manifest.sidecars.iter().map(|(service, pinned)| sidecar(parts, service, pinned, log, &progress)),
        )
        .buffered(MAX_AT_ONCE)
        .try_collect::<Vec<SnapshotSidecar>>();
        tokio::try_join!(components, sidecars)
    };
    let what = "cannot put the stack's images into the engine";
    let ((), sidecars) = cancel.or(what, beating_with(log, "fetching images", &progress, fetching)).await?;
    let mut images: BTreeMap<String, Digest> = BTreeMap::new();
    for image in snapshot.components.iter().flat_map(|component| &component.images) {
        images.insert(image.service.clone(), image.config.clone());
    }
    images.extend(sidecars.iter().map(|sidecar| (sidecar.service.clone(), sidecar.id.clone())));
    snapshot.sidecars = sidecars;
    Ok(LoadedSnapshot { snapshot, images })
}

/// Forgets images that were loaded from a layout and that no run took for a while.
///
/// A run names what it takes anew, so what is in use is never old; the engine itself keeps an image that a
/// container has.
pub async fn forget_unused(engine: &Engine, prefix: &str, now: OffsetDateTime, log: &JobLog) -> Outcome<()> {
    for (name, named_at) in engine.names_below(prefix).await? {
        if named_at + KEPT_UNUSED < now {
            match engine.remove_image_tag(&name).await {
                Ok(()) => {
                    log.line(format!("forgot  {name}: no run took it for {} days", KEPT_UNUSED.whole_days()))
                }
                Err(error) => tracing::warn!(name, %error, "an unused image stays in the engine"),
            }
        }
    }
    Ok(())
}

async fn component_image(
    parts: &EngineParts<'_>,
    image: &SnapshotImage,
    log: &JobLog,
    progress: &Progress,
) -> Outcome<()> {
    let repository = image.repository.below(parts.prefix);
    let id = match parts.place {
        StorePlace::Registry { host, .. } => {
            let digest = image.image.digest().clone();
            pull(parts, &PinnedImage::new(host.clone(), repository.clone(), digest), progress).await?.id
        }
        StorePlace::Layout(_) => load(parts, image, &repository, progress).await?,
    };
    if id != image.config {
        return Err(Failure::refused(format!("the engine has another image for `{repository}`"))
            .because(format!("expected {}, whose config was verified, found {id}", image.config))
            .hint("for the runner's administrator: the hub needs an engine whose image ids are config digests (the classic image store)"));
    }
    log.line(format!(
        "image   {repository}@sha256:{}… is {} in the engine",
        image.image.digest().short(),
        id.short()
    ));
    Ok(())
}

async fn sidecar(
    parts: &EngineParts<'_>,
    service: &str,
    pinned: &PinnedImage,
    log: &JobLog,
    progress: &Progress,
) -> Outcome<SnapshotSidecar> {
    let id = pull(parts, pinned, progress)
        .await
        .map_err(|failure| failure.while_doing(format!("cannot fetch the sidecar `{service}`")))?;
    log.line(format!(
        "sidecar {service}: {}@sha256:{}… is {} in the engine; pinned, without evidence of ours",
        pinned.name(),
        pinned.digest().short(),
        id.id.short()
    ));
    Ok(SnapshotSidecar { service: service.to_owned(), pinned: pinned.clone(), id: id.id })
}

async fn pull(parts: &EngineParts<'_>, pinned: &PinnedImage, progress: &Progress) -> Outcome<ResolvedImage> {
    let credentials = host_credentials(parts.place, pinned)?;
    let name = pinned.repository().last_part().to_owned();
    let mut tell = |status: &str| progress.set(format!("{name}: {status}"));
    Ok(parts.engine.resolve_image(pinned, credentials, &mut tell).await?)
}

#[derive(Deserialize)]
struct Layers {
    layers: Vec<Descriptor>,
}

/// Loads an image of a layout, unless the engine has it already.
async fn load(
    parts: &EngineParts<'_>,
    image: &SnapshotImage,
    repository: &Repository,
    progress: &Progress,
) -> Outcome<Digest> {
    let tag = format!("{LOADED_TAG_PREFIX}{repository}:{}", image.config.hex());
    if let Some(id) = parts.engine.image_id(image.config.as_str()).await? {
        parts.engine.tag_image(&id, &tag).await?;
        return Ok(id);
    }
    let manifest: Layers = serde_json::from_slice(&image.image.manifest().bytes)
        .map_err(|e| Failure::internal("a verified manifest cannot be read").because(e))?;
    let directory = tempfile::Builder::new()
        .prefix("layers-")
        .tempdir_in(parts.work_dir)
        .map_err(|e| Failure::system(format!("cannot write in `{}`", parts.work_dir.display())).because(e))?;
    let mut layers: Vec<PathBuf> = Vec::new();
    for (i, layer) in manifest.layers.iter().enumerate() {
        progress.set(format!("{}: layer {} of {}", repository.last_part(), i + 1, manifest.layers.len()));
        let path = directory.path().join(i.to_string());
        if !parts.store.blob_to_file(repository, &layer.digest, layer.size, &path).await? {
            return Err(Failure::refused(format!(
                "a layer of `{repository}` went away after it was verified"
            ))
            .because(format!("{} is absent in `{}`", layer.digest, parts.store.place()))
            .hint("run the component's staging job again: it uploads what is absent"));
        }
        layers.push(path);
    }
    progress.set(format!("{}: loading", repository.last_part()));
    let id = parts.engine.load_image(image.image.config(), &layers, &tag).await?;
    // Loading does not note when the name was given; naming does.
    parts.engine.tag_image(&id, &tag).await?;
    Ok(id)
}
