//! What a stack's containers are doing: state, exit code, health, restarts.

use std::collections::HashMap;

use bollard::query_parameters::ListContainersOptionsBuilder;
use serde::Serialize;

use super::{Engine, EngineError};

/// Label that Compose puts on everything of a project.
const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";
/// Most health checks of one container that are told.
const MAX_HEALTH_ENTRIES: usize = 20;
/// Most bytes of one health check's output that are told.
const MAX_HEALTH_OUTPUT: usize = 2000;

/// One container of a stack at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedContainer {
    pub id: String,
    pub name: String,
    pub service: String,
    pub phase: ContainerPhase,
    /// Absent while it runs and before it started.
    pub exit_code: Option<i64>,
    pub out_of_memory: bool,
    /// How often the engine started it again.
    pub restarts: i64,
    pub health: Health,
    pub health_history: Vec<HealthEntry>,
    /// The engine's own words on why it did not start.
    pub error: String,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerPhase {
    Created,
    Running,
    /// It ended and the engine will start it again.
    Restarting,
    Exited,
}

/// What a container's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It has no health check.
    None,
    Starting,
    Healthy,
    Unhealthy,
}

/// One run of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthEntry {
    pub exit_code: i64,
    pub output: String,
}

impl Engine {
    /// Returns the containers of a Compose project, sorted by name.
    pub async fn observe_project(&self, project: &str) -> Result<Vec<ObservedContainer>, EngineError> {
        let filters = HashMap::from([("label", vec![format!("{PROJECT_LABEL}={project}")])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let what = || format!("list the containers of the stack `{project}`");
        let listed = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(|e| EngineError::from_bollard(what(), e))?;
        let mut observed = Vec::new();
        for container in listed {
            let Some(id) = container.id else { continue };
            match self.docker.inspect_container(&id, None).await {
                Ok(found) => observed.push(observed_container(id, found)),
                Err(e) => match EngineError::from_bollard(what(), e) {
                    // Removed between the two calls.
                    error if error.is_absent() => {}
                    error => return Err(error),
                },
            }
        }
        observed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(observed)
    }
}

fn observed_container(id: String, found: bollard::models::ContainerInspectResponse) -> ObservedContainer {
    use bollard::models::{ContainerStateStatusEnum as Status, HealthStatusEnum};
    let state = found.state.unwrap_or_default();
    let phase = match state.status {
        Some(Status::RUNNING | Status::PAUSED) => ContainerPhase::Running,
        Some(Status::RESTARTING) => ContainerPhase::Restarting,
        Some(Status::EXITED | Status::DEAD | Status::REMOVING) => ContainerPhase::Exited,
        _ => ContainerPhase::Created,
    };
    let health = state.health.unwrap_or_default();
    let entries = health.log.unwrap_or_default();
    let health_history = entries[entries.len().saturating_sub(MAX_HEALTH_ENTRIES)..]
        .iter()
        .map(|entry| HealthEntry {
            exit_code: entry.exit_code.unwrap_or_default(),
            output: entry.output.clone().unwrap_or_default().chars().take(MAX_HEALTH_OUTPUT).collect(),
        })
        .collect();
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    ObservedContainer {
        id,
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        service: labels.get(SERVICE_LABEL).cloned().unwrap_or_default(),
        phase,
        exit_code: (phase == ContainerPhase::Exited).then(|| state.exit_code.unwrap_or_default()),
        out_of_memory: state.oom_killed == Some(true),
        restarts: found.restart_count.unwrap_or_default(),
        health: match health.status {
            Some(HealthStatusEnum::STARTING) => Health::Starting,
            Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
            _ => Health::None,
        },
        health_history,
        error: state.error.unwrap_or_default(),
    }
}
