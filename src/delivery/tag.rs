//! The last writes: the version tag, which is the commit point, then `:staged`.
//!
//! A registry cannot compare and swap: each tag is read before and after it is written. A tag is only
//! ever put on a [`VerifiedImage`], so a tag names only a digest whose evidence is complete.
//!
//! An image that was published and not read back cannot be tagged:
//!
//! ```compile_fail,E0308
//! # use airlock::delivery::{push::PublishedImage, tag::put_version, verify::VerifiedImage};
//! # use airlock::{domain::image::Tag, registry::ImageStore};
//! async fn tag(store: &dyn ImageStore, image: &PublishedImage, tag: &Tag) {
//!     put_version(store, image, tag).await.unwrap();
//! }
//! ```
//!
//! Read back and verified, the same code compiles:
//!
//! ```no_run
//! # use airlock::delivery::{push::PublishedImage, tag::put_version, verify::VerifiedImage};
//! # use airlock::{domain::image::Tag, registry::ImageStore};
//! async fn tag(store: &dyn ImageStore, image: &VerifiedImage, tag: &Tag) {
//!     put_version(store, image, tag).await.unwrap();
//! }
//! ```
//!
//! Nothing else makes a verified image:
//!
//! ```compile_fail,E0451
//! # use airlock::delivery::verify::VerifiedImage;
//! fn claim(other: VerifiedImage) -> VerifiedImage {
//!     VerifiedImage { tag: None, ..other }
//! }
//! ```

use time::OffsetDateTime;

use crate::delivery::verify::{Completeness, VerifiedImage, verify};
use crate::domain::commit::ObjectId;
use crate::domain::digest::Digest;
use crate::domain::evidence::provenance::Origin;
use crate::domain::image::{Repository, Tag};
use crate::domain::trust::{Channel, TrustPolicy};
use crate::failure::{Failure, Outcome};
use crate::registry::{ImageStore, ManifestReference};

/// What already stands under a version tag.
pub enum VersionTag {
    /// Nothing, or this very digest.
    Free,
    /// Another digest of the same commit with complete and valid evidence: it stays.
    Taken(Box<VerifiedImage>),
}

/// Looks at a version tag before anything is published under it.
pub async fn look_at_version(
    store: &dyn ImageStore,
    repository: &Repository,
    tag: &Tag,
    ours: &Digest,
    commit: &ObjectId,
    policy: &TrustPolicy,
    now: OffsetDateTime,
) -> Outcome<VersionTag> {
    let Some(found) = store.manifest(repository, &ManifestReference::Tag(tag.clone())).await? else {
        return Ok(VersionTag::Free);
    };
    if found.digest == *ours {
        return Ok(VersionTag::Free);
    }
    let taken = |why: String| {
        Failure::refused_to_publish(format!("cannot publish `{repository}:{tag}`: the version exists"))
            .because(why)
            .hint("a version is never moved; a new commit gets one of its own")
            .hint("for the registry's administrator: no job of this commit put the tag there; see who may write it")
    };
    let reference = ManifestReference::Digest(found.digest.clone());
    match verify(store, repository, &reference, policy, Channel::Staged, Completeness::BothFormats, now).await
    {
        Ok(image) => match image.verdict().provenance() {
            Some(provenance) if provenance.commit.id == commit.to_string() => {
                Ok(VersionTag::Taken(Box::new(image)))
            }
            other => Err(taken(format!(
                "sha256:{}… was built from commit {}, ours is {commit}",
                found.digest.short(),
                other.map_or("unknown", |provenance| provenance.commit.id.as_str())
            ))),
        },
        Err(failure) => Err(taken(format!(
            "sha256:{}… stands there without complete valid evidence: {}",
            found.digest.short(),
            failure.what()
        ))),
    }
}

/// Puts the version tag; from here on the image is published.
pub async fn put_version(store: &dyn ImageStore, image: &VerifiedImage, tag: &Tag) -> Outcome<()> {
    put(store, image, tag).await
}

/// Puts a channel's tag on an image of a release, which decides; returns whether it named another before.
pub async fn follow_release(
    store: &dyn ImageStore,
    image: &VerifiedImage,
    channel: Channel,
) -> Outcome<ChannelMove> {
    let tag = channel.tag();
    let present = store.manifest(image.repository(), &ManifestReference::Tag(tag.clone())).await?;
    if present.is_some_and(|present| present.digest == *image.digest()) {
        return Ok(ChannelMove::Already);
    }
    put(store, image, &tag).await?;
    Ok(ChannelMove::Moved)
}

/// What happened to a channel tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelMove {
    /// The tag names the image now.
    Moved,
    /// The tag named it already.
    Already,
    /// The tag names a later pipeline's image and stays.
    Later { pipeline_id: u64 },
}

impl ChannelMove {
    /// Returns what happened, in words.
    pub fn describe(&self) -> String {
        match self {
            ChannelMove::Moved => "names this image now".to_owned(),
            ChannelMove::Already => "named this image already".to_owned(),
            ChannelMove::Later { pipeline_id } => {
                format!("stays: it names the image of the later pipeline {pipeline_id}")
            }
        }
    }
}

/// Moves `:staged` forward, never past valid provenance of the same project with a higher pipeline id.
pub async fn put_staged(
    store: &dyn ImageStore,
    image: &VerifiedImage,
    our_pipeline: u64,
    policy: &TrustPolicy,
    now: OffsetDateTime,
) -> Outcome<ChannelMove> {
    let tag = Channel::Staged.tag();
    let repository = image.repository();
    if let Some(present) = store.manifest(repository, &ManifestReference::Tag(tag.clone())).await? {
        if present.digest == *image.digest() {
            return Ok(ChannelMove::Already);
        }
        let reference = ManifestReference::Digest(present.digest);
        // What has no valid evidence has no say: only a trusted statement can hold the tag back.
        if let Ok(present) =
            verify(store, repository, &reference, policy, Channel::Staged, Completeness::Any, now).await
            && let Some(later) = later_pipeline(&present, image, our_pipeline)
        {
            return Ok(ChannelMove::Later { pipeline_id: later });
        }
    }
    put(store, image, &tag).await?;
    Ok(ChannelMove::Moved)
}

/// The pipeline of the present image, when it is of the same project and later than ours.
fn later_pipeline(present: &VerifiedImage, image: &VerifiedImage, our_pipeline: u64) -> Option<u64> {
    let (present, image) = (present.verdict().provenance()?, image.verdict().provenance()?);
    match present.origin {
        Origin::GitLab { pipeline, .. } if present.project == image.project && pipeline > our_pipeline => {
            Some(pipeline)
        }
        _ => None,
    }
}

async fn put(store: &dyn ImageStore, image: &VerifiedImage, tag: &Tag) -> Outcome<()> {
    let manifest = image.manifest();
    store.put_manifest(image.repository(), &manifest.media_type, manifest.bytes.clone(), Some(tag)).await?;
    let found = store.manifest(image.repository(), &ManifestReference::Tag(tag.clone())).await?;
    match found {
        Some(found) if found.digest == *image.digest() => Ok(()),
        found => Err(did_not_stay(store, image, tag, found.map(|found| found.digest))),
    }
}

fn did_not_stay(store: &dyn ImageStore, image: &VerifiedImage, tag: &Tag, found: Option<Digest>) -> Failure {
    let what = format!("cannot tag `{}:{tag}`: the tag did not stay", image.repository());
    let failure = Failure::system(what);
    match found {
        Some(found) => failure
            .because(format!("expected {}, found {found}", image.digest()))
            .hint("somebody else writes this tag; retry the job once that has stopped"),
        None => failure
            .because(format!("`{}` accepted the tag, and a moment later had no such tag", store.place()))
            .hint("see the registry's own log for this tag: something removes it, or several instances behind one name do not share their storage"),
    }
}
