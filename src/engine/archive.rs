//! Tar streams into and out of a container, through the engine.
//!
//! The engine resolves paths inside the container, as root: put only where the job has not run yet,
//! or below a path that it cannot replace. What comes out is untrusted and bounded.

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::{ContainerId, Engine, EngineError};

impl Engine {
    /// Unpacks a tar stream below `directory`, which must be on a writable volume; owners and modes
    /// are those in the archive.
    pub async fn put_archive(
        &self,
        container: &ContainerId,
        directory: &str,
        tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), EngineError> {
        let options = UploadToContainerOptionsBuilder::default().path(directory).build();
        self.slow
            .upload_to_container(container.as_str(), Some(options), bollard::body_try_stream(tar))
            .await
            .map_err(|e| EngineError::from_bollard(format!("put files into `{directory}`"), e))
    }

    /// Returns the file or directory at `path` as one tar archive of at most `limit` bytes.
    pub async fn get_archive(
        &self,
        container: &ContainerId,
        path: &str,
        limit: u64,
    ) -> Result<Bytes, EngineError> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream =
            std::pin::pin!(self.docker.download_from_container(container.as_str(), Some(options)));
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| EngineError::from_bollard(format!("take `{path}`"), e))?;
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(EngineError::TooLarge { what: format!("`{path}`"), limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}
