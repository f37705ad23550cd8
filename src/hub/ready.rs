//! Whether a stack is ready: a function of what was compiled and what the engine shows.
//!
//! `docker compose up --wait` counts a migration that exits with 0 as a failure and does not say which
//! health check failed: waiting, deadline and verdict are Airlock's own.

use crate::compose::{CompiledService, CompiledStack};
use crate::engine::{ContainerPhase, Health, ObservedContainer};

/// What the engine shows of a stack at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// What is waited for, a text for each service.
    Waiting(Vec<String>),
    /// A service that will never be ready.
    Failed {
        service: String,
        /// The container whose last words tell more.
        container: Option<String>,
        why: String,
    },
}

/// Judges the stack.
pub fn readiness(compiled: &CompiledStack, observed: &[ObservedContainer]) -> Readiness {
    let mut waiting = Vec::new();
    for (name, service) in &compiled.services {
        let containers: Vec<&ObservedContainer> =
            observed.iter().filter(|container| container.service == *name).collect();
        if let Some((container, why)) =
            containers.iter().find_map(|container| Some((*container, failed(service, container)?)))
        {
            return Readiness::Failed { service: name.clone(), container: Some(container.id.clone()), why };
        }
        let ready = containers.iter().filter(|container| is_ready(service, container)).count();
        if ready < service.replicas as usize {
            waiting.push(format!("`{name}` {}", state(service, &containers)));
        }
    }
    if waiting.is_empty() { Readiness::Ready } else { Readiness::Waiting(waiting) }
}

/// Why a container speaks against the whole stack.
fn failed(service: &CompiledService, container: &ObservedContainer) -> Option<String> {
    if container.phase == ContainerPhase::Created && !container.error.is_empty() {
        return Some(format!("it cannot be started: {}", container.error));
    }
    if let Some(code) = container.exit_code {
        if service.runs_to_completion && code == 0 {
            return None;
        }
        let what = if service.runs_to_completion { "it ran to its end and failed" } else { "it ended" };
        let memory = if container.out_of_memory { ", it needed more memory than it has" } else { "" };
        return Some(format!("{what}: exit code {code}{memory}"));
    }
    if container.health == Health::Unhealthy {
        let last = container.health_history.last();
        let output = last.map_or_else(String::new, |entry| {
            let output = entry.output.trim();
            let output = if output.is_empty() { "no output" } else { output };
            format!("; its last health check ended with {}: {output}", entry.exit_code)
        });
        return Some(format!("it is unhealthy{output}"));
    }
    None
}

fn is_ready(service: &CompiledService, container: &ObservedContainer) -> bool {
    match container.phase {
        ContainerPhase::Created | ContainerPhase::Restarting => false,
        ContainerPhase::Exited => service.runs_to_completion && container.exit_code == Some(0),
        ContainerPhase::Running => {
            !service.runs_to_completion
                && match container.health {
                    Health::Healthy => true,
                    Health::None => !service.has_health_check,
                    Health::Starting | Health::Unhealthy => false,
                }
        }
    }
}

fn state(service: &CompiledService, containers: &[&ObservedContainer]) -> String {
    let Some(container) = containers.iter().find(|container| !is_ready(service, container)) else {
        return match containers.len() {
            0 => "is not created yet".to_owned(),
            there => format!("has {there} of {} containers", service.replicas),
        };
    };
    match container.phase {
        ContainerPhase::Created => "waits for what it depends on".to_owned(),
        ContainerPhase::Running if service.runs_to_completion => "has not ended yet".to_owned(),
        ContainerPhase::Running => "is not healthy yet".to_owned(),
        ContainerPhase::Restarting => {
            format!("ended and is started again, {} times so far", container.restarts)
        }
        ContainerPhase::Exited => "has ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::digest::Digest;
    use crate::engine::HealthEntry;

    fn service(has_health_check: bool, runs_to_completion: bool) -> CompiledService {
        CompiledService {
            image: Digest::of(b"image"),
            has_health_check,
            runs_to_completion,
            depends_on: BTreeMap::new(),
            replicas: 1,
        }
    }

    fn stack(service: CompiledService) -> CompiledStack {
        CompiledStack {
            json: Vec::new(),
            project: "p".into(),
            services: [("api".to_owned(), service)].into(),
            networks: Default::default(),
        }
    }

    fn container(phase: ContainerPhase, exit_code: Option<i64>, health: Health) -> ObservedContainer {
        ObservedContainer {
            id: "c1".into(),
            name: "p-api-1".into(),
            service: "api".into(),
            phase,
            exit_code,
            out_of_memory: false,
            restarts: 0,
            health,
            health_history: vec![HealthEntry { exit_code: 1, output: "connection refused\n".into() }],
            error: String::new(),
        }
    }

    #[test]
    fn every_state_has_one_answer() {
        use ContainerPhase::{Created, Exited, Restarting, Running};
        let none = Health::None;
        let cases = [
            ("nothing yet", service(false, false), None),
            ("created", service(false, false), Some(container(Created, None, none))),
            ("running", service(false, false), Some(container(Running, None, none))),
            ("starting", service(true, false), Some(container(Running, None, Health::Starting))),
            ("a check that has not begun", service(true, false), Some(container(Running, None, none))),
            ("healthy", service(true, false), Some(container(Running, None, Health::Healthy))),
            ("unhealthy", service(true, false), Some(container(Running, None, Health::Unhealthy))),
            ("started again", service(false, false), Some(container(Restarting, None, none))),
            ("ended", service(false, false), Some(container(Exited, Some(0), none))),
            ("crashed", service(true, false), Some(container(Exited, Some(137), none))),
            ("a one-shot runs", service(false, true), Some(container(Running, None, none))),
            ("a one-shot is done", service(false, true), Some(container(Exited, Some(0), none))),
            ("a one-shot failed", service(false, true), Some(container(Exited, Some(3), none))),
        ];
        let mut told = String::new();
        for (name, service, observed) in cases {
            let observed: Vec<_> = observed.into_iter().collect();
            told.push_str(&format!("{name}: {:?}\n", readiness(&stack(service), &observed)));
        }
        insta::assert_snapshot!(told);
    }
}
