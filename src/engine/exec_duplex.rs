//! A command that is talked with: requests in, answers out, for protocols such as `git cat-file --batch`.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::container::LogOutput;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_util::io::StreamReader;

use super::{ContainerId, Engine, EngineError, ExecRequest};

/// Largest part of standard error that is kept.
const MAX_STDERR: usize = 64 * 1024;

/// A running command with both ends in hand.
///
/// The reader must keep reading: a command whose output nobody takes stops.
pub struct ExecDuplex {
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    engine: Engine,
    id: String,
    stderr: Arc<Mutex<Vec<u8>>>,
}

/// How a command that was talked with ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    pub exit_code: u8,
    /// The beginning of what it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Engine {
    /// Starts a command to talk with; the input of `request` is not used.
    pub async fn exec_duplex(
        &self,
        container: &ContainerId,
        request: ExecRequest,
    ) -> Result<ExecDuplex, EngineError> {
        let attached = self.attach(container, &request, true).await?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&stderr);
        let stdout = attached.output.filter_map(move |chunk| {
            let answer = match chunk {
                Ok(LogOutput::StdErr { message }) => {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    let room = MAX_STDERR.saturating_sub(kept.len());
                    kept.extend_from_slice(&message[..message.len().min(room)]);
                    None
                }
                Ok(chunk) => Some(Ok(chunk.into_bytes())),
                Err(e) => Some(Err(io::Error::other(e))),
            };
            async move { answer }
        });
        Ok(ExecDuplex {
            stdin: Box::new(attached.input),
            stdout: Box::new(Box::pin(StreamReader::new(Box::pin(stdout)))),
            engine: self.clone(),
            id: attached.id,
            stderr,
        })
    }
}

impl ExecDuplex {
    /// Closes the command's input, throws away what it still says, and returns how it ended.
    ///
    /// A command that does not end within `patience` is an error; it is left to
    /// [`Engine::kill_processes`].
    pub async fn finish(mut self, patience: Duration) -> Result<ExecOutcome, EngineError> {
        let late = || EngineError::Timeout { what: "end a command".to_owned(), after: patience };
        let ending = async {
            drop(self.stdin.shutdown().await);
            let mut rest = vec![0; 64 * 1024];
            while self.stdout.read(&mut rest).await.is_ok_and(|n| n > 0) {}
            while self.engine.exec_runs(&self.id).await? {
                sleep(Duration::from_millis(50)).await;
            }
            self.engine.exit_code(&self.id).await
        };
        let exit_code = timeout(patience, ending).await.map_err(|_| late())??;
        let stderr = std::mem::take(&mut *self.stderr.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(ExecOutcome { exit_code, stderr })
    }
}
