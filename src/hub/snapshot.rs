//! The snapshot: every component resolved once from its tag to a digest, and verified.
//!
//! [`take`] is the last reader of a tag: what comes after it knows digests alone. All that is wrong is
//! told at once, for every component.

mod component;
mod engine;
mod facts;
mod feedback;
mod present;
mod refusal;
mod release_parts;

use std::time::Duration;

use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::cancel::Cancel;
use crate::delivery::verify::VerifiedImage;
use crate::domain::digest::Digest;
use crate::domain::hub::{HubInputs, HubManifest};
use crate::domain::image::{PinnedImage, Repository};
use crate::domain::job::PublishRule;
use crate::domain::release::ComponentOrigin;
use crate::domain::trust::TrustPolicy;
use crate::failure::Outcome;
use crate::job_log::JobLog;
use crate::registry::ImageStore;
use crate::release::store::VerifiedRelease;
pub use engine::{
    EngineParts, LOADED_TAG_PREFIX, LoadedSnapshot, forget_unused, into_engine, refuse_sidecars,
};
pub use release_parts::ReleaseParts;

/// How many images are read from the store at the same time.
const MAX_AT_ONCE: usize = 16;

/// Whose word counts for the project that a component comes from.
#[derive(Debug, Clone, Copy)]
pub enum Projects<'a> {
    /// The host's publish rules: project, path and ref are theirs.
    Published(&'a [PublishRule]),
    /// A developer's own machine, which has no rules: images that were built by hand count there.
    Local,
}

/// How long a component may be between two commits: its staging job moves one tag after the other.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub total: Duration,
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { total: Duration::from_secs(60), pause: Duration::from_secs(3) }
    }
}

/// What a snapshot is taken with.
pub struct SnapshotParts<'a> {
    pub store: &'a dyn ImageStore,
    pub policy: &'a TrustPolicy,
    /// Above all repositories of the store.
    pub prefix: Option<&'a Repository>,
    pub projects: Projects<'a>,
    /// The release that `:candidate` names.
    pub predecessor: Option<VerifiedRelease>,
    pub now: OffsetDateTime,
    pub patience: Patience,
}

/// Takes the snapshot; nothing is written anywhere.
pub async fn take(
    parts: SnapshotParts<'_>,
    manifest: &HubManifest,
    inputs: HubInputs,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<Snapshot> {
    let _section = log.open_section("snapshot", "Snapshot: every component verified by digest");
    announce(&parts, &inputs, log);
    let permits = Semaphore::new(MAX_AT_ONCE);
    let wanted: Vec<_> = manifest
        .components
        .iter()
        .map(|(name, component)| component::Wanted { name, component, parts: &parts, inputs: &inputs })
        .collect();
    let taking = join_all(wanted.iter().map(|wanted| wanted.take(&permits, log)));
    let taken = cancel.or("cannot take the snapshot", async { Ok(taking.await) }).await?;
    let (mut components, mut problems) = (Vec::new(), Vec::new());
    for (name, outcome) in manifest.components.keys().zip(taken) {
        match outcome {
            Ok(component) => {
                log.line(describe(&component));
                components.push(component);
            }
            Err(problem) => {
                log.line(format!("{name}: {}", problem.headline()));
                problems.push((name.as_str(), problem));
            }
        }
    }
    if !problems.is_empty() {
        return Err(refusal::failure(&manifest.platform, manifest.components.len(), problems));
    }
    Ok(Snapshot { components, sidecars: Vec::new(), predecessor: parts.predecessor, inputs })
}

fn announce(parts: &SnapshotParts<'_>, inputs: &HubInputs, log: &JobLog) {
    match &parts.predecessor {
        Some(release) => log.line(format!("present candidate: {}", release.release().version)),
        None => log.line("present candidate: none"),
    }
    if matches!(parts.projects, Projects::Local) {
        log.line(
            "local: no publish rule says which project a component comes from; images built by hand count",
        );
    }
    if !inputs.change_set.is_empty() {
        let names = inputs.change_set.join(", ");
        log.line(format!("change set: {names} from `:staged`, the rest from the present candidate"));
    }
    for (repository, digest) in &inputs.overrides {
        log.line(format!("override: {repository}@{digest}"));
    }
}

fn describe(component: &SnapshotComponent) -> String {
    let origin = match component.origin {
        ComponentOrigin::Staged => "staged",
        ComponentOrigin::Candidate => "candidate",
        ComponentOrigin::Override => "override",
    };
    let images: Vec<String> = component
        .images
        .iter()
        .map(|image| {
            format!("{}={}@sha256:{}…", image.service, image.repository, image.image.digest().short())
        })
        .collect();
    let commit = component.commit.get(..12).unwrap_or(&component.commit);
    format!(
        "{}: {} from {origin}, commit {commit}, pipeline {}: {}",
        component.name,
        component.version,
        component.pipeline_id,
        images.join(", ")
    )
}

/// All images of one run, verified.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Sorted by name.
    pub components: Vec<SnapshotComponent>,
    /// Empty until the engine has them: their ids are its own.
    pub sidecars: Vec<SnapshotSidecar>,
    /// The release that `:candidate` named when the snapshot was taken.
    pub predecessor: Option<VerifiedRelease>,
    pub inputs: HubInputs,
}

/// One component: all its images are of one commit.
#[derive(Debug, Clone)]
pub struct SnapshotComponent {
    pub name: String,
    pub version: String,
    pub origin: ComponentOrigin,
    pub project_id: u64,
    pub project: String,
    pub commit: String,
    /// The pipeline of the provenance; 0 for a local try.
    pub pipeline_id: u64,
    pub images: Vec<SnapshotImage>,
}

/// One image of a component.
#[derive(Debug, Clone)]
pub struct SnapshotImage {
    /// The Compose service.
    pub service: String,
    /// Below the store's prefix, as the hub's manifest names it.
    pub repository: Repository,
    /// `os/architecture`.
    pub platform: String,
    pub config: Digest,
    pub image: VerifiedImage,
}

/// A third-party image, which is pinned and carries no evidence of ours.
#[derive(Debug, Clone)]
pub struct SnapshotSidecar {
    /// The Compose service.
    pub service: String,
    pub pinned: PinnedImage,
    /// The engine's immutable id.
    pub id: Digest,
}

#[cfg(test)]
mod tests;
