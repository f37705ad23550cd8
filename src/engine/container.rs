//! Containers: created from a sealed sandbox, started, looked at, removed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions,
};
use serde::{Deserialize, Serialize};

use super::{Engine, EngineError};
use crate::domain::sandbox::Sandbox;

/// The engine's id of a container: 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// Returns the whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 digits, for texts that people read.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerId {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(EngineError::Malformed {
                what: "a container id".into(),
                why: format!("`{}`", text.chars().take(80).collect::<String>()),
            })
        }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = EngineError;

    fn try_from(text: String) -> Result<Self, EngineError> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a container can execute something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    Running,
    Stopped,
    Absent,
}

impl Engine {
    /// Creates the sandbox's container under `name`, stopped.
    pub async fn create_container(&self, name: &str, sandbox: &Sandbox) -> Result<ContainerId, EngineError> {
        let what = format!("create the container `{name}`");
        let body = create_body(sandbox)
            .map_err(|e| EngineError::Malformed { what: what.clone(), why: e.to_string() })?;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = self
            .docker
            .create_container(Some(options), body)
            .await
            .map_err(|e| EngineError::from_bollard(what, e))?;
        for warning in &created.warnings {
            tracing::warn!(container = name, warning, "engine");
        }
        created.id.parse()
    }

    /// Starts a container; one that runs already is left alone.
    pub async fn start_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.docker
            .start_container(id.as_str(), None::<StartContainerOptions>)
            .await
            .map_err(|e| EngineError::from_bollard(format!("start the container `{}`", id.short()), e))
    }

    /// Returns whether the container runs; one that is being removed counts as absent.
    pub async fn container_state(&self, id: &ContainerId) -> Result<ContainerState, EngineError> {
        match self.docker.inspect_container(id.as_str(), None).await {
            Ok(container) => {
                let running = container.state.is_some_and(|state| state.running == Some(true));
                Ok(if running { ContainerState::Running } else { ContainerState::Stopped })
            }
            Err(e) => match EngineError::from_bollard(format!("look at the container `{}`", id.short()), e) {
                error if error.is_absent() => Ok(ContainerState::Absent),
                error => Err(error),
            },
        }
    }

    /// Returns the container's addresses on its networks; one that does not run has none.
    pub async fn container_addresses(&self, id: &ContainerId) -> Result<BTreeSet<Ipv4Addr>, EngineError> {
        let found = self.docker.inspect_container(id.as_str(), None).await;
        let what = || format!("look at the container `{}`", id.short());
        let found = found.map_err(|e| EngineError::from_bollard(what(), e))?;
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        Ok(networks.values().filter_map(|network| network.ip_address.as_deref()?.parse().ok()).collect())
    }

    /// Kills PID 1 and with it everything in the container; one that is stopped is left alone.
    pub async fn kill_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        match self.docker.kill_container(id.as_str(), Some(options)).await {
            Ok(()) => Ok(()),
            Err(e) => match EngineError::from_bollard(format!("kill the container `{}`", id.short()), e) {
                EngineError::Answered { status: 404 | 409, .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Removes a container with its anonymous volumes, running or not; an absent one is no error.
    pub async fn remove_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        self.remove_container_by_name(id.as_str()).await
    }

    pub async fn remove_container_by_name(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let what = format!("remove the container `{}`", name.chars().take(40).collect::<String>());
        match self.docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(()),
            Err(e) => match EngineError::from_bollard(what, e) {
                error if error.is_absent() => Ok(()),
                // Another removal of the same container is under way and will end.
                EngineError::Answered { status: 409, .. } => Ok(()),
                error => Err(error),
            },
        }
    }
}

fn create_body(sandbox: &Sandbox) -> Result<ContainerCreateBody, serde_json::Error> {
    serde_json::from_value(sandbox.to_create_request())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::sandbox::{Limits, SandboxNetwork, SandboxSpec, SandboxUser, SeccompProfile};

    #[test]
    fn sends_exactly_what_the_sandbox_describes() {
        let sandbox = Sandbox::seal(SandboxSpec {
            image: Digest::of(b"image"),
            user: SandboxUser::new(1000, 1000).unwrap(),
            network: SandboxNetwork::None,
            tools_volume: "tools".into(),
            mounts: Vec::new(),
            limits: Limits::default(),
            seccomp: SeccompProfile::shipped(),
            source_date_epoch: 0,
            env: BTreeMap::new(),
            labels: BTreeMap::from([("airlock.job".into(), "1".into())]),
        })
        .unwrap();
        for sandbox in [sandbox.probe_beside("0123456789abcdef", Digest::of(b"helper")).unwrap(), sandbox] {
            // bollard's type drops a field that it does not know: none may be lost on the way.
            let sent = serde_json::to_value(create_body(&sandbox).unwrap()).unwrap();
            assert_eq!(sorted(sent), sorted(sandbox.to_create_request()));
        }
    }

    fn sorted(value: serde_json::Value) -> BTreeMap<String, String> {
        fn walk(path: String, value: &serde_json::Value, out: &mut BTreeMap<String, String>) {
            match value {
                serde_json::Value::Object(map) => {
                    for (key, value) in map {
                        walk(format!("{path}.{key}"), value, out);
                    }
                }
                serde_json::Value::Array(items) => {
                    for (i, value) in items.iter().enumerate() {
                        walk(format!("{path}[{i}]"), value, out);
                    }
                }
                value => drop(out.insert(path, value.to_string())),
            }
        }
        let mut out = BTreeMap::new();
        walk(String::new(), &value, &mut out);
        out
    }

    #[test]
    fn refuses_a_container_id_that_is_a_path() {
        assert!("../../images/x".parse::<ContainerId>().is_err());
    }
}
