//! The snapshot: every component resolved once from its tag to a digest, and verified.

use crate::delivery::verify::VerifiedImage;
use crate::domain::digest::Digest;
use crate::domain::hub::HubInputs;
use crate::domain::image::{PinnedImage, Repository};
use crate::domain::release::ComponentOrigin;
use crate::release::store::VerifiedRelease;

/// All images of one run, verified.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Sorted by name.
    pub components: Vec<SnapshotComponent>,
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
