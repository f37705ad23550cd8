//! The closed Compose stack of one run: networks made and probed, services up and ready, everything down.
//!
//! Compose orders the starts; Airlock owns networks, waiting, deadline and verdict. Everything carries the
//! job's labels, so that cleanup and sweep find it after a death at any point.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::compose::{CompiledStack, TEST_NETWORK};
use crate::delivery::heartbeat::{Progress, beating_with};
use crate::domain::closed_world::ClosedWorld;
use crate::domain::digest::Digest;
use crate::domain::sandbox::{SandboxUser, SeccompProfile};
use crate::engine::{Engine, Labels, ObservedContainer};
use crate::failure::{EXIT_TESTS_FAILED, Failure, Outcome};
use crate::hub::closed_world;
use crate::hub::ready::{Readiness, readiness};
use crate::job_log::{JobLog, printable};
use crate::tools::ToolError;
use crate::tools::compose::Compose;

/// Label with the project on everything of a stack, beside the job's own labels.
pub const STACK_LABEL: &str = "airlock.stack";
/// Label that Compose itself puts on everything of a project.
const COMPOSE_LABEL: &str = "com.docker.compose.project";
/// How often the engine is asked how the services are.
const POLL: Duration = Duration::from_millis(500);
/// How long every service must have looked ready: one that dies at once must not count.
const SETTLE: Duration = Duration::from_secs(2);
/// Lines of a service's log that a failure quotes.
const LAST_LINES: usize = 20;
/// Most characters of one of them.
const LONGEST_LINE: usize = 400;
/// Most bytes of those lines.
const LAST_BYTES: usize = 16 * 1024;

/// What a stack is made with.
pub struct StackParts<'a> {
    pub engine: &'a Engine,
    pub compose: &'a Compose,
    /// The helper image, for the probes.
    pub helper: Digest,
    pub user: SandboxUser,
    pub tools_volume: String,
    pub seccomp: SeccompProfile,
    /// Name part of everything that the job makes in the engine.
    pub key: &'a str,
    /// The job's labels and [`STACK_LABEL`].
    pub labels: &'a Labels,
    pub ready_timeout: Duration,
    /// The job's own directory on the host.
    pub work_dir: &'a Path,
}

/// The networks of a stack, which are known to be closed; nothing is on them yet.
pub struct ClosedStack<'a> {
    parts: &'a StackParts<'a>,
    compiled: &'a CompiledStack,
    closed_world: ClosedWorld,
}

impl<'a> ClosedStack<'a> {
    /// Makes and probes the networks.
    ///
    /// # Errors
    /// A network that is not known to be closed. What was made until then goes with [`down`].
    pub async fn make(
        parts: &'a StackParts<'a>,
        compiled: &'a CompiledStack,
        log: &JobLog,
        cancel: &Cancel,
    ) -> Outcome<Self> {
        let closed_world = cancel.or("the stack is stopped", close(parts, compiled, log)).await?;
        Ok(Self { parts, compiled, closed_world })
    }

    /// Returns what the probes measured.
    pub fn closed_world(&self) -> &ClosedWorld {
        &self.closed_world
    }

    /// Starts the services and waits until they are ready.
    ///
    /// # Errors
    /// A service that fails, or one that is not ready in time. What was made until then stays for
    /// [`records`](super::records) and goes with [`down`].
    pub async fn start(&self, log: &JobLog, cancel: &Cancel) -> Outcome<Stack<'a>> {
        let (parts, compiled) = (self.parts, self.compiled);
        let started = Instant::now();
        let lives = cancel.or("the stack is stopped", wait_until_ready(parts, compiled, log)).await?;
        log.line(format!(
            "ready   all {} services, after {:.1} s",
            compiled.services.len(),
            started.elapsed().as_secs_f64()
        ));
        Ok(Stack { parts, compiled, closed_world: self.closed_world.clone(), lives })
    }
}

/// A stack that is up and ready, on networks that are known to be closed.
pub struct Stack<'a> {
    parts: &'a StackParts<'a>,
    compiled: &'a CompiledStack,
    closed_world: ClosedWorld,
    lives: Lives,
}

impl<'a> Stack<'a> {
    /// Makes and probes the networks, starts the services and waits until they are ready.
    ///
    /// # Errors
    /// Those of [`ClosedStack::make`] and [`ClosedStack::start`].
    pub async fn up(
        parts: &'a StackParts<'a>,
        compiled: &'a CompiledStack,
        log: &JobLog,
        cancel: &Cancel,
    ) -> Outcome<Self> {
        ClosedStack::make(parts, compiled, log, cancel).await?.start(log, cancel).await
    }

    /// Returns the name of the network on which every service can be reached by its name.
    pub fn test_network(&self) -> String {
        test_network(self.compiled)
    }

    /// Returns what the probes measured.
    pub fn closed_world(&self) -> &ClosedWorld {
        &self.closed_world
    }

    /// Refuses a stack of which a service ended, got unhealthy or was started again while it was tested.
    pub async fn check_still_ready(&self) -> Outcome<()> {
        let observed = self.parts.engine.observe_project(&self.compiled.project).await?;
        match readiness(self.compiled, &observed) {
            Readiness::Ready => {}
            Readiness::Waiting(services) => {
                return Err(not_ready(
                    "the stack did not stay ready while it was tested",
                    services.join("; "),
                ));
            }
            Readiness::Failed { service, container, why } => {
                let how = "failed while it was tested";
                return Err(service_failed(self.parts, &service, container, why, how).await);
            }
        }
        match observed.iter().find(|container| self.lives.get(&container.id) != Some(&container.restarts)) {
            None => Ok(()),
            Some(again) => {
                let why = "it ended and was started again".to_owned();
                let container = Some(again.id.clone());
                let how = "failed while it was tested";
                Err(service_failed(self.parts, &again.service, container, why, how).await)
            }
        }
    }
}

/// Which containers there are, and how often each was started again.
type Lives = BTreeMap<String, i64>;

fn lives(observed: &[ObservedContainer]) -> Lives {
    observed.iter().map(|container| (container.id.clone(), container.restarts)).collect()
}

/// Returns the name of the network that joins every service and the test.
pub fn test_network(compiled: &CompiledStack) -> String {
    format!("{}-{TEST_NETWORK}", compiled.project)
}

/// Makes the networks and probes each; nothing else is on them yet.
async fn close(parts: &StackParts<'_>, compiled: &CompiledStack, log: &JobLog) -> Outcome<ClosedWorld> {
    let mut networks = Vec::new();
    for name in &compiled.networks {
        networks.push(parts.engine.create_closed_network(name, parts.labels).await?);
    }
    let progress = Progress::default();
    let measured =
        beating_with(log, "probing the networks", &progress, closed_world::measure(parts, &networks)).await?;
    for network in &measured.networks {
        let (held, all) = (network.held(), network.checks.len());
        log.line(format!("network {}  {held} of {all} checks held", network.network));
    }
    if measured.holds() {
        log.line("closed  no network of the stack reaches the host or the world");
        return Ok(measured);
    }
    Err(not_closed(&measured))
}

fn not_closed(measured: &ClosedWorld) -> Failure {
    let failure = Failure::system("cannot start the stack: its networks are not closed");
    measured
        .failures()
        .into_iter()
        .fold(failure, Failure::because)
        .hint("for the runner's administrator: something on this host leads packets of internal networks on; see its firewall rules and the engine's version")
        .note("runner problem, not your script")
}

async fn wait_until_ready(parts: &StackParts<'_>, compiled: &CompiledStack, log: &JobLog) -> Outcome<Lives> {
    let empty = parts.work_dir.join("compose");
    std::fs::create_dir_all(&empty)
        .map_err(|e| Failure::system(format!("cannot create `{}`", empty.display())).because(e))?;
    let progress = Progress::default();
    let starting = async {
        let mut up = std::pin::pin!(parts.compose.up(&compiled.project, &compiled.json, &empty));
        let mut started: Option<Result<(), ToolError>> = None;
        let deadline = Instant::now() + parts.ready_timeout;
        let mut ready_since: Option<(Instant, Lives)> = None;
        loop {
            if started.is_none() {
                // Compose waits for conditions between services, so the services are looked at meanwhile.
                tokio::select! {
                    ended = &mut up => started = Some(ended),
                    () = tokio::time::sleep(POLL) => {}
                }
            } else {
                tokio::time::sleep(POLL).await;
            }
            let observed = parts.engine.observe_project(&compiled.project).await?;
            let waiting = match readiness(compiled, &observed) {
                Readiness::Failed { service, container, why } => {
                    return Err(service_failed(parts, &service, container, why, "did not become ready").await);
                }
                Readiness::Ready => {
                    let lives = lives(&observed);
                    let (since, same) = ready_since.get_or_insert_with(|| (Instant::now(), lives.clone()));
                    if *same != lives {
                        (*since, *same) = (Instant::now(), lives);
                    } else if matches!(started, Some(Ok(()))) && since.elapsed() >= SETTLE {
                        return Ok(lives);
                    }
                    let why =
                        if started.is_none() { "but Compose has not ended" } else { "and must stay so" };
                    vec![format!("every service looks ready, {why}")]
                }
                Readiness::Waiting(services) => {
                    ready_since = None;
                    services
                }
            };
            if let Some(Err(error)) = &started {
                return Err(compose_failed(error));
            }
            if Instant::now() >= deadline {
                return Err(too_late(parts, compiled, &observed, waiting).await);
            }
            progress.set(waiting.join("; "));
        }
    };
    beating_with(log, "waiting for the services", &progress, starting).await
}

/// Removes everything of a stack, never stopping at an error.
pub async fn down(engine: &Engine, project: &str) -> Outcome<()> {
    let mut left = Vec::new();
    // Compose's own label first: it is on the containers that hold volumes and networks.
    for label in [COMPOSE_LABEL, STACK_LABEL] {
        let report = engine.remove_by_label(label, project).await;
        left.extend(report.failures.into_iter().map(|(_, error)| error.to_string()));
    }
    if left.is_empty() {
        return Ok(());
    }
    let failure = Failure::system(format!("cannot remove all of the stack `{project}`"));
    Err(left
        .iter()
        .fold(failure, |failure, item| failure.because(item))
        .hint("for the runner's administrator: `airlock host sweep` removes it once the cause is gone"))
}

fn not_ready(what: impl Into<String>, why: impl std::fmt::Display) -> Failure {
    Failure::job(EXIT_TESTS_FAILED, what).because(why).note("this is your job's result; nothing is promoted")
}

async fn service_failed(
    parts: &StackParts<'_>,
    service: &str,
    container: Option<String>,
    why: String,
    how: &str,
) -> Failure {
    let why = why.lines().take(LAST_LINES).map(cut).collect::<Vec<_>>().join("\n");
    let mut failure = not_ready(format!("the service `{}` {how}", printable(service)), why);
    if let Some(words) = last_words(parts, container).await {
        failure = failure.because(words);
    }
    failure.hint("the service's whole log is in `.airlock/hub/logs/`, with its health history beside it")
}

async fn last_words(parts: &StackParts<'_>, container: Option<String>) -> Option<String> {
    let container = container?.parse().ok()?;
    let log = parts.engine.last_log_lines(&container, LAST_LINES, LAST_BYTES).await.ok()?;
    let text = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = text.lines().collect();
    let lines: Vec<String> = lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|l| cut(l)).collect();
    if lines.is_empty() {
        Some("it wrote no log".into())
    } else {
        Some(format!("its last words:\n{}", lines.join("\n")))
    }
}

/// A line as it may stand in a job's log, cut where it is longer than anyone reads.
fn cut(line: &str) -> String {
    let line = printable(line);
    match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

async fn too_late(
    parts: &StackParts<'_>,
    compiled: &CompiledStack,
    observed: &[ObservedContainer],
    services: Vec<String>,
) -> Failure {
    let failure = not_ready(
        format!("the stack did not become ready in {} s", parts.ready_timeout.as_secs()),
        services.join("; "),
    );
    let late = observed.iter().find(|container| {
        let alone = CompiledStack {
            services: compiled
                .services
                .iter()
                .filter(|(name, _)| **name == container.service)
                .map(|(name, service)| (name.clone(), service.clone()))
                .collect(),
            ..compiled.clone()
        };
        readiness(&alone, observed) != Readiness::Ready
    });
    let failure = match late {
        Some(container) => {
            let health = container.health_history.last().map(|entry| {
                let output = cut(entry.output.trim());
                format!(
                    "last health check of `{}` ended with {}: {output}",
                    container.service, entry.exit_code
                )
            });
            let failure = health.into_iter().fold(failure, Failure::because);
            last_words(parts, Some(container.id.clone())).await.into_iter().fold(failure, Failure::because)
        }
        None => failure,
    };
    failure.hint("raise `ready_timeout_s` in `airlock-hub.toml` if the services only need longer; their logs are in `.airlock/hub/logs/`")
}

fn compose_failed(error: &ToolError) -> Failure {
    match error {
        ToolError::Failed { stderr, .. } => not_ready("the stack cannot be started", stderr.trim())
            .hint("Compose's own words are above; the compiled file is in `.airlock/hub/compose.json`"),
        error => Failure::system("cannot start the stack").because_of(error).hint(
            "for the runner's administrator: `engine.compose` in the host settings names Docker Compose 2.20 or later",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::closed_world::{ForbiddenTarget, NetworkReport, Way};

    #[test]
    fn a_network_that_is_not_closed_is_named_with_its_addresses() {
        let target = |address: &str, whose, way| ForbiddenTarget { address: address.into(), whose, way };
        let targets = [
            target("172.20.0.1:22", "the network's gateway", Way::Connect),
            target("10.0.0.53", "the host's name server", Way::Ask),
            target("203.0.113.1:80", "an outside address", Way::Connect),
        ];
        let answer = "network-probe 2\naddress ipv6 none\nlink neighbours there\nconnect 172.20.0.1:22 refused\n\
            ask 127.0.0.11 silent\nask 10.0.0.53 answered\ncomplete\n";
        let report = NetworkReport::parse("airlock-9-default", answer.as_bytes(), &targets);
        insta::assert_snapshot!(not_closed(&ClosedWorld { networks: vec![report] }));
    }
}
