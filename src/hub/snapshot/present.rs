//! How far the present candidate is: the pipeline that its images of a component came from.
//!
//! A release names no pipeline; the provenance of its images does, and it is verified by digest.

use super::component::Wanted;
use super::facts::pipeline;
use super::refusal::Problem;
use super::{SnapshotComponent, SnapshotParts};
use crate::delivery::verify::{Completeness, VerifiedImage, verify};
use crate::domain::release::ReleaseComponent;
use crate::domain::trust::Channel;
use crate::failure::{Failure, Outcome};
use crate::registry::ManifestReference;

/// Refuses a component whose pipeline is lower than the one that the present candidate has of it.
pub(super) async fn refuse_older(wanted: &Wanted<'_>, component: &SnapshotComponent) -> Result<(), Problem> {
    let Some((release, present)) = wanted.present() else { return Ok(()) };
    // Pipelines of two projects do not follow each other: the component has moved.
    if present.source.project_id != component.project_id || same_images(present, component) {
        return Ok(());
    }
    let there = pipeline_of(wanted.parts, present).await.map_err(|failure| {
        let what = format!("cannot tell whether it is older than in the present candidate `{release}`");
        failure.while_doing(what).hint(
            "a listed user can take this very image all the same, by AIRLOCK_OVERRIDE: overrides may go back",
        )
    })?;
    if component.pipeline_id >= there {
        return Ok(());
    }
    let failure = Failure::refused("superseded by the present candidate")
        .because(format!(
            "`:staged` is of pipeline {}, the present candidate `{release}` has pipeline {there}",
            component.pipeline_id
        ))
        .hint("nothing is to be done if this is an old hub job; else run the component's staging job again on its newest commit");
    Err(Problem::Superseded(failure))
}

fn same_images(present: &ReleaseComponent, component: &SnapshotComponent) -> bool {
    component.images.iter().all(|image| {
        present
            .images
            .iter()
            .any(|known| known.repository == image.repository && known.manifest == *image.image.digest())
    })
}

async fn pipeline_of(parts: &SnapshotParts<'_>, present: &ReleaseComponent) -> Outcome<u64> {
    let mut highest = 0;
    for known in &present.images {
        let repository = known.repository.below(parts.prefix);
        let reference = ManifestReference::Digest(known.manifest.clone());
        let image: VerifiedImage = verify(
            parts.store,
            &repository,
            &reference,
            parts.policy,
            Channel::Staged,
            Completeness::Any,
            parts.now,
        )
        .await?;
        highest = highest.max(image.verdict().provenance().map_or(0, pipeline));
    }
    Ok(highest)
}
