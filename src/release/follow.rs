//! Component tags: for people, written after the release's own, repaired from it by any later run.

use crate::delivery::push::AfterWrite;
use crate::delivery::tag::{ChannelMove, follow_release};
use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::trust::Channel;
use crate::failure::Outcome;
use crate::job_log::JobLog;
use crate::registry::ImageStore;
use crate::release::publish::PromotableRelease;

/// What happened to one component tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    pub repository: Repository,
    pub digest: Digest,
    pub moved: ChannelMove,
}

/// Points `:candidate` of every image's repository at what the release says.
pub async fn follow(
    store: &dyn ImageStore,
    release: &PromotableRelease,
    log: &JobLog,
    after_write: AfterWrite<'_>,
) -> Outcome<Vec<Followed>> {
    let mut followed = Vec::new();
    for image in release.images() {
        let moved = follow_release(store, image, Channel::Candidate).await?;
        after_write("component-candidate");
        log.line(format!("tag     {}:candidate  {}", image.repository(), moved.describe()));
        followed.push(Followed {
            repository: image.repository().clone(),
            digest: image.digest().clone(),
            moved,
        });
    }
    Ok(followed)
}
