//! The end of a step: whatever it left running is ended, and the container stays.

use std::time::Duration;

use bollard::container::LogOutput;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::{ContainerId, ContainerState, Engine, EngineError, ExecRequest};
use crate::domain::sandbox::{SandboxUser, TOOLS_BUSYBOX};

/// Between TERM and KILL at the end of a step.
pub(super) const STEP_GRACE: Duration = Duration::from_secs(1);
/// Attempts before the container itself is killed and started again.
const ATTEMPTS: u32 = 3;
/// Largest answer of a tool that is read.
pub(super) const MAX_TOOL_OUTPUT: usize = 512 * 1024;

/// How the processes of a container were ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// None is left; the container went on running.
    Inside,
    /// They could not be ended from inside, or the container had stopped: it was started again.
    /// Volumes are as they were; `/tmp` and the home directory are empty.
    Restarted,
}

impl Engine {
    /// Ends every process of `user`: TERM, after `grace` KILL. PID 1 and the idle process, which are
    /// another user's, stay.
    pub async fn kill_processes(
        &self,
        container: &ContainerId,
        user: SandboxUser,
        grace: Duration,
    ) -> Result<Ended, EngineError> {
        if self.container_state(container).await? == ContainerState::Running {
            for attempt in 0..ATTEMPTS {
                let seconds = if attempt == 0 { grace.as_secs() } else { 0 };
                let request = ExecRequest::new(
                    user,
                    [TOOLS_BUSYBOX.to_owned(), "sh".into(), "/.airlock/kill".into(), seconds.to_string()],
                );
                // A hostile job may stop, kill or starve this very command: then again, then harder.
                let patience = Duration::from_secs(seconds + 6);
                match self.run_tool(container, request, patience).await {
                    Ok((0, _)) => return Ok(Ended::Inside),
                    Ok((code, _)) => tracing::warn!(%container, code, attempt, "processes are left"),
                    Err(error) => tracing::warn!(%container, %error, attempt, "cannot end processes"),
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        self.kill_container(container).await?;
        self.start_container(container).await?;
        Ok(Ended::Restarted)
    }

    /// Executes one of our own tools and returns its exit code and standard output, both bounded.
    pub(super) async fn run_tool(
        &self,
        container: &ContainerId,
        request: ExecRequest,
        patience: Duration,
    ) -> Result<(u8, Vec<u8>), EngineError> {
        let late =
            || EngineError::Timeout { what: "finish a command of Airlock's own".into(), after: patience };
        let work = async {
            // Its input stays open until it has ended: a tool waits by reading from it.
            let mut attached = self.attach(container, &request, true).await?;
            let mut answer = Vec::new();
            while let Some(chunk) = attached.output.next().await {
                let chunk = chunk.map_err(|e| EngineError::from_bollard("read a tool's answer", e))?;
                if let LogOutput::StdOut { message } = chunk {
                    if answer.len() + message.len() > MAX_TOOL_OUTPUT {
                        return Err(EngineError::TooLarge {
                            what: "the answer of a tool".into(),
                            limit: MAX_TOOL_OUTPUT as u64,
                        });
                    }
                    answer.extend_from_slice(&message);
                }
            }
            while self.exec_runs(&attached.id).await? {
                sleep(Duration::from_millis(20)).await;
            }
            Ok((self.exit_code(&attached.id).await?, answer))
        };
        timeout(patience, work).await.map_err(|_| late())?
    }
}
