//! Points `:candidate` at a release that stands there already: to repair the component tags, or to roll back.
//!
//! Nothing is signed: the release and the evidence of its images are, and all of it is verified again first.

use std::path::Path;

use time::OffsetDateTime;

use crate::delivery::push::AfterWrite;
use crate::domain::image::Repository;
use crate::domain::release::Release;
use crate::domain::trust::{Channel, TrustPolicy};
use crate::failure::{Failure, Outcome};
use crate::job_log::JobLog;
use crate::registry::{ImageStore, ManifestReference};
use crate::release::follow::follow;
use crate::release::promote::{Promoted, at_the_tags, turns};
use crate::release::publish::{PromotableRelease, verify_all};
use crate::release::store::{Standing, read, repository_of, standing};
use crate::release::tags::point;

/// Where releases and tags are.
pub struct Repointing<'a> {
    pub store: &'a dyn ImageStore,
    pub policy: &'a TrustPolicy,
    pub prefix: Option<&'a Repository>,
    pub state_dir: &'a Path,
    pub now: OffsetDateTime,
}

/// What would be written; everything in it is verified.
#[derive(Debug)]
pub struct Plan {
    pub target: PromotableRelease,
    /// What `:candidate` names now; it need not be a release, which this repairs.
    pub present: Standing,
    /// Repositories whose `:candidate` names another digest than the target's, or nothing.
    pub component_tags: Vec<Repository>,
}

impl Plan {
    /// Returns whether `:candidate` has to move.
    pub fn moves_candidate(&self) -> bool {
        self.present.digest() != Some(self.target.release().digest())
    }

    /// Returns whether the target is older than what `:candidate` names.
    pub fn is_rollback(&self) -> bool {
        let target = self.target.release().release().sequence;
        matches!(&self.present, Standing::Release(present) if target < present.release().sequence)
    }
}

/// Verifies the release that `reference` names and says what would be written.
pub async fn plan(parts: &Repointing<'_>, platform: &str, reference: &ManifestReference) -> Outcome<Plan> {
    let repository = repository_of(parts.prefix, platform)?;
    let release = read(parts.store, parts.policy, &repository, reference, parts.now).await?;
    if release.release().expires().is_none_or(|expires| expires <= parts.now) {
        return Err(Failure::refused_to_publish(format!(
            "the release `{}` of `{platform}` is no longer valid",
            release.release().version
        ))
        .because(format!("it expired at {}", release.release().expires_at))
        .hint("run the hub's job: it makes a new release"));
    }
    let present = standing(parts.store, parts.policy, parts.prefix, platform, parts.now).await?;
    let target = verify_all(parts.store, parts.policy, parts.prefix, release, parts.now).await?;
    let mut component_tags = Vec::new();
    for image in target.images() {
        let found = parts
            .store
            .manifest(image.repository(), &ManifestReference::Tag(Channel::Candidate.tag()))
            .await?;
        if found.map(|found| found.digest).as_ref() != Some(image.digest()) {
            component_tags.push(image.repository().clone());
        }
    }
    Ok(Plan { target, present, component_tags })
}

/// Writes what was planned.
pub async fn repoint(
    parts: &Repointing<'_>,
    plan: Plan,
    log: &JobLog,
    after_write: AfterWrite<'_>,
) -> Outcome<Promoted> {
    let Release { platform, components, .. } = plan.target.release().release();
    let _turns = turns(parts.state_dir, platform, components, log).await?;
    let already = !plan.moves_candidate();
    point(parts.store, &plan.target, plan.present.digest(), after_write).await?;
    let release = plan.target.release();
    log.line(format!(
        "tag     {}:{}  names release {}",
        release.repository(),
        Channel::Candidate,
        release.release().version
    ));
    let followed = follow(parts.store, &plan.target, log, after_write).await.map_err(at_the_tags)?;
    Ok(Promoted { release: release.clone(), already, followed })
}
