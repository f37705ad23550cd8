//! Docker Compose on the host: it only ever reads what Airlock compiled, on standard input.
//!
//! Its working and project directory is empty, and so are its home and Docker configuration: no `.env`
//! file, no credential and no plugin of the host takes part. It never pulls and never builds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{MAX_OUTPUT_BYTES, ToolError, command_at, spawn_error, tail};

const PROGRAM: &str = "docker-compose";
/// The first version that this was tried with.
const NEEDED: (u64, u64) = (2, 20);
const NEEDED_TEXT: &str = "2.20";
/// How long Compose may take to say its version.
const VERSION_PATIENCE: Duration = Duration::from_secs(30);

/// The host's Compose program, known to be recent enough.
#[derive(Debug, Clone)]
pub struct Compose {
    program: PathBuf,
    socket: String,
    version: String,
}

impl Compose {
    /// Looks at the program; `socket` is the engine's, as the host settings name it.
    pub async fn open(program: &Path, socket: &str) -> Result<Self, ToolError> {
        let mut compose =
            Self { program: program.to_owned(), socket: socket.to_owned(), version: String::new() };
        let empty =
            tempfile::tempdir().map_err(|source| ToolError::NotRunnable { program: PROGRAM, source })?;
        let arguments = ["version".to_owned(), "--short".to_owned()];
        let asked = compose.run(empty.path(), &arguments, b"");
        let answer =
            tokio::time::timeout(VERSION_PATIENCE, asked).await.map_err(|_| ToolError::Failed {
                program: PROGRAM,
                what: "version".into(),
                stderr: format!("no answer within {} s", VERSION_PATIENCE.as_secs()),
            })??;
        let text = String::from_utf8_lossy(&answer);
        compose.version = crate::job_log::printable(text.trim().trim_start_matches('v'));
        if numbers(&compose.version).is_none_or(|found| found < NEEDED) {
            return Err(ToolError::TooOld { program: PROGRAM, found: compose.version, needed: NEEDED_TEXT });
        }
        Ok(compose)
    }

    /// Returns the version that the program says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Creates and starts the services of a compiled file in their order; ends when all are started, one
    /// of them failed a condition of another, or the future is dropped.
    pub async fn up(&self, project: &str, compiled: &[u8], empty: &Path) -> Result<(), ToolError> {
        let arguments = [
            "--ansi",
            "never",
            "--progress",
            "quiet",
            "--file",
            "-",
            "--project-name",
            project,
            "--project-directory",
            &empty.display().to_string(),
            "up",
            "--detach",
            "--pull",
            "never",
            "--no-build",
            "--no-color",
        ]
        .map(str::to_owned);
        self.run(empty, &arguments, compiled).await.map(drop)
    }

    async fn run(&self, empty: &Path, arguments: &[String], input: &[u8]) -> Result<Vec<u8>, ToolError> {
        let not_runnable = |source| ToolError::NotRunnable { program: PROGRAM, source };
        let mut command = command_at(&self.program);
        command
            .args(arguments)
            .current_dir(empty)
            .env("HOME", empty)
            .env("DOCKER_CONFIG", empty)
            .env("COMPOSE_DISABLE_ENV_FILE", "1")
            .env("DOCKER_HOST", host(&self.socket))
            .stdin(Stdio::piped());
        let mut child = command.spawn().map_err(|source| spawn_error(PROGRAM, source))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that ended early has more to say on standard error than a closed pipe.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
            Ok(0)
        };
        let read_out = async {
            match stdout {
                Some(stdout) => stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut out).await,
                None => Ok(0),
            }
        };
        let read_err = async {
            match stderr {
                Some(stderr) => stderr.take(MAX_OUTPUT_BYTES).read_to_end(&mut err).await,
                None => Ok(0),
            }
        };
        tokio::try_join!(write, read_out, read_err).map_err(not_runnable)?;
        let status = child.wait().await.map_err(not_runnable)?;
        if status.success() {
            return Ok(out);
        }
        let what = arguments.iter().find(|word| ["up", "version"].contains(&word.as_str())).cloned();
        Err(ToolError::Failed { program: PROGRAM, what: what.unwrap_or_default(), stderr: tail(&err) })
    }
}

/// The engine's address as Docker's own programs take it.
fn host(socket: &str) -> String {
    if socket.contains("://") { socket.to_owned() } else { format!("unix://{socket}") }
}

fn numbers(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(numbers("2.26.1-4"), Some((2, 26)));
        assert!(numbers("2.9.0").is_some_and(|found| found < NEEDED));
        assert!(numbers("1.29.2").is_some_and(|found| found < NEEDED));
        assert_eq!(numbers("dev"), None);
    }

    #[test]
    fn the_engines_address_has_a_scheme() {
        assert_eq!(host("/run/docker.sock"), "unix:///run/docker.sock");
        assert_eq!(host("unix:///run/docker.sock"), "unix:///run/docker.sock");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_or_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let absent = Compose::open(&directory.path().join("absent"), "/run/docker.sock").await;
        assert!(matches!(absent, Err(ToolError::NotFound { .. })));
        let old = directory.path().join("old");
        std::fs::write(&old, "#!/bin/sh\necho 2.3.3\n").unwrap();
        std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let old = Compose::open(&old, "/run/docker.sock").await.unwrap_err();
        assert_eq!(old.to_string(), "`docker-compose` is version 2.3.3, needed is 2.20 or later");
    }
}
