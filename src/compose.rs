//! What a Compose file may ask for, and the refusals: a Compose file is compiled to an allow-list of keys
//! and never passed through (Compose Specification; docs/compose.md goes through it key by key).
//!
//! The input is what `docker compose config --format json` wrote in a sandbox; the output is the only
//! thing that the host's Compose ever reads. No I/O here.

mod compile;
pub mod keys;
mod mounts;
mod order;
mod refusal;
mod service;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub use compile::compile;
pub use refusal::{ComposeRefusal, ComposeRefusals};
pub use service::{CAPABILITIES, ONE_SHOT_LABEL};

use crate::domain::digest::Digest;

/// Largest output of `docker compose config` that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 8 * 1024 * 1024;
/// The network that joins every service and the test's container.
pub const TEST_NETWORK: &str = "airlock-test";
/// Where the hub's tree is in the sandbox that ran `docker compose config`: absolute paths begin with it.
pub const TREE_IN_SANDBOX: &str = "/builds/hub";

/// What a Compose file is compiled against.
#[derive(Debug, Clone)]
pub struct StackRequest {
    /// The Compose project's name, unique on the host; networks and volumes are `<project>-<name>`.
    pub project: String,
    /// The verified image of every service, by the engine's immutable id.
    pub images: BTreeMap<String, Digest>,
    /// Every path of the hub's tree: what a repository bind may name.
    pub tree: BTreeMap<String, TreePath>,
    /// Where the tree stands on the host, owned by root, for read-only binds.
    pub tree_on_host: PathBuf,
    /// The seccomp profile's file on the host.
    pub seccomp_on_host: PathBuf,
    /// Labels of everything that the stack makes in the engine.
    pub labels: BTreeMap<String, String>,
    pub limits: ServiceLimits,
    /// Whether the engine knows a health check's `start_interval`; else it is left out.
    pub start_interval: bool,
}

/// What kind of thing a path of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreePath {
    File,
    Directory,
    /// Never a bind's source: the engine would follow it on the host.
    Link,
}

/// Limits of each service; a file may ask for less, never for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceLimits {
    pub memory_bytes: u64,
    pub cpu_millis: u64,
    pub pids: u32,
    pub tmp_bytes: u64,
}

/// A compiled stack: the only form in which a Compose file reaches the host's Compose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledStack {
    /// The Compose file as JSON, keys sorted; its digest goes into the release.
    pub json: Vec<u8>,
    pub project: String,
    pub services: BTreeMap<String, CompiledService>,
    /// Networks that Airlock makes, closes and probes before anything starts, by their names in the
    /// engine; [`TEST_NETWORK`]'s own is `<project>-airlock-test` and always among them.
    pub networks: BTreeSet<String>,
}

/// What the wait for readiness has to know about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledService {
    pub image: Digest,
    pub has_health_check: bool,
    /// Some service depends on it with `service_completed_successfully`, or it is labelled a one-shot:
    /// it is ready when it has exited with 0.
    pub runs_to_completion: bool,
    pub depends_on: BTreeMap<String, DependencyCondition>,
    /// How many containers it has.
    pub replicas: u32,
}

/// Compose's `depends_on` conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DependencyCondition {
    Started,
    Healthy,
    CompletedSuccessfully,
}

impl DependencyCondition {
    /// Returns Compose's own word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::CompletedSuccessfully => "service_completed_successfully",
        }
    }
}
