//! The tags of a release: its version, which never moves, and `:candidate`, the one commit point.
//!
//! A registry cannot compare and swap: each tag is read before and after it is written.

use crate::delivery::push::AfterWrite;
use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::domain::trust::Channel;
use crate::failure::{Failure, FailureKind, Outcome};
use crate::registry::{ImageStore, ManifestReference};
use crate::release::publish::PromotableRelease;
use crate::release::store::VerifiedRelease;

/// Most tags that are looked at for those of releases.
const MAX_TAGS: usize = 100_000;

/// Returns every version tag with its sequence, the newest first.
pub async fn versions(store: &dyn ImageStore, repository: &Repository) -> Outcome<Vec<(u64, Tag)>> {
    let tags = store.tags(repository, MAX_TAGS).await?;
    let sequence = |tag: &Tag| tag.as_str().rsplit_once("-r")?.1.parse::<u64>().ok().filter(|n| *n < 1 << 53);
    let mut versions: Vec<(u64, Tag)> =
        tags.into_iter().filter_map(|tag| Some((sequence(&tag)?, tag))).collect();
    versions.sort_by(|a, b| b.cmp(a));
    Ok(versions)
}

/// Refuses when a release was tagged after ours got its number: another host promotes at the same time.
///
/// A number is taken when nothing above it has a tag, so whoever finishes last sees the other's tag.
pub async fn refuse_rival(store: &dyn ImageStore, release: &PromotableRelease, when: Rival) -> Outcome<()> {
    let ours = release.release();
    let newer = versions(store, ours.repository()).await?;
    let Some((_, tag)) = newer.into_iter().find(|(sequence, _)| *sequence > ours.release().sequence) else {
        return Ok(());
    };
    let reference = ManifestReference::Tag(tag.clone());
    let found = store.manifest(ours.repository(), &reference).await?.map(|found| found.digest);
    let theirs = format!("theirs is {} ({tag})", shown(found.as_ref()));
    Err(match when {
        Rival::BeforeCandidate => fork(ours, &theirs),
        Rival::AfterCandidate => fork(ours, &theirs).because(
            "`:candidate` and the component tags name ours: theirs may have been the candidate for a moment",
        ),
    })
}

/// When a rival was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    BeforeCandidate,
    AfterCandidate,
}

/// Puts the version tag, which never moves.
///
/// # Errors
/// Another release stands there, before or after the write.
pub async fn put_version(
    store: &dyn ImageStore,
    release: &PromotableRelease,
    tag: &Tag,
    after_write: AfterWrite<'_>,
) -> Outcome<()> {
    let release = release.release();
    let reference = ManifestReference::Tag(tag.clone());
    let found = store.manifest(release.repository(), &reference).await?;
    match found.map(|found| found.digest) {
        None => {}
        Some(found) if found == *release.digest() => return Ok(()),
        Some(found) => return Err(version_exists(release, Some(&found))),
    }
    put(store, release, tag, version_exists).await?;
    after_write("release-version");
    Ok(())
}

/// Points `:candidate` at a release; `before` is what it named when everything was verified.
///
/// # Errors
/// A fork: another host promoted from the same predecessor, and its release is named.
pub async fn point(
    store: &dyn ImageStore,
    release: &PromotableRelease,
    before: Option<&Digest>,
    after_write: AfterWrite<'_>,
) -> Outcome<()> {
    let (release, tag) = (release.release(), Channel::Candidate.tag());
    let found = store.manifest(release.repository(), &ManifestReference::Tag(tag.clone())).await?;
    let found = found.map(|found| found.digest);
    if found.as_ref() == Some(release.digest()) {
        return Ok(());
    }
    if found.as_ref() != before {
        return Err(moved(release, found.as_ref()));
    }
    put(store, release, &tag, moved).await.map_err(|failure| match failure.kind() {
        FailureKind::Refused { .. } => failure,
        _ => failure.note(
            "runner problem, not your script: the release and its evidence are complete; run the same job again",
        ),
    })?;
    after_write("release-candidate");
    Ok(())
}

/// Writes a tag and looks again; `lost` tells a race by what the tag names instead.
async fn put(
    store: &dyn ImageStore,
    release: &VerifiedRelease,
    tag: &Tag,
    lost: fn(&VerifiedRelease, Option<&Digest>) -> Failure,
) -> Outcome<()> {
    let manifest = release.manifest();
    let repository = release.repository();
    store.put_manifest(repository, &manifest.media_type, manifest.bytes.clone(), Some(tag)).await?;
    let found = store.manifest(repository, &ManifestReference::Tag(tag.clone())).await?;
    match found {
        Some(found) if found.digest == *release.digest() => Ok(()),
        found => Err(lost(release, found.map(|found| found.digest).as_ref())),
    }
}

fn shown(found: Option<&Digest>) -> String {
    found.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}

fn version_exists(ours: &VerifiedRelease, found: Option<&Digest>) -> Failure {
    let name = format!("{}:{}", ours.repository(), ours.release().version);
    Failure::refused_to_publish(format!("cannot promote: the version `{name}` is another release's"))
        .because(format!("ours is {}, the tag names {}", ours.digest(), shown(found)))
        .hint("run the hub's job again: it takes the next number")
        .hint("where hubs of one platform run on several hosts, set `resource_group` on the job")
}

fn moved(ours: &VerifiedRelease, found: Option<&Digest>) -> Failure {
    fork(ours, &format!("`:candidate` names {}", shown(found)))
}

fn fork(ours: &VerifiedRelease, theirs: &str) -> Failure {
    let previous = ours.release().previous.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    Failure::refused_to_publish(format!(
        "two releases of `{}` claim to be the candidate: a fork",
        ours.release().platform
    ))
    .because(format!("ours is {} ({}), {theirs}", ours.digest(), ours.release().version))
    .because(format!("ours follows {previous}"))
    .hint("hubs of one platform must promote one after the other: set `resource_group` on the job, and let one host alone promote")
    .hint("run the hub's job again: it begins from whatever `:candidate` names then")
}
