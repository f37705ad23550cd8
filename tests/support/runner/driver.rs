//! One call of the driver: own process group, empty stdin, SIGTERM then SIGKILL to the group (contract §1.3–§1.6).

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::CallEnd;
use super::job_log::LogStream;

/// How often a running call is looked at.
const POLL: Duration = Duration::from_millis(5);

/// What is started.
pub struct Invocation<'a> {
    pub program: &'a Path,
    pub arguments: &'a [String],
    pub environment: &'a BTreeMap<String, String>,
    pub directory: &'a Path,
    pub graceful_kill_timeout: Duration,
    pub force_kill_timeout: Duration,
}

/// What a poll of the running call decides.
pub enum Verdict {
    GoOn,
    /// SIGTERM to the group, SIGKILL after the graceful timeout.
    Stop,
    /// SIGKILL to the driver's process alone, as a crash would.
    Crash,
}

/// What a call left.
pub struct Ended {
    pub end: CallEnd,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs the call to its end; as in Go, the end is when the process ended and both pipes closed.
pub fn call(
    invocation: &Invocation<'_>,
    stdout: Option<LogStream>,
    stderr: Option<LogStream>,
    mut poll: impl FnMut() -> Verdict,
) -> Ended {
    let spawned = Command::new(invocation.program)
        .args(invocation.arguments)
        .env_clear()
        .envs(invocation.environment)
        .current_dir(invocation.directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            return Ended { end: CallEnd::NotStarted(error.to_string()), stdout: vec![], stderr: vec![] };
        }
    };
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid is not zero");
    let out = Arc::new(Mutex::new(Vec::new()));
    let err = Arc::new(Mutex::new(Vec::new()));
    let copies = [
        copy(child.stdout.take().expect("stdout is a pipe"), Arc::clone(&out), stdout),
        copy(child.stderr.take().expect("stderr is a pipe"), Arc::clone(&err), stderr),
    ];
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let status = child.wait().expect("wait for the driver");
        for copy in copies {
            let _ = copy.join();
        }
        let _ = done.send(status);
    });
    let end = supervise(invocation, pid, &ended, &mut poll);
    let taken = |buffer: &Mutex<Vec<u8>>| buffer.lock().expect("no copier panicked").clone();
    Ended { end, stdout: taken(&out), stderr: taken(&err) }
}

fn supervise(
    invocation: &Invocation<'_>,
    pid: Pid,
    ended: &mpsc::Receiver<ExitStatus>,
    poll: &mut impl FnMut() -> Verdict,
) -> CallEnd {
    let mut stopping: Option<Instant> = None;
    let mut killed: Option<Instant> = None;
    loop {
        match ended.recv_timeout(POLL) {
            Ok(status) => return end_of(status),
            Err(RecvTimeoutError::Disconnected) => panic!("the thread that waits for the driver is gone"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // A signal to a group that is gone already fails, and that is no news.
        match (stopping, killed) {
            (None, _) => match poll() {
                Verdict::GoOn => {}
                Verdict::Stop => {
                    let _ = kill_process_group(pid, Signal::TERM);
                    stopping = Some(Instant::now());
                }
                Verdict::Crash => {
                    let _ = kill_process(pid, Signal::KILL);
                }
            },
            (Some(since), None) if since.elapsed() >= invocation.graceful_kill_timeout => {
                let _ = kill_process_group(pid, Signal::KILL);
                killed = Some(Instant::now());
            }
            (Some(_), Some(since)) if since.elapsed() >= invocation.force_kill_timeout => {
                return CallEnd::Abandoned(pid.as_raw_nonzero().get());
            }
            (Some(_), _) => {}
        }
    }
}

fn end_of(status: ExitStatus) -> CallEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => CallEnd::Exited(code),
        (None, signal) => CallEnd::Signaled(signal.unwrap_or_default()),
    }
}

fn copy(
    mut pipe: impl Read + Send + 'static,
    buffer: Arc<Mutex<Vec<u8>>>,
    mut log: Option<LogStream>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut chunk = [0; 32 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            buffer.lock().expect("no reader of the buffer panicked").extend_from_slice(&chunk[..length]);
            if let Some(log) = &mut log {
                log.write(&chunk[..length]);
            }
        }
        if let Some(log) = &mut log {
            log.flush();
        }
    })
}
