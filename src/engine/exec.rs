//! Execution in a running container: script on standard input, output as it comes, exit code.
//!
//! The end of an exec is the end of its main process. A background child that keeps standard output
//! open is not waited for: it is ended like every other leftover.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::processes::STEP_GRACE;
use super::{ContainerId, Engine, EngineError};
use crate::domain::sandbox::{SandboxUser, TOOLS_BUSYBOX};

/// Starts a command with the fixed umask (`executor-config/helper-image/rootfs/opt/airlock/exec`).
const EXEC_WRAPPER: &str = "/.airlock/exec";
/// How long the engine may take to start a command that it has accepted.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How often the engine is asked whether the main process still runs.
const POLL: Duration = Duration::from_millis(400);
/// How long output may still arrive after the main process ended.
const DRAIN: Duration = Duration::from_millis(300);
/// How long output may still arrive after everything that could write was killed.
const LAST_DRAIN: Duration = Duration::from_secs(3);

/// Which of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What a command reads.
pub enum ExecInput {
    /// Nothing: standard input is `/dev/null`.
    Nothing,
    Bytes(Bytes),
    Reader(Box<dyn AsyncRead + Send + Unpin>),
}

/// A command, its user and its environment on top of the sandbox's.
pub struct ExecRequest {
    /// A program without `/` is looked up in `PATH`; 127 when there is none.
    pub argv: Vec<String>,
    pub stdin: ExecInput,
    pub user: SandboxUser,
    /// An absolute path, `/` when absent.
    pub workdir: Option<String>,
    pub env: BTreeMap<String, String>,
}

impl ExecRequest {
    /// Creates a request for `argv` without input, working directory and further variables.
    pub fn new(user: SandboxUser, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: ExecInput::Nothing,
            user,
            workdir: None,
            env: BTreeMap::new(),
        }
    }

    /// Sets the input.
    pub fn stdin(mut self, stdin: ExecInput) -> Self {
        self.stdin = stdin;
        self
    }

    /// Sets the working directory.
    pub fn workdir(mut self, directory: impl Into<String>) -> Self {
        self.workdir = Some(directory.into());
        self
    }

    /// Adds a variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }
}

pub(super) type Output = Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, Error>> + Send>>;
pub(super) type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// An exec that was started and is attached.
pub(super) struct Attached {
    pub(super) id: String,
    pub(super) output: Output,
    pub(super) input: Input,
}

/// How the main process of an exec is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExecState {
    NotStarted,
    Running,
    Ended,
}

impl ExecState {
    /// The engine attaches before it starts the process: until then it runs as little as after its end,
    /// and only the exit code tells the two apart.
    fn of(running: Option<bool>, exit_code: Option<i64>) -> Self {
        match (running, exit_code) {
            (Some(true), _) => Self::Running,
            (_, Some(_)) => Self::Ended,
            (_, None) => Self::NotStarted,
        }
    }
}

enum End {
    /// Both streams are closed and the main process has ended.
    Closed,
    /// The main process has ended and somebody still holds a stream.
    Held,
}

impl Engine {
    /// Executes a command and returns its exit code.
    ///
    /// Dropping the future leaves the processes running: call [`Engine::kill_processes`] then.
    pub async fn exec(
        &self,
        container: &ContainerId,
        request: ExecRequest,
        output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<u8, EngineError> {
        let user = request.user;
        let ExecRequest { stdin, .. } = &request;
        let has_input = !matches!(stdin, ExecInput::Nothing);
        let mut attached = self.attach(container, &request, has_input).await?;
        if let End::Held = self.pump(&mut attached, request.stdin, output).await? {
            self.kill_processes(container, user, STEP_GRACE).await?;
            let rest = async {
                while let Some(Ok(chunk)) = attached.output.next().await {
                    pass_on(chunk, output);
                }
            };
            // Somebody outside the user's reach may hold it still; the end of the step stands.
            let _ = timeout(LAST_DRAIN, rest).await;
        }
        self.exit_code(&attached.id).await
    }

    pub(super) async fn attach(
        &self,
        container: &ContainerId,
        request: &ExecRequest,
        attach_stdin: bool,
    ) -> Result<Attached, EngineError> {
        let program = request.argv.first().map_or("nothing", String::as_str);
        let what = format!("execute `{}` in the container", program.chars().take(80).collect::<String>());
        let mut argv = vec![TOOLS_BUSYBOX.to_owned(), "sh".to_owned(), EXEC_WRAPPER.to_owned()];
        argv.extend(request.argv.iter().cloned());
        let options = CreateExecOptions {
            attach_stdin: Some(attach_stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            env: Some(request.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            cmd: Some(argv),
            privileged: Some(false),
            user: Some(request.user.to_string()),
            working_dir: Some(request.workdir.clone().unwrap_or_else(|| "/".to_owned())),
            ..CreateExecOptions::<String>::default()
        };
        let failed = |e| EngineError::from_bollard(what.clone(), e);
        let id = self.docker.create_exec(container.as_str(), options).await.map_err(failed)?.id;
        let start = StartExecOptions { output_capacity: Some(64 * 1024), ..StartExecOptions::default() };
        match self.docker.start_exec(&id, Some(start)).await.map_err(failed)? {
            StartExecResults::Attached { output, input } => Ok(Attached { id, output, input }),
            StartExecResults::Detached => {
                Err(EngineError::Malformed { what, why: "it did not attach".to_owned() })
            }
        }
    }

    async fn pump(
        &self,
        attached: &mut Attached,
        stdin: ExecInput,
        output: &mut (dyn FnMut(Stream, &[u8]) + Send),
    ) -> Result<End, EngineError> {
        let input = &mut attached.input;
        let mut feed = std::pin::pin!(async move {
            match stdin {
                ExecInput::Nothing => return Ok(()),
                // A command may end without having read everything: no error.
                ExecInput::Bytes(bytes) => drop(input.write_all(&bytes).await),
                ExecInput::Reader(mut reader) => feed_from(&mut reader, input).await?,
            }
            drop(input.shutdown().await);
            Ok::<(), EngineError>(())
        });
        let mut feeding = true;
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended: Option<Instant> = None;
        let mut open = true;
        let accepted = Instant::now();
        loop {
            tokio::select! {
                fed = &mut feed, if feeding => {
                    feeding = false;
                    fed?;
                }
                chunk = attached.output.next(), if open => match chunk {
                    Some(Ok(chunk)) => pass_on(chunk, output),
                    Some(Err(e)) => return Err(EngineError::from_bollard("read a command's output", e)),
                    None => {
                        open = false;
                        poll.reset_immediately();
                    }
                },
                _ = poll.tick(), if ended.is_none() => {
                    let over = match self.exec_state(&attached.id).await? {
                        ExecState::NotStarted => accepted.elapsed() > START_PATIENCE,
                        ExecState::Running => false,
                        ExecState::Ended => true,
                    };
                    if over {
                        if !open {
                            return Ok(End::Closed);
                        }
                        ended = Some(Instant::now());
                    }
                }
                () = sleep(DRAIN), if ended.is_some() => {
                    return Ok(if open { End::Held } else { End::Closed });
                }
            }
            if !open && ended.is_some() {
                return Ok(End::Closed);
            }
            // Something that writes without a pause must not put the end off.
            if ended.is_some_and(|at| at.elapsed() > LAST_DRAIN) {
                return Ok(End::Held);
            }
        }
    }

    pub(super) async fn exec_runs(&self, id: &str) -> Result<bool, EngineError> {
        Ok(self.exec_state(id).await? != ExecState::Ended)
    }

    async fn exec_state(&self, id: &str) -> Result<ExecState, EngineError> {
        let state = self
            .docker
            .inspect_exec(id)
            .await
            .map_err(|e| EngineError::from_bollard("ask how a command is doing", e))?;
        Ok(ExecState::of(state.running, state.exit_code))
    }

    pub(super) async fn exit_code(&self, id: &str) -> Result<u8, EngineError> {
        let what = "ask for a command's exit code";
        let state = self.docker.inspect_exec(id).await.map_err(|e| EngineError::from_bollard(what, e))?;
        state.exit_code.and_then(|code| u8::try_from(code).ok()).ok_or_else(|| EngineError::Malformed {
            what: what.to_owned(),
            why: format!("exit code {:?}, running {:?}", state.exit_code, state.running),
        })
    }
}

async fn feed_from(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    input: &mut Input,
) -> Result<(), EngineError> {
    use tokio::io::AsyncReadExt;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = reader.read(&mut buffer).await.map_err(|source| EngineError::Io {
            what: "read what a command is to be given".to_owned(),
            source,
        })?;
        if n == 0 || input.write_all(&buffer[..n]).await.is_err() {
            return Ok(());
        }
    }
}

fn pass_on(chunk: LogOutput, output: &mut (dyn FnMut(Stream, &[u8]) + Send)) {
    match chunk {
        LogOutput::StdErr { message } => output(Stream::Stderr, &message),
        LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
            output(Stream::Stdout, &message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_not_started_yet_has_not_ended() {
        assert!(ExecState::of(Some(false), None) == ExecState::NotStarted);
        assert!(ExecState::of(Some(true), None) == ExecState::Running);
        assert!(ExecState::of(Some(false), Some(0)) == ExecState::Ended);
    }
}
