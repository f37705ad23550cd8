//! From a commit to a trusted image: build, describe, sign, push, verify, tag.
//!
//! Every step gives a value of a new type and the next takes only that type, so the wrong order does
//! not compile. Up to the version tag nothing that a client follows has changed; a delivery that stops
//! before it leaves blobs and evidence that no tag names, and nothing else.

pub mod build;
pub mod commit;
pub mod describe;
pub mod documents;
pub mod heartbeat;
pub mod layer_cache;
pub mod lock;
pub mod provenance;
pub mod pull;
pub mod push;
pub mod push_log;
pub mod sign;
pub mod tag;
pub mod verify;

use std::path::Path;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::cancel::Cancel;
use crate::delivery::build::PlannedBuild;
use crate::delivery::commit::CommitTree;
use crate::delivery::describe::{ImageLabels, first_difference};
use crate::delivery::heartbeat::{Progress, beating, beating_with};
use crate::delivery::layer_cache::{CachedLayer, LayerCache};
use crate::delivery::lock::DeliveryLock;
use crate::delivery::push_log::{PushLog, in_units};
use crate::delivery::sign::EvidenceInput;
use crate::delivery::verify::{Completeness, VerifiedImage};
use crate::domain::component::ComponentManifest;
use crate::domain::component::version::{Version, VersionTemplate, version_tag};
use crate::domain::digest::Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::hermetic::HermeticReport;
use crate::domain::image::{PinnedImage, Repository, Tag};
use crate::domain::job::{JobFacts, PublishRule};
use crate::domain::test_report::TestReport;
use crate::domain::trust::{Channel, TrustPolicy};
use crate::engine::{Engine, Labels};
use crate::failure::{Failure, FailureKind, Outcome};
use crate::gitlab::api::GitLabApi;
use crate::job_log::JobLog;
use crate::keys::Signer;
use crate::registry::{ImageStore, ManifestReference};
use crate::settings::StorePlace;

/// Who can say that the job still is what it says it is.
pub enum Confirmation<'a> {
    /// GitLab, asked before signing and before tagging.
    GitLab(&'a GitLabApi),
    /// Nobody: a developer's own try; the provenance says `local`.
    Local,
}

/// Where a delivery reads, builds, signs and writes.
pub struct Adapters<'a> {
    pub engine: &'a Engine,
    pub store: &'a std::sync::Arc<dyn ImageStore>,
    pub image_signer: &'a dyn Signer,
    pub attestation_signer: &'a dyn Signer,
    pub confirmation: Confirmation<'a>,
}

/// What is delivered, all of it known before the delivery starts.
pub struct Delivery<'a> {
    pub facts: &'a JobFacts,
    pub rule: &'a PublishRule,
    pub tree: &'a CommitTree,
    pub manifest: &'a ComponentManifest,
    pub policy: &'a TrustPolicy,
    pub prefix: Option<&'a Repository>,
    pub place: &'a StorePlace,
    pub builder_id: &'a str,
    pub test_image: &'a PinnedImage,
    pub test_report: &'a TestReport,
    pub hermetic: &'a HermeticReport,
    pub started: OffsetDateTime,
    /// Label value and name part of everything this job makes in the engine.
    pub key: &'a str,
    /// Labels of everything that this job makes in the engine.
    pub labels: &'a Labels,
    pub work_dir: &'a Path,
    pub state_dir: &'a Path,
}

/// One image that is published.
#[derive(Debug)]
pub struct DeliveredImage {
    pub repository: Repository,
    pub version: Tag,
    pub digest: Digest,
    pub packages: usize,
    pub bytes: u64,
    pub image_key: String,
    pub attestation_key: String,
    /// Why an earlier image of the same commit was kept instead of this build.
    pub not_reproducible: Option<String>,
    pub staged: tag::ChannelMove,
    pub times: Vec<(&'static str, Duration)>,
}

/// What a cancel before the commit point left: nothing that anybody follows.
const STOPPED: &str = "the delivery is stopped before any tag was written";

/// Delivers every image of a component: all are published before the first `:staged` moves.
pub async fn deliver(
    adapters: &Adapters<'_>,
    delivery: &Delivery<'_>,
    plans: Vec<PlannedBuild<'_>>,
    log: &JobLog,
    cancel: &Cancel,
) -> Outcome<Vec<DeliveredImage>> {
    let version = version(delivery.tree, delivery.manifest)?;
    let turn = DeliveryLock::acquire(delivery.state_dir, delivery.facts.project_id);
    let turn = beating(log, "another delivery of this project goes on here", turn);
    let _turn = cancel.or(STOPPED, turn).await?;
    let mut ready = Vec::new();
    for plan in plans {
        let publishing = publish(adapters, delivery, plan, &version, log);
        ready.push(cancel.or(STOPPED, publishing).await.map_err(before_the_tags)?);
    }
    let _section = log.section("tag", "Tags: the version, then :staged");
    cancel.or(STOPPED, confirm(adapters, delivery, log)).await.map_err(before_the_tags)?;
    for image in &mut ready {
        // Another host may have published this version since we looked.
        let looking = image.look_again(adapters, delivery, &version, log);
        cancel.or(STOPPED, looking).await.map_err(before_the_tags)?;
    }

    // The commit point: from the first version tag on a stop is noted and the writes are finished.
    let started = Instant::now();
    let delivered = tokio::select! {
        delivered = write_tags(adapters, delivery, ready, &version, log, started) => delivered?,
        never = note_cancel(cancel, log) => match never {},
    };
    if cancel.is_cancelled() {
        log.line("the job was cancelled after the version tag was written: both tags are complete");
    }
    Ok(delivered)
}

async fn write_tags(
    adapters: &Adapters<'_>,
    delivery: &Delivery<'_>,
    ready: Vec<Ready>,
    version: &Tag,
    log: &JobLog,
    started: Instant,
) -> Outcome<Vec<DeliveredImage>> {
    for image in &ready {
        tag::put_version(adapters.store.as_ref(), &image.verified, version).await.map_err(at_the_tags)?;
        log.line(format!("tag     {}:{version}", image.verified.repository()));
    }
    let mut delivered = Vec::new();
    for image in ready {
        let now = OffsetDateTime::now_utc();
        let pipeline = delivery.facts.pipeline_id;
        let moved = tag::put_staged(adapters.store.as_ref(), &image.verified, pipeline, delivery.policy, now)
            .await
            .map_err(at_the_tags)?;
        log.line(format!("tag     {}:staged  {}", image.verified.repository(), moved.describe()));
        delivered.push(image.into_delivered(version, moved, started.elapsed()));
    }
    Ok(delivered)
}

/// Says at once that a cancel was heard, since the writes after the commit point may take a while.
async fn note_cancel(cancel: &Cancel, log: &JobLog) -> std::convert::Infallible {
    cancel.cancelled().await;
    log.line("cancel noted: too late to stop, the tags are being written; they are finished first");
    std::future::pending().await
}

/// Says what a failure of the runner's side means for whoever waits for the image.
fn before_the_tags(failure: Failure) -> Failure {
    match failure.kind() {
        FailureKind::System => failure.note(
            "runner problem, not your script: nothing is tagged, and a retry of the job goes on with what is stored",
        ),
        _ => failure,
    }
}

/// From the commit point on nobody can tell which of the tags stand; those that do are complete.
fn at_the_tags(failure: Failure) -> Failure {
    match failure.kind() {
        FailureKind::System => failure.note(
            "runner problem, not your script: the image and its evidence are complete, and a retry of the job sets the tags that are absent",
        ),
        _ => failure,
    }
}

/// An image that is published and verified, and named by no tag of ours yet.
struct Ready {
    verified: VerifiedImage,
    packages: usize,
    bytes: u64,
    not_reproducible: Option<String>,
    times: Vec<(&'static str, Duration)>,
}

impl Ready {
    async fn look_again(
        &mut self,
        adapters: &Adapters<'_>,
        delivery: &Delivery<'_>,
        version: &Tag,
        log: &JobLog,
    ) -> Outcome<()> {
        let (store, ours) = (adapters.store.as_ref(), &self.verified);
        let (repository, commit) = (ours.repository(), delivery.tree.commit().id());
        let now = OffsetDateTime::now_utc();
        let digest = ours.digest();
        let seen =
            tag::look_at_version(store, repository, version, digest, &commit, delivery.policy, now).await?;
        if let tag::VersionTag::Taken(theirs) = seen {
            let (manifest, config) = (&ours.manifest().bytes, ours.config());
            self.not_reproducible = Some(keep(&theirs, manifest, config, log));
            self.verified = *theirs;
        }
        Ok(())
    }

    fn into_delivered(self, version: &Tag, staged: tag::ChannelMove, tagging: Duration) -> DeliveredImage {
        let verdict = self.verified.verdict();
        let mut times = self.times;
        times.push(("tag", tagging));
        DeliveredImage {
            repository: self.verified.repository().clone(),
            version: version.clone(),
            digest: self.verified.digest().clone(),
            packages: self.packages,
            bytes: self.bytes,
            image_key: verdict.signature().key().to_owned(),
            attestation_key: verdict
                .evidence_of(EvidenceKind::Provenance)
                .map_or_else(|| "-".to_owned(), |evidence| evidence.key().to_owned()),
            not_reproducible: self.not_reproducible,
            staged,
            times,
        }
    }
}

/// Returns the version tag of a commit; asked before anything runs, since a bad version stops a delivery.
pub fn version(tree: &CommitTree, manifest: &ComponentManifest) -> Outcome<Tag> {
    let file = tree.read(manifest.version_file().as_str(), 4096)?;
    let version = Version::from_file(file.as_deref())?;
    let commit = tree.commit();
    Ok(version_tag(&version, commit.time(), &commit.id().to_string(), &VersionTemplate::default())?)
}

async fn confirm(adapters: &Adapters<'_>, delivery: &Delivery<'_>, log: &JobLog) -> Outcome<u64> {
    match adapters.confirmation {
        Confirmation::GitLab(api) => {
            let runner = beating(log, "asking GitLab", api.confirm(delivery.facts)).await?;
            log.line("GitLab confirms: this job runs, for this project, ref and commit");
            Ok(runner)
        }
        Confirmation::Local => {
            log.line("local try: nobody confirms the job; the provenance says `local`");
            Ok(0)
        }
    }
}

async fn publish(
    adapters: &Adapters<'_>,
    delivery: &Delivery<'_>,
    plan: PlannedBuild<'_>,
    version: &Tag,
    log: &JobLog,
) -> Outcome<Ready> {
    let store = adapters.store.as_ref();
    let repository = plan.repository.clone();
    let mut times = Vec::new();
    let mut clock = Instant::now();
    let mut lap = |name: &'static str, times: &mut Vec<(&'static str, Duration)>| {
        times.push((name, clock.elapsed()));
        clock = Instant::now();
    };

    let built = {
        let _section = log.section("build", &format!("Build {repository}"));
        beating(log, "building", build::build(adapters.engine, delivery, plan, log)).await?
    };
    lap("build", &mut times);

    let commit = delivery.tree.commit();
    let described = {
        let _section = log.section("describe", "Describe: read once, normalise, SBOM, compress");
        let labels = ImageLabels {
            version: version.to_string(),
            revision: commit.id().to_string(),
            source: delivery.facts.repository_url.to_string(),
        };
        let places = (delivery.work_dir, delivery.state_dir);
        let described =
            documents::describe(adapters.engine, adapters.store, &built, labels, commit.time(), places, log)
                .await?;
        log.line(format!("digest  {}", described.image.manifest_digest));
        for layer in &described.image.layers {
            let origin = match layer.origin {
                describe::LayerOrigin::Base => "of the base image",
                describe::LayerOrigin::Own => "of this build",
            };
            let there = if layer.file.is_none() { ", the store has it" } else { "" };
            let size = in_units(layer.size);
            log.line(format!("layer   sha256:{}…  {origin}, {size} compressed{there}", layer.blob.short()));
        }
        log.line(format!("sbom    {} packages", described.inventory.package_count()));
        described
    };
    lap("describe", &mut times);

    let now = OffsetDateTime::now_utc();
    let ours = &described.image.manifest_digest;
    let seen =
        tag::look_at_version(store, &repository, version, ours, &commit.id(), delivery.policy, now).await?;
    let packages = described.inventory.package_count();
    let bytes = described.image.layers.iter().map(|layer| layer.size).sum();
    if let tag::VersionTag::Taken(theirs) = seen {
        let difference = keep(&theirs, &described.image.manifest, &described.image.config, log);
        return Ok(Ready { verified: *theirs, packages, bytes, not_reproducible: Some(difference), times });
    }

    let _section = log.section("publish", "Sign, push, read back, verify");
    // A retry after a crash: what is there already and verifies is neither signed nor sent again.
    let reference = ManifestReference::Digest(ours.clone());
    let complete = Completeness::BothFormats;
    if let Ok(verified) =
        verify::verify(store, &repository, &reference, delivery.policy, Channel::Staged, complete, now).await
    {
        log.line("the image and its evidence are complete already");
        lap("publish", &mut times);
        return Ok(Ready { verified, packages, bytes, not_reproducible: None, times });
    }

    let runner = confirm(adapters, delivery, log).await?;
    let engine = adapters.engine.facts().await?;
    let input = EvidenceInput {
        docker_reference: store.docker_reference(&repository),
        spdx: described.spdx.clone().into(),
        cyclonedx: described.cyclonedx.clone().into(),
        provenance: provenance::provenance(
            delivery,
            &adapters.confirmation,
            &built,
            &described,
            (&engine, runner),
            now,
        ),
        test_result: provenance::test_result(delivery, &adapters.confirmation)?,
    };
    let signed =
        sign::compose(described.unsigned(), &input, adapters.attestation_signer, adapters.image_signer)
            .await?;
    log.line("signed  SBOMs, provenance and test result with the key `attestation`, the image with the key `image`");
    lap("sign", &mut times);
    let (words, progress) = (PushLog::new(&signed), Progress::default());
    let written = |what: &str| {
        log.line(words.line(what));
        progress.set(format!("`{what}` is stored"));
    };
    let published = beating_with(log, "pushing", &progress, push::publish(store, &signed, &written)).await?;
    lap("push", &mut times);
    let verifying = published.verify(store, delivery.policy, Channel::Staged, now);
    let verified = beating(log, "reading back", verifying).await.map_err(|failure| {
        // Whatever it is, it is not the author's: keys, policy and store are the host's.
        failure
            .while_doing(format!("cannot trust what was just published as `{repository}`: nothing is tagged"))
            .with_kind(FailureKind::System)
            .hint("for the runner's administrator: the policy that `trust` names in the host settings must list the public keys of `[keys]`")
    })?;
    tracing::info!(%repository, digest = %verified.digest(), "published and verified");
    log.line(format!(
        "verified {repository}@sha256:{}… as a client would: same code, same policy",
        verified.digest().short()
    ));
    lap("verify", &mut times);
    remember_layers(delivery.state_dir, &described);
    Ok(Ready { verified, packages, bytes, not_reproducible: None, times })
}

/// Says that an earlier image of the commit stays, and returns in what ours differs.
fn keep(theirs: &VerifiedImage, our_manifest: &[u8], our_config: &[u8], log: &JobLog) -> String {
    let difference = first_difference(our_manifest, our_config, &theirs.manifest().bytes, theirs.config());
    log.line(format!("not reproducible: first difference {difference}"));
    log.line(format!(
        "kept    {}: published earlier from this very commit, its evidence is complete",
        theirs.digest()
    ));
    difference
}

fn remember_layers(state_dir: &Path, described: &documents::DescribedImage) {
    let cache = LayerCache::new(state_dir);
    for layer in &described.image.layers {
        cache.put(&layer.diff_id, &CachedLayer { blob: layer.blob.clone(), size: layer.size });
    }
}
