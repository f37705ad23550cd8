//! A stack on a real engine, described as the compiler writes it, and its removal whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use airlock::compose::{CompiledService, CompiledStack, DependencyCondition, TEST_NETWORK};
use airlock::domain::digest::Digest;
use airlock::domain::sandbox::{SandboxUser, SeccompProfile};
use airlock::engine::{Engine, Labels};
use airlock::hub::stack::{STACK_LABEL, StackParts};
use airlock::job_log::{JobLog, LogStyle};
use airlock::tools::compose::Compose;
use serde_json::{Value, json};

pub const SOCKET: &str = "unix:///var/run/docker.sock";
pub const LABEL: &str = "airlock.test";

/// Returns an image that `scripts/bootstrap` made.
pub async fn image(engine: &Engine, key: &str) -> Digest {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/airlock-images.env");
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|e| panic!("`{path}` cannot be read ({e}): run scripts/bootstrap first"));
    let pinned = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("`{path}` has no {key}: run scripts/bootstrap again"))
        .parse()
        .unwrap();
    engine.resolve_image(&pinned, None, &mut |_| {}).await.unwrap().id
}

/// The host's Compose, unpacked by `scripts/bootstrap`.
pub fn compose_program() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/tools/compose/usr/libexec/docker/cli-plugins/docker-compose"
    ))
}

/// One service of a test's stack.
pub struct Service {
    pub name: &'static str,
    pub command: &'static str,
    pub health: Option<&'static str>,
    pub one_shot: bool,
    pub restart: &'static str,
    pub after: Vec<(&'static str, DependencyCondition)>,
}

impl Service {
    pub fn new(name: &'static str, command: &'static str) -> Self {
        Self { name, command, health: None, one_shot: false, restart: "no", after: Vec::new() }
    }

    pub fn health(mut self, test: &'static str) -> Self {
        self.health = Some(test);
        self
    }

    pub fn one_shot(mut self) -> Self {
        self.one_shot = true;
        self
    }

    pub fn restart(mut self, policy: &'static str) -> Self {
        self.restart = policy;
        self
    }

    pub fn after(mut self, name: &'static str, condition: DependencyCondition) -> Self {
        self.after.push((name, condition));
        self
    }
}

pub struct Bench {
    pub engine: Engine,
    pub compose: Compose,
    pub helper: Digest,
    pub python: Digest,
    pub name: String,
    pub labels: Labels,
    pub directory: tempfile::TempDir,
    pub log: JobLog,
}

impl Bench {
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::running(format!("airlock-hubtest-{}-{number}", std::process::id())).await
    }

    /// A bench of a given name, ready to bring up a stack.
    pub async fn running(name: String) -> Self {
        let bench = Self::named(name).await;
        let tools = format!("{}-tools", bench.name);
        bench.engine.create_tools_volume(&tools, &bench.helper, &bench.labels).await.unwrap();
        bench
    }

    /// A bench that only looks at, and at its end removes, what carries the name.
    pub async fn named(name: String) -> Self {
        let engine = Engine::connect(SOCKET).await.unwrap();
        let labels =
            BTreeMap::from([(LABEL.to_owned(), name.clone()), (STACK_LABEL.to_owned(), name.clone())]);
        let (helper, python) = (image(&engine, "HELPER").await, image(&engine, "PYTHON").await);
        Self {
            compose: Compose::open(compose_program(), SOCKET).await.unwrap(),
            engine,
            helper,
            python,
            name,
            labels,
            directory: tempfile::tempdir().unwrap(),
            log: JobLog::new(Box::new(std::io::stdout()), LogStyle::Terminal),
        }
    }

    pub fn parts(&self) -> StackParts<'_> {
        StackParts {
            engine: &self.engine,
            compose: &self.compose,
            helper: self.helper.clone(),
            user: SandboxUser::new(1000, 1000).unwrap(),
            tools_volume: format!("{}-tools", self.name),
            seccomp: SeccompProfile::shipped(),
            key: &self.name,
            labels: &self.labels,
            ready_timeout: Duration::from_secs(40),
            work_dir: self.directory.path(),
        }
    }

    /// The services, all on the networks `default` and the test's.
    pub fn stack(&self, services: &[Service]) -> CompiledStack {
        let networks: BTreeSet<String> =
            ["default", TEST_NETWORK].map(|network| format!("{}-{network}", self.name)).into();
        let mut file = json!({"name": self.name, "services": {}, "networks": {}});
        for network in ["default", TEST_NETWORK] {
            file["networks"][network] = json!({"external": true, "name": format!("{}-{network}", self.name)});
        }
        let mut compiled = BTreeMap::new();
        for service in services {
            let mut entry = json!({
                "image": self.python.as_str(),
                "pull_policy": "never",
                // A `$` would be Compose's own once more.
                "entrypoint": ["sh", "-c", service.command.replace('$', "$$")],
                "networks": {"default": {}, TEST_NETWORK: {"aliases": [service.name]}},
                "dns": ["192.0.2.1"],
                "labels": self.labels,
                "stop_grace_period": "1s",
                "restart": service.restart,
                "logging": {"driver": "json-file", "options": {"max-size": "1m", "max-file": "1"}},
            });
            if let Some(test) = service.health {
                entry["healthcheck"] =
                    json!({"test": ["CMD-SHELL", test], "interval": "1s", "timeout": "2s", "retries": 3});
            }
            let mut depends_on = BTreeMap::new();
            for (name, condition) in &service.after {
                let word = match condition {
                    DependencyCondition::Started => "service_started",
                    DependencyCondition::Healthy => "service_healthy",
                    DependencyCondition::CompletedSuccessfully => "service_completed_successfully",
                };
                entry["depends_on"][*name] = json!({"condition": word, "required": true});
                depends_on.insert((*name).to_owned(), *condition);
            }
            file["services"][service.name] = entry;
            let has_health_check = service.health.is_some();
            compiled.insert(
                service.name.to_owned(),
                CompiledService {
                    image: self.python.clone(),
                    has_health_check,
                    runs_to_completion: service.one_shot,
                    depends_on,
                    replicas: 1,
                },
            );
        }
        let json: Value = file;
        CompiledStack {
            json: serde_json::to_vec(&json).unwrap(),
            project: self.name.clone(),
            services: compiled,
            networks,
        }
    }

    /// What is left in the engine under this bench's name.
    pub async fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for label in [STACK_LABEL, "com.docker.compose.project"] {
            let found = self.engine.list_by_label(label, Some(&self.name)).await.unwrap();
            left.extend(found.into_iter().map(|thing| format!("{} {}", thing.kind, thing.name)));
        }
        left.retain(|thing| !thing.ends_with("-tools"));
        left
    }

    /// A text without what differs from run to run.
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.name, "<stack>")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let name = self.name.clone();
        std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let engine = Engine::connect(SOCKET).await.unwrap();
                for label in ["com.docker.compose.project", LABEL] {
                    let report = engine.remove_by_label(label, &name).await;
                    assert!(report.failures.is_empty(), "{:?}", report.failures);
                }
            });
        })
        .join()
        .unwrap();
    }
}
