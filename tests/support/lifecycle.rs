//! What tests of a job's life need beside the runner: one stage by hand, what a job left, an engine that stalls.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use airlock::domain::digest::Digest;

use super::gitlab::JobPayload;
use super::staging::{AIRLOCK, Host, redact, text};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Returns the key under which everything of one of the host's jobs is found.
pub fn key_of(host: &Host, job: u64) -> String {
    format!("{job}-{}", Digest::of(format!("{}\n", host.gitlab.url()).as_bytes()).short())
}

/// Runs the docker client and returns its output's lines.
pub fn docker(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(arguments).output().expect("the docker client");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Returns all that carries the job's key in the engine: containers, volumes, networks, build tags.
pub fn left(key: &str) -> Vec<String> {
    let label = format!("label=airlock.job={key}");
    let tags = format!("airlock-build/{key}");
    let mut left = Vec::new();
    for (kind, arguments) in [
        ("container", ["ps", "--all", "--filter", &label, "--format", "{{.Names}}"].as_slice()),
        ("volume", &["volume", "ls", "--filter", &label, "--format", "{{.Name}}"]),
        ("network", &["network", "ls", "--filter", &label, "--format", "{{.Name}}"]),
        ("image", &["images", &tags, "--format", "{{.Repository}}:{{.Tag}}"]),
    ] {
        left.extend(
            docker(arguments).into_iter().map(|name| format!("{kind} {}", name.replace(key, "<job>"))),
        );
    }
    left.sort();
    left
}

/// Fails when one of the host's jobs left anything in the engine or in the state directory.
pub fn assert_nothing_left(host: &Host, job: u64) {
    let key = key_of(host, job);
    assert_eq!(left(&key), Vec::<String>::new());
    assert!(!host.jobs_in_state().contains(&key), "state of {key}");
}

/// Replaces what differs from run to run, job keys and container ids included.
pub fn said(text: &str) -> String {
    let text = redact(text);
    let more = [
        (r"\b[0-9]+-[0-9a-f]{12}\b", "<job>"),
        (r"\b[0-9a-f]{64}\b", "<container>"),
        (r"`[0-9a-f]{12}`", "`<container>`"),
        (r"sandbox [0-9a-f]{12}", "sandbox <container>"),
        (r"custom-executor[A-Za-z0-9]+", "custom-executor<attempt>"),
    ];
    more.iter().fold(text, |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    })
}

/// Waits until `ready` says so; fails after a long time.
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One attempt's files, for stages that a test calls by hand.
pub struct Stages<'a> {
    settings: &'a Path,
    directory: tempfile::TempDir,
}

impl<'a> Stages<'a> {
    /// Writes the files as GitLab Runner would.
    pub fn new(host: &'a Host, job: &JobPayload) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("response.json"), job.document().to_string()).expect("a file");
        Self { settings: &host.settings, directory }
    }

    /// Returns the file in which a stage leaves the job's exit code.
    pub fn code_file(&self) -> PathBuf {
        self.directory.path().join("build_exit_code")
    }

    /// Returns the job's exit code as the last stage left it.
    pub fn code(&self) -> Option<String> {
        fs::read_to_string(self.code_file()).ok().map(|text| text.trim().to_owned())
    }

    /// Calls one stage; `more` comes last in the environment.
    pub fn call(&self, words: &[&str], more: &[(&str, &str)]) -> Output {
        let response = self.directory.path().join("response.json");
        let mut environment = BTreeMap::from([
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("BUILD_FAILURE_EXIT_CODE", "1"),
            ("SYSTEM_FAILURE_EXIT_CODE", "2"),
            ("JOB_RESPONSE_FILE", text(&response)),
        ]);
        let code_file = self.code_file();
        environment.insert("BUILD_EXIT_CODE_FILE", text(&code_file));
        environment.extend(more.iter().copied());
        let mut command = Command::new(AIRLOCK);
        command.args(["executor", words[0], "--settings", text(self.settings)]).args(&words[1..]);
        command.env_clear().envs(environment).current_dir(self.directory.path());
        command.output().expect("the built binary runs")
    }

    /// Calls `run` with a script of this text.
    pub fn run(&self, phase: &str, script: &str) -> Output {
        let file = self.directory.path().join("script");
        fs::write(&file, script).expect("a file");
        self.call(&["run", text(&file), phase], &[])
    }
}

impl Drop for Stages<'_> {
    fn drop(&mut self) {
        // What a failed test leaves would stay for hours.
        if std::thread::panicking() {
            self.call(&["cleanup"], &[]);
        }
    }
}

/// Returns an output's exit code and both its streams as one text.
pub fn shown(output: &Output) -> String {
    format!(
        "exit {}\n{}{}",
        output.status.code().map_or("by signal".to_owned(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What becomes of a request that an [`EngineProxy`] was told to catch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// Each such request ends with a closed connection.
    HangUp,
    /// The first one gets no answer until [`EngineProxy::release`].
    Stall,
}

/// A socket before the engine's own that catches requests with a certain text.
pub struct EngineProxy {
    /// As in the host settings.
    pub socket: String,
    pub caught: Arc<AtomicUsize>,
    released: Arc<(Mutex<bool>, Condvar)>,
    stop: Arc<AtomicBool>,
    path: PathBuf,
}

impl EngineProxy {
    pub fn start(path: &Path, needle: &str, becomes: Caught) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        let proxy = Self {
            socket: format!("unix://{}", path.display()),
            caught: Arc::default(),
            released: Arc::default(),
            stop: Arc::default(),
            path: path.to_owned(),
        };
        let (caught, released, stop) = (proxy.caught.clone(), proxy.released.clone(), proxy.stop.clone());
        let needle = needle.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (needle, caught, released) = (needle.clone(), caught.clone(), released.clone());
                // Either side may hang up at any time.
                std::thread::spawn(move || pass(client, &needle, becomes, &caught, &released).ok());
            }
        });
        proxy
    }

    /// Returns whether a request was caught.
    pub fn has_caught(&self) -> bool {
        self.caught.load(Ordering::SeqCst) > 0
    }

    /// Lets the request that is held go, without an answer.
    pub fn release(&self) {
        *self.released.0.lock().expect("not poisoned") = true;
        self.released.1.notify_all();
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        self.release();
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
    }
}

fn pass(
    client: UnixStream,
    needle: &str,
    becomes: Caught,
    caught: &AtomicUsize,
    released: &(Mutex<bool>, Condvar),
) -> std::io::Result<()> {
    let engine = UnixStream::connect("/var/run/docker.sock")?;
    let (mut answers, mut to_client) = (engine.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut to_client);
        let _ = to_client.shutdown(std::net::Shutdown::Write);
    });
    let (mut client, mut engine) = (client, engine);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut chunk)?;
        if length == 0 {
            return engine.shutdown(std::net::Shutdown::Write);
        }
        let hit = chunk[..length].windows(needle.len()).any(|window| window == needle.as_bytes());
        if hit && (becomes == Caught::HangUp || caught.load(Ordering::SeqCst) == 0) {
            caught.fetch_add(1, Ordering::SeqCst);
            if becomes == Caught::Stall {
                let held = released.0.lock().expect("not poisoned");
                drop(released.1.wait_while(held, |released| !*released));
            }
            let _ = engine.shutdown(std::net::Shutdown::Both);
            return client.shutdown(std::net::Shutdown::Both);
        }
        engine.write_all(&chunk[..length])?;
    }
}
