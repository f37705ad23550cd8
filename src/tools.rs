//! The one door to external programs: clean environment, closed stdin, fixed locale, bounded output,
//! and four distinct failures: not found, not runnable, too old, failed.
//!
//! Nothing here ever sees a secret: neither argv nor environment carries one.

use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::failure::Failure;

pub mod compose;
pub mod git;

/// Most bytes of output that are kept.
const MAX_OUTPUT_BYTES: u64 = 16 * 1024 * 1024;

/// Why an external program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("`{program}` is not installed")]
    NotFound { program: &'static str },
    #[error("`{program}` cannot be run")]
    NotRunnable {
        program: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("`{program}` is version {found}, needed is {needed} or later")]
    TooOld { program: &'static str, found: String, needed: &'static str },
    #[error("`{program} {what}` failed: {stderr}")]
    Failed { program: &'static str, what: String, stderr: String },
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        let hint = match &error {
            ToolError::NotFound { program } | ToolError::TooOld { program, .. } => {
                format!("install `{program}` from your distribution's packages")
            }
            ToolError::NotRunnable { program, .. } => format!("check that you may run `{program}`"),
            ToolError::Failed { program, what, .. } => format!("run `{program} {what}` by hand to see more"),
        };
        Failure::usage("cannot use an external program").because_of(&error).hint(hint)
    }
}

/// Returns a command that inherits nothing.
fn command(program: &'static str) -> Command {
    command_at(std::path::Path::new(program))
}

/// The same for a program that the settings name by its path.
fn command_at(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C.UTF-8");
    command
}

fn spawn_error(program: &'static str, source: std::io::Error) -> ToolError {
    if source.kind() == std::io::ErrorKind::NotFound {
        ToolError::NotFound { program }
    } else {
        ToolError::NotRunnable { program, source }
    }
}

/// Runs a program to its end and returns its standard output.
async fn output(mut command: Command, program: &'static str, args: &[&str]) -> Result<Vec<u8>, ToolError> {
    let mut child = command.args(args).spawn().map_err(|source| spawn_error(program, source))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read = async {
        tokio::try_join!(
            async {
                match stdout {
                    Some(stdout) => stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut out).await,
                    None => Ok(0),
                }
            },
            async {
                match stderr {
                    Some(stderr) => stderr.take(MAX_OUTPUT_BYTES).read_to_end(&mut err).await,
                    None => Ok(0),
                }
            }
        )
    };
    read.await.map_err(|source| ToolError::NotRunnable { program, source })?;
    let status = child.wait().await.map_err(|source| ToolError::NotRunnable { program, source })?;
    if status.success() {
        Ok(out)
    } else {
        Err(ToolError::Failed { program, what: args.join(" "), stderr: tail(&err) })
    }
}

/// Returns the last 20 lines, without control characters.
fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..]
        .iter()
        .map(|line| crate::job_log::printable(line))
        .collect::<Vec<_>>()
        .join("\n")
}
