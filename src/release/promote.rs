//! The promotion of a green hub run: everything by digest first, then the tags.
//!
//! Order: document, signature, the images' new evidence; all of it read back and verified; the release's
//! version tag; the release's `:candidate`, the one commit point; the components' `:candidate`, which only
//! follow. A registry cannot compare and swap: tags are read before and after each write, promotions of one
//! host wait for each other, and a release names its predecessor, so that a fork is seen and named.

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use crate::cancel::Cancel;
use crate::delivery::heartbeat::beating;
use crate::delivery::lock::DeliveryLock;
use crate::delivery::push::AfterWrite;
use crate::domain::evidence::test_result::PassedTestResult;
use crate::domain::image::Repository;
use crate::domain::release::{Release, ReleaseComponent};
use crate::domain::trust::TrustPolicy;
use crate::failure::{Failure, FailureKind, Outcome};
use crate::job_log::JobLog;
use crate::keys::Signer;
use crate::registry::ImageStore;
use crate::release::compose::{ReleaseInput, compose};
use crate::release::evidence::{PromotionEvidence, sign_release};
use crate::release::follow::{Followed, follow};
use crate::release::publish::{PromotableRelease, publish, verify_all};
use crate::release::store::{VerifiedRelease, candidate, repository_of};
use crate::release::tags::{Rival, point, put_version, refuse_rival};

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

/// How long before its end a release is renewed by a green run of the same content.
const RENEWAL: Duration = Duration::days(30);

/// What a cancel before the commit point left: nothing that anybody follows.
const STOPPED: &str = "the promotion is stopped before any tag was written";

/// What an administrator looks at when our own verification refuses what we signed.
const POLICY_HINT: &str = "for the runner's administrator: the policy that `trust` names in the host settings must trust the key `release`, and must have a rule for the channel `candidate`";

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
    let waiting = turns(parts.state_dir, &input.platform, &input.components, log);
    let _turns = cancel.or(STOPPED, waiting).await?;

    let reading = candidate(store, parts.policy, parts.prefix, &input.platform, now);
    let present = cancel.or(STOPPED, beating(log, "reading the present candidate", reading)).await?;
    if let Some(present) = &present
        && same_content(present.release(), &input)
        && let Some(promotable) = cancel.or(STOPPED, still_good(parts, present, now, log)).await?
    {
        log.line(format!("release {} holds these very images already", present.release().version));
        cancel.or(STOPPED, job.confirm()).await.map_err(before_the_tags)?;
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
    // A write that is not waited for may happen all the same: a stop is heard between the tags, not in one.
    put_version(store, &promotable, &tag, after_write).await.map_err(before_the_tags)?;
    log.line(format!("tag     {repository}:{tag}"));
    if cancel.is_cancelled() {
        return Err(Failure::cancelled(format!(
            "the promotion is stopped before its commit point: the job was cancelled; `{repository}:{tag}` stands, and nothing follows it"
        ))
        .hint("the present candidate stands; run the hub's job again: it takes the next number"));
    }

    // The commit point: from here on a stop is noted and the component tags are finished.
    refuse_rival(store, &promotable, Rival::BeforeCandidate).await.map_err(before_the_tags)?;
    let before = present.as_ref().map(VerifiedRelease::digest);
    point(store, &promotable, before, after_write).await?;
    log.line(format!("tag     {repository}:candidate  names release {tag} now"));
    let followed = follow(store, &promotable, log, after_write).await.map_err(at_the_tags)?;
    refuse_rival(store, &promotable, Rival::AfterCandidate).await.map_err(at_the_tags)?;
    if cancel.is_cancelled() {
        log.line("cancel noted: too late to stop, the release is the candidate and its tags are complete");
    }
    Ok(Promoted { release: promotable.release().clone(), already: false, followed })
}

/// Returns the present candidate with its images, unless a run of the same content must make a fresh release:
/// it is no longer valid, or soon will not be, or its evidence does not hold any more.
async fn still_good(
    parts: &PromotionParts<'_>,
    present: &VerifiedRelease,
    now: OffsetDateTime,
    log: &JobLog,
) -> Outcome<Option<PromotableRelease>> {
    let Release { version, expires_at, .. } = present.release();
    if present.release().expires().is_none_or(|expires| expires <= now + RENEWAL) {
        log.line(format!(
            "release {version} holds these very images and is valid until {expires_at}: renewed"
        ));
        return Ok(None);
    }
    let verifying = verify_all(parts.store, parts.policy, parts.prefix, present.clone(), now);
    match beating(log, "verifying the present candidate", verifying).await {
        Ok(promotable) => Ok(Some(promotable)),
        Err(failure) if matches!(failure.kind(), FailureKind::Refused { .. }) => {
            log.line(format!(
                "release {version} holds these very images and does not verify any more: {}; a new one is made",
                failure.what()
            ));
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// Waits until no other promotion of the platform, and no delivery of its components, goes on here.
pub(super) async fn turns(
    state_dir: &Path,
    platform: &str,
    components: &[ReleaseComponent],
    log: &JobLog,
) -> Outcome<Vec<DeliveryLock>> {
    let waiting = async {
        let mut turns = vec![DeliveryLock::of_promotion(state_dir, platform).await?];
        // In ascending order, so that two that want the same never wait for each other.
        let projects: BTreeSet<u64> = components.iter().map(|c| c.source.project_id).collect();
        for project in projects {
            turns.push(DeliveryLock::acquire(state_dir, project).await?);
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
        let refused = matches!(failure.kind(), FailureKind::Refused { .. });
        let failure = failure
            .while_doing(format!(
                "cannot trust what was just published as `{repository}:{version}`: nothing is tagged"
            ))
            .with_kind(FailureKind::System);
        if refused { failure.hint(POLICY_HINT) } else { failure }
    })?;
    log.line(format!("verified the release and its {} images as a client would", promotable.images().len()));
    Ok(promotable)
}

/// Whether a release holds what this run tested: then nothing new is to be said. How a run came to its images
/// (change set, overrides) does not make them others.
fn same_content(present: &Release, input: &ReleaseInput) -> bool {
    let digests = |components: &[ReleaseComponent]| -> Vec<_> {
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
