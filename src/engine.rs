//! Docker Engine (API 1.41 and later) through bollard: containers, volumes, builds, export.
//!
//! Nothing here decides what a container may do: it takes a sealed [`crate::domain::sandbox::Sandbox`].
//! No call of this module hands the engine's socket, a host path or a credential to a container.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use serde::{Deserialize, Serialize};

mod archive;
mod build;
mod build_log;
mod cleanup;
mod container;
mod error;
mod exec;
mod exec_duplex;
mod image;
mod load;
mod logs;
mod network;
mod observe;
mod probe;
mod processes;
mod volume;

pub use build::{BuildCache, BuildLock, BuildRequest};
pub use build_log::BuildLogLine;
pub use cleanup::{BUILD_TAG_PREFIX, CleanupReport, Leftover, LeftoverKind};
pub use container::{ContainerId, ContainerState};
pub use error::EngineError;
pub use exec::{ExecInput, ExecRequest, Stream};
pub use exec_duplex::{ExecDuplex, ExecOutcome};
pub use image::{Credentials, ResolvedImage};
pub use network::ClosedNetwork;
pub use observe::{ContainerPhase, Health, HealthEntry, ObservedContainer};
pub use processes::Ended;

/// Labels as the engine keeps them.
pub type Labels = BTreeMap<String, String>;

/// The oldest API that has what a sandbox needs (Docker Engine 20.10).
pub const MINIMUM_API: (usize, usize) = (1, 41);
/// Docker Engine 25: the first that takes a health check's `start_interval`.
const START_INTERVAL_API: (usize, usize) = (1, 44);

/// How long the engine may take to begin an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take to begin with an export or a build: it writes every layer to its disk first.
const LONG_ANSWER_TIMEOUT: Duration = Duration::from_secs(3600);

/// A connection to an engine that was asked for its version; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    slow: Docker,
    socket: String,
    api_version: (usize, usize),
}

/// Versions for the provenance; an empty text is a part that the engine does not name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFacts {
    pub engine: String,
    pub api: String,
    pub containerd: String,
    pub runc: String,
    pub kernel: String,
    pub architecture: String,
    pub storage_driver: String,
}

impl Engine {
    /// Connects to `socket` (`unix:///path` or a path) and refuses an engine that is too old.
    pub async fn connect(socket: &str) -> Result<Self, EngineError> {
        let unreachable = |source| EngineError::unreachable(socket, source);
        let docker = Docker::connect_with_unix(socket, ANSWER_TIMEOUT.as_secs(), API_DEFAULT_VERSION)
            .map_err(unreachable)?;
        let version = tokio::time::timeout(Duration::from_secs(20), docker.version())
            .await
            .map_err(|_| EngineError::unreachable(socket, bollard::errors::Error::RequestTimeoutError))?
            .map_err(unreachable)?;
        let api = version.api_version.unwrap_or_default();
        let numbers: Option<(usize, usize)> =
            api.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let Some(api_version) = numbers.filter(|numbers| *numbers >= MINIMUM_API) else {
            return Err(EngineError::TooOld {
                socket: socket.to_owned(),
                version: version.version.unwrap_or_default(),
                api,
            });
        };
        let docker = docker.negotiate_version().await.map_err(unreachable)?;
        let slow = docker.clone().with_timeout(LONG_ANSWER_TIMEOUT);
        Ok(Self { docker, slow, socket: socket.to_owned(), api_version })
    }

    /// Returns the socket as it was given.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// Returns whether a health check may have a `start_interval`: an older engine refuses the container.
    pub fn has_start_interval(&self) -> bool {
        self.api_version >= START_INTERVAL_API
    }

    /// Returns the versions of the engine and its parts.
    pub async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let asked = |source| EngineError::from_bollard("read the engine's version", source);
        let version = self.docker.version().await.map_err(asked)?;
        let info = self.docker.info().await.map_err(asked)?;
        let component = |name: &str| {
            version
                .components
                .iter()
                .flatten()
                .find(|component| component.name == name)
                .map(|component| component.version.clone())
                .unwrap_or_default()
        };
        Ok(EngineFacts {
            engine: version.version.clone().unwrap_or_default(),
            api: version.api_version.clone().unwrap_or_default(),
            containerd: component("containerd"),
            runc: component("runc"),
            kernel: version.kernel_version.clone().unwrap_or_default(),
            architecture: version.arch.clone().unwrap_or_default(),
            storage_driver: info.driver.unwrap_or_default(),
        })
    }
}
