//! The promotion of a green hub run: everything by digest first, then the tags.
//!
//! Order: document, signature, the images' new evidence; all of it read back and verified; the release's
//! version tag; the release's `:candidate`, the one commit point; the components' `:candidate`, which only
//! follow. A registry cannot compare and swap: tags are read before and after each write, promotions of one
//! host wait for each other, and a release names its predecessor, so that a fork is seen and named.

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;

use crate::cancel::Cancel;
use crate::delivery::heartbeat::beating;
use crate::delivery::lock::DeliveryLock;
use crate::delivery::push::AfterWrite;
use crate::domain::evidence::test_result::PassedTestResult;
use crate::domain::image::{Repository, Tag};
use crate::domain::release::Release;
use crate::domain::trust::{Channel, TrustPolicy};
use crate::failure::{Failure, FailureKind, Outcome};
use crate::job_log::JobLog;
use crate::keys::Signer;
use crate::registry::{ImageStore, ManifestReference};
use crate::release::compose::{ReleaseInput, compose};
use crate::release::evidence::{PromotionEvidence, sign_release};
use crate::release::follow::{Followed, follow};
use crate::release::publish::{PromotableRelease, publish, verify_all};
use crate::release::store::{VerifiedRelease, candidate, repository_of};

/// Where a promotion reads, signs and writes.
pub struct PromotionParts<'a> {
    pub store: &'a dyn ImageStore,
    pub release_key: &'a dyn Signer,
    pub attestation_key: &'a dyn Signer,
    pub policy: &'a TrustPolicy,
    pub prefix: Option<&'a Repository>,
    pub state_dir: &'a Path,
    pub builder_id: &'a str,
}

/// Asked right before signing and right before the tags whether the run is still what it says.
#[async_trait]
pub trait StillTheJob: Send + Sync {
    /// Refuses when it is not.
    async fn confirm(&self) -> Outcome<()>;
}

/// What a promotion did.
#[derive(Debug)]
pub struct Promoted {
    pub release: VerifiedRelease,
    /// The same images were the candidate already: nothing new was signed.
    pub already: bool,
    pub followed: Vec<Followed>,
}

/// What a cancel before the commit point left: nothing that anybody follows.
const STOPPED: &str = "the promotion is stopped before any tag was written";

/// Promotes a green run.
pub async fn promote(
    parts: &PromotionParts<'_>,
    input: ReleaseInput,
    hub_test_result: &PassedTestResult,
    job: &dyn StillTheJob,
    after_write: AfterWrite<'_>,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<Promoted> {
    let (now, store) = (input.now, parts.store);
    let repository = repository_of(parts.prefix, &input.platform)?;
    let _turns = cancel.or(STOPPED, turns(parts, &input, log)).await?;

    let reading = candidate(store, parts.policy, parts.prefix, &input.platform, now);
    let present = cancel.or(STOPPED, beating(log, "reading the present candidate", reading)).await?;
    if let Some(present) = &present
        && same_content(present.release(), &input)
    {
        log.line(format!("release {} holds these very images already", present.release().version));
        let promotable = verify_all(store, parts.policy, parts.prefix, present.clone(), now).await?;
        let followed = follow(store, &promotable, log, after_write).await.map_err(at_the_tags)?;
        return Ok(Promoted { release: present.clone(), already: true, followed });
    }
    refuse_other_predecessor(input.predecessor.as_ref(), present.as_ref())?;

    let preparing = prepare(parts, &repository, input, hub_test_result, job, after_write, log);
    let promotable = cancel.or(STOPPED, preparing).await.map_err(before_the_tags)?;

    let _section = log.section("tag", "Tags: the release's version, its :candidate, then the components'");
    let asking = async {
        job.confirm().await?;
        // Somebody may have promoted on another host since we looked.
        let again =
            candidate(store, parts.policy, parts.prefix, &promotable.release().release().platform, now);
        refuse_other_predecessor(present.as_ref(), again.await?.as_ref())
    };
    cancel.or(STOPPED, asking).await.map_err(before_the_tags)?;
    let tag = promotable.release().release().tag();
    let tag = tag.ok_or_else(|| Failure::internal("a version that is no tag reached the promotion"))?;
    cancel.or(STOPPED, put_version(store, &promotable, &tag)).await.map_err(before_the_tags)?;
    after_write("release-version");
    log.line(format!("tag     {repository}:{tag}"));

    // The commit point: from here on a stop is noted and the component tags are finished.
    let writing = async {
        point(store, &promotable, present.as_ref(), after_write).await?;
        log.line(format!("tag     {repository}:candidate  names release {tag} now"));
        follow(store, &promotable, log, after_write).await.map_err(at_the_tags)
    };
    let followed = writing.await?;
    if cancel.is_cancelled() {
        log.line("cancel noted: too late to stop, the release is the candidate and its tags are complete");
    }
    Ok(Promoted { release: promotable.release().clone(), already: false, followed })
}

/// Waits until no other promotion of the platform, and no delivery of its components, goes on here.
async fn turns(parts: &PromotionParts<'_>, input: &ReleaseInput, log: &JobLog) -> Outcome<Vec<DeliveryLock>> {
    let waiting = async {
        let mut turns = vec![DeliveryLock::of_promotion(parts.state_dir, &input.platform).await?];
        // In ascending order, so that two that want the same never wait for each other.
        let projects: BTreeSet<u64> = input.components.iter().map(|c| c.source.project_id).collect();
        for project in projects {
            turns.push(DeliveryLock::acquire(parts.state_dir, project).await?);
        }
        Ok(turns)
    };
    beating(log, "another promotion or delivery goes on here", waiting).await
}

async fn prepare(
    parts: &PromotionParts<'_>,
    repository: &Repository,
    input: ReleaseInput,
    hub_test_result: &PassedTestResult,
    job: &dyn StillTheJob,
    after_write: AfterWrite<'_>,
    log: &JobLog,
) -> Outcome<PromotableRelease> {
    let _section = log.section("release", "Release: composed, signed, published, read back");
    let (store, now) = (parts.store, input.now);
    let composed = compose(store, repository, input).await?;
    let version = composed.release().version.clone();
    log.line(format!("release {repository}:{version}  {}", composed.digest()));
    beating(log, "confirming the job", job.confirm()).await?;
    let evidence = PromotionEvidence { hub_test_result, policy: parts.policy, builder_id: parts.builder_id };
    let signed = sign_release(store, composed, &evidence, parts.release_key, parts.attestation_key).await?;
    log.line("signed  the release with the key `release`, what is said about its images with `attestation`");
    let published = beating(log, "publishing", publish(store, &signed, after_write)).await?;
    log.line("stored  by digest: no tag names it yet");
    let reading = published.verify(store, parts.policy, parts.prefix, now);
    let promotable = beating(log, "reading back", reading).await.map_err(|failure| {
        failure
            .while_doing(format!("cannot trust what was just published as `{repository}:{version}`: nothing is tagged"))
            .with_kind(FailureKind::System)
            .hint("for the runner's administrator: the policy that `trust` names in the host settings must trust the key `release`, and must have a rule for the channel `candidate`")
    })?;
    log.line(format!("verified the release and its {} images as a client would", promotable.images().len()));
    Ok(promotable)
}

/// Whether a release holds what this run tested: then nothing new is to be said.
fn same_content(present: &Release, input: &ReleaseInput) -> bool {
    let digests = |components: &[crate::domain::release::ReleaseComponent]| -> Vec<_> {
        let images = components.iter().flat_map(|component| component.images.clone());
        images.map(|image| (image.repository, image.platform, image.manifest)).collect()
    };
    digests(&present.components) == digests(&input.components)
        && present.sidecars == input.sidecars
        && present.hub.commit == input.hub.commit
        && present.hub.compose == input.hub.compose
        && present.version.rsplit_once("-r").is_some_and(|(version, _)| version == input.hub_version)
}

/// Refuses to promote past a release that this run never saw.
fn refuse_other_predecessor(
    expected: Option<&VerifiedRelease>,
    found: Option<&VerifiedRelease>,
) -> Outcome<()> {
    let same = expected.map(VerifiedRelease::digest) == found.map(VerifiedRelease::digest);
    if same {
        return Ok(());
    }
    let shown = |release: Option<&VerifiedRelease>| {
        release.map_or_else(
            || "no release".to_owned(),
            |release| format!("`{}` (sha256:{}…)", release.release().version, release.digest().short()),
        )
    };
    let failure = Failure::refused_to_publish("cannot promote: `:candidate` moved while this run tested")
        .because(format!("this run began from {}, `:candidate` names {} now", shown(expected), shown(found)));
    let failure = match found {
        Some(found) if found.release().previous.as_ref() == expected.map(VerifiedRelease::digest) => {
            failure.because("both follow the same predecessor: promoted as well, this one would be a fork")
        }
        _ => failure,
    };
    Err(failure.hint("run the hub's job again: it tests what is staged now against the present candidate"))
}

/// Puts the version tag, which never moves.
async fn put_version(store: &dyn ImageStore, release: &PromotableRelease, tag: &Tag) -> Outcome<()> {
    let release = release.release();
    let reference = ManifestReference::Tag(tag.clone());
    if let Some(found) = store.manifest(release.repository(), &reference).await?
        && found.digest != *release.digest()
    {
        return Err(Failure::refused_to_publish(format!(
            "cannot promote: the release `{}:{tag}` exists",
            release.repository()
        ))
        .because(format!("expected nothing there or {}, found {}", release.digest(), found.digest))
        .hint("run the hub's job again: it takes the next number"));
    }
    put(store, release, tag).await
}

/// Points `:candidate` at a release; `before` is what it named when everything was verified.
///
/// # Errors
/// A fork: another host promoted from the same predecessor, and its release is named.
pub async fn point(
    store: &dyn ImageStore,
    release: &PromotableRelease,
    before: Option<&VerifiedRelease>,
    after_write: AfterWrite<'_>,
) -> Outcome<()> {
    let (release, tag) = (release.release(), Channel::Candidate.tag());
    let found = store.manifest(release.repository(), &ManifestReference::Tag(tag.clone())).await?;
    let found = found.map(|found| found.digest);
    if found.as_ref() == Some(release.digest()) {
        return Ok(());
    }
    if found.as_ref() != before.map(VerifiedRelease::digest) {
        return Err(fork(release, found.as_ref()));
    }
    put(store, release, &tag).await.map_err(|failure| match failure.kind() {
        FailureKind::Refused { .. } => failure,
        _ => failure.note(
            "runner problem, not your script: the release and its evidence are complete; run the same job again",
        ),
    })?;
    after_write("release-candidate");
    Ok(())
}

async fn put(store: &dyn ImageStore, release: &VerifiedRelease, tag: &Tag) -> Outcome<()> {
    let manifest = release.manifest();
    let repository = release.repository();
    store.put_manifest(repository, &manifest.media_type, manifest.bytes.clone(), Some(tag)).await?;
    let found = store.manifest(repository, &ManifestReference::Tag(tag.clone())).await?;
    match found {
        Some(found) if found.digest == *release.digest() => Ok(()),
        found => Err(fork(release, found.map(|found| found.digest).as_ref())),
    }
}

fn fork(ours: &VerifiedRelease, theirs: Option<&crate::domain::digest::Digest>) -> Failure {
    let shown = theirs.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let previous = ours.release().previous.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    Failure::refused_to_publish(format!(
        "two releases of `{}` claim to be the candidate: a fork",
        ours.release().platform
    ))
    .because(format!("ours is {} ({}), `:candidate` names {shown}", ours.digest(), ours.release().version))
    .because(format!("ours follows {previous}"))
    .hint("hubs of one platform must promote one after the other: set `resource_group` on the job, and let one host alone promote")
    .hint("run the hub's job again: it begins from whatever `:candidate` names then")
}

fn before_the_tags(failure: Failure) -> Failure {
    match failure.kind() {
        FailureKind::System => failure.note(
            "runner problem, not your script: nothing is promoted, and the present candidate stands; run the job again",
        ),
        _ => failure,
    }
}

pub(super) fn at_the_tags(failure: Failure) -> Failure {
    match failure.kind() {
        FailureKind::System => failure.note(
            "runner problem, not your script: the release is the candidate; the component tags follow with the next run, or with `airlock promote`",
        ),
        _ => failure,
    }
}
