//! GitLab Runner's four stages: config, prepare, run, cleanup (runner contract §1).
//!
//! Each stage is a process of its own. Facts come from the job response, state from the job record;
//! no variable that an author can set decides anything.

pub mod cleanup;
pub mod config;
pub mod containers;
pub mod hub_job;
pub mod hub_summary;
pub mod job_record;
pub mod prepare;
pub mod reports;
pub mod run;
pub mod source;
pub mod staging;
pub mod summary;
pub mod sweep;
pub mod test_job;

use crate::domain::trust::TrustPolicy;
use crate::keys::Signer;
use crate::registry::ImageStore;

/// Where GitLab's workspace is inside the containers.
pub const BUILDS_DIR: &str = "/builds";
/// Where caches are inside the helper container.
pub const CACHE_DIR: &str = "/cache";
/// Label with the job's key on everything that a job makes in the engine.
pub const JOB_LABEL: &str = "airlock.job";
/// Label with the time, in seconds since 1970, after which a job is dead.
pub const DEADLINE_LABEL: &str = "airlock.deadline";
/// Label with the host's boot: nothing of an earlier boot is alive.
pub const BOOT_LABEL: &str = "airlock.boot";

/// What only a delivery needs; opened when one begins, so that no other job touches keys or the store.
pub struct HostAdapters {
    pub store: std::sync::Arc<dyn ImageStore>,
    pub image_signer: Box<dyn Signer>,
    pub attestation_signer: Box<dyn Signer>,
    /// There on a host that promotes.
    pub release_signer: Option<Box<dyn Signer>>,
    pub policy: TrustPolicy,
}

/// Returns the kernel's id of this boot.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
