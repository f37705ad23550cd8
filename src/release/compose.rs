//! Composes the release document of a green hub run.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::delivery::verify::VerifiedImage;
use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::release::{Release, ReleaseComponent, ReleaseHub, ReleaseInputs, ReleaseSidecar};
use crate::failure::{Failure, Outcome};
use crate::registry::ImageStore;
use crate::release::store::{ReleaseManifest, VerifiedRelease};
use crate::release::tags::versions;

/// How long a release is valid.
const VALIDITY: Duration = Duration::days(365);

/// What a green hub run knows.
#[derive(Debug, Clone)]
pub struct ReleaseInput {
    pub platform: String,
    /// The first part of the version: the hub's own.
    pub hub_version: String,
    pub hub: ReleaseHub,
    pub components: Vec<ReleaseComponent>,
    pub sidecars: Vec<ReleaseSidecar>,
    pub inputs: ReleaseInputs,
    /// The release that `:candidate` named when the run's snapshot was taken.
    pub predecessor: Option<VerifiedRelease>,
    /// Every image of the components, verified at the snapshot.
    pub images: Vec<VerifiedImage>,
    pub now: OffsetDateTime,
}

/// A release with its bytes; nothing is signed, so nothing of it can be published.
///
/// Only [`compose`] makes one.
#[derive(Debug, Clone)]
pub struct ComposedRelease {
    pub(super) repository: Repository,
    pub(super) release: Release,
    pub(super) document: Vec<u8>,
    pub(super) manifest: bytes::Bytes,
    pub(super) images: Vec<VerifiedImage>,
}

impl ComposedRelease {
    /// Returns the document.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Returns the digest of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// Returns the release, with the next sequence that no version tag has.
pub async fn compose(
    store: &dyn ImageStore,
    repository: &Repository,
    input: ReleaseInput,
) -> Outcome<ComposedRelease> {
    let predecessor = input.predecessor.as_ref();
    let sequence = next_sequence(store, repository, predecessor).await?;
    let instant = |time: OffsetDateTime| {
        time.replace_nanosecond(0).ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
    };
    let release = Release {
        schema_version: 1,
        platform: input.platform,
        version: format!("{}-r{sequence}", input.hub_version),
        sequence,
        previous: predecessor.map(|release| release.digest().clone()),
        created_at: instant(input.now.to_offset(time::UtcOffset::UTC)),
        expires_at: instant(input.now.to_offset(time::UtcOffset::UTC) + VALIDITY),
        hub: input.hub,
        components: input.components,
        sidecars: input.sidecars,
        inputs: input.inputs,
    };
    release.check().map_err(|error| {
        Failure::refused_to_publish(format!("cannot compose the release of `{}`", release.platform))
            .because(error)
            .hint("see `platform`, the component names and the version file in the hub's repository")
    })?;
    for image in release.components.iter().flat_map(|component| &component.images) {
        if !input.images.iter().any(|verified| *verified.digest() == image.manifest) {
            return Err(Failure::internal(format!(
                "an image that was not verified reached the release: {}@{}",
                image.repository, image.manifest
            )));
        }
    }
    let document = release.to_canonical_json();
    let manifest = ReleaseManifest::of(&document).to_bytes();
    Ok(ComposedRelease { repository: repository.clone(), release, document, manifest, images: input.images })
}

/// A promotion that died between its version tag and `:candidate` leaves a number that is not used again.
async fn next_sequence(
    store: &dyn ImageStore,
    repository: &Repository,
    predecessor: Option<&VerifiedRelease>,
) -> Outcome<u64> {
    let highest = versions(store, repository).await?.first().map_or(0, |(sequence, _)| *sequence);
    Ok(predecessor.map_or(0, |release| release.release().sequence).max(highest) + 1)
}
