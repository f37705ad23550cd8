//! One sealed container on a real engine, and its removal whatever happens.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use airlock::domain::image::PinnedImage;
use airlock::domain::sandbox::{
    Access, Limits, Sandbox, SandboxNetwork, SandboxSpec, SandboxUser, SeccompProfile, VolumeMount,
};
use airlock::engine::{ContainerId, Engine, ExecInput, ExecRequest, Labels, ResolvedImage, Stream};

pub const MIB: u64 = 1024 * 1024;
pub const SOCKET: &str = "unix:///var/run/docker.sock";
pub const LABEL: &str = "airlock.test";

pub fn image(key: &str) -> PinnedImage {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/airlock-images.env");
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|e| panic!("`{path}` cannot be read ({e}): run scripts/bootstrap first"));
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("`{path}` has no {key}: run scripts/bootstrap again"))
        .parse()
        .unwrap()
}

pub fn user() -> SandboxUser {
    SandboxUser::new(1000, 1000).unwrap()
}

pub struct Bench {
    pub engine: Engine,
    pub helper: ResolvedImage,
    pub name: String,
    pub sandbox: Sandbox,
    pub container: ContainerId,
}

pub struct Answer {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    pub fn labels(name: &str) -> Labels {
        BTreeMap::from([(LABEL.to_owned(), name.to_owned())])
    }

    pub fn fresh_name() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("airlock-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A running sealed container of the image `key`, changed by `change` before it is sealed.
    pub async fn new(key: &str, change: impl FnOnce(&mut SandboxSpec)) -> Self {
        let engine = Engine::connect(SOCKET).await.unwrap();
        let helper = engine.resolve_image(&image("HELPER"), None, &mut |_| {}).await.unwrap();
        let job = engine.resolve_image(&image(key), None, &mut |_| {}).await.unwrap();
        let name = Self::fresh_name();
        let labels = Self::labels(&name);
        let (tools, workspace) = (format!("{name}-tools"), format!("{name}-workspace"));
        engine.create_tools_volume(&tools, &helper.id, &labels).await.unwrap();
        engine.create_workspace_volume(&workspace, 16 * MIB, user(), &labels).await.unwrap();
        let mut spec = SandboxSpec {
            image: job.id,
            user: user(),
            network: SandboxNetwork::None,
            tools_volume: tools,
            mounts: vec![VolumeMount {
                volume: workspace,
                target: "/builds".into(),
                access: Access::ReadWrite,
            }],
            limits: Limits {
                memory_bytes: 256 * MIB,
                cpu_millis: 1000,
                pids: 64,
                tmp_bytes: 32 * MIB,
                shm_bytes: 8 * MIB,
                home_bytes: 8 * MIB,
                open_files: 1024,
            },
            seccomp: SeccompProfile::shipped(),
            source_date_epoch: 1_795_342_500,
            env: BTreeMap::new(),
            labels,
        };
        change(&mut spec);
        let sandbox = Sandbox::seal(spec).unwrap();
        let container = engine.create_container(&name, &sandbox).await.unwrap();
        engine.start_container(&container).await.unwrap();
        Self { engine, helper, name, sandbox, container }
    }

    pub async fn sh(&self, script: &str) -> Answer {
        self.run(ExecRequest::new(user(), ["sh", "-c", script])).await
    }

    pub async fn python(&self, script: &str) -> Answer {
        let request =
            ExecRequest::new(user(), ["python3", "-"]).stdin(ExecInput::Bytes(script.to_owned().into()));
        self.run(request).await
    }

    pub async fn run(&self, request: ExecRequest) -> Answer {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = tokio::time::timeout(
            Duration::from_secs(60),
            self.engine.exec(&self.container, request, &mut |stream, bytes| match stream {
                Stream::Stdout => stdout.extend_from_slice(bytes),
                Stream::Stderr => stderr.extend_from_slice(bytes),
            }),
        )
        .await
        .expect("the command ends in time")
        .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Answer { code, stdout: text(&stdout), stderr: text(&stderr) }
    }

    /// Processes of the job's user, zombies left out.
    pub async fn processes(&self) -> usize {
        let answer = self
            .sh("grep -l '^Uid:.1000' /proc/[0-9]*/status 2>/dev/null | xargs grep -L '^State:.Z' 2>/dev/null | wc -l")
            .await;
        // The shell and the pipe's own programs.
        answer.stdout.trim().parse::<usize>().unwrap().saturating_sub(4)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let (engine, name) = (self.engine.clone(), self.name.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                // A connection of its own: the test's runtime is about to end.
                drop(engine);
                let engine = Engine::connect(SOCKET).await.unwrap();
                let report = engine.remove_by_label(LABEL, &name).await;
                assert!(report.failures.is_empty(), "{:?}", report.failures);
            });
        })
        .join()
        .unwrap();
    }
}

/// Distribution's registry on a free port of loopback, empty.
pub struct Registry {
    pub host: String,
    process: std::process::Child,
    _directory: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("registry.yml");
        let data = directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{host}\"}}\n",
            data.display()
        );
        std::fs::write(&settings, text).unwrap();
        let process = std::process::Command::new("docker-registry")
            .arg("serve")
            .arg(&settings)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("docker-registry is there: run scripts/bootstrap first");
        let registry = Self { host, process, _directory: directory };
        for _ in 0..100 {
            if std::net::TcpStream::connect(&registry.host).is_ok() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the registry does not answer at {}", registry.host);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
