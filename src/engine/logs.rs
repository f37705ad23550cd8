//! What containers wrote, standard output and error in the order in which the engine got them, bounded.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;

use super::{ContainerId, Engine, EngineError};

impl Engine {
    /// Returns the whole log of a container from its beginning, at most `limit` bytes of it; a log that is
    /// longer ends with a line that says so.
    pub async fn container_log(&self, id: &ContainerId, limit: usize) -> Result<Vec<u8>, EngineError> {
        let mut log = Vec::new();
        self.read_log(id, "all", &mut |bytes| {
            let room = limit.saturating_sub(log.len());
            log.extend_from_slice(&bytes[..bytes.len().min(room)]);
            bytes.len() <= room
        })
        .await
        .map(|whole| {
            if !whole {
                log.extend_from_slice(format!("\n[cut after {limit} bytes]\n").as_bytes());
            }
            log
        })
    }

    /// Returns the last `lines` lines of a container's log, and of these the last `limit` bytes.
    pub async fn last_log_lines(
        &self,
        id: &ContainerId,
        lines: usize,
        limit: usize,
    ) -> Result<Vec<u8>, EngineError> {
        let mut log = Vec::new();
        self.read_log(id, &lines.to_string(), &mut |bytes| {
            log.extend_from_slice(bytes);
            // Cut now and then, so that a line without an end is no matter.
            if log.len() > 2 * limit {
                log.drain(..log.len() - limit);
            }
            true
        })
        .await?;
        log.drain(..log.len().saturating_sub(limit));
        Ok(log)
    }

    /// Hands on what the engine has, until `take` says that it has enough; returns whether that was all.
    async fn read_log(
        &self,
        id: &ContainerId,
        tail: &str,
        take: &mut (dyn FnMut(&[u8]) -> bool + Send),
    ) -> Result<bool, EngineError> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(tail).build();
        let mut stream = std::pin::pin!(self.docker.logs(id.as_str(), Some(options)));
        while let Some(chunk) = stream.next().await {
            let chunk = chunk
                .map_err(|e| EngineError::from_bollard(format!("read the log of `{}`", id.short()), e))?;
            let (LogOutput::StdErr { message }
            | LogOutput::StdOut { message }
            | LogOutput::StdIn { message }
            | LogOutput::Console { message }) = chunk;
            if !take(&message) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
