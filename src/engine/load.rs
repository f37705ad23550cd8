//! An image put into the engine from its parts, where there is no registry to pull it from.

use std::io::{Read as _, Write};
use std::path::PathBuf;

use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Engine, EngineError, LONG_ANSWER_TIMEOUT};
use crate::domain::digest::Digest;

/// How much of the archive waits for the engine at most.
const CHUNKS_AHEAD: usize = 8;
const CHUNK_BYTES: usize = 256 * 1024;

impl Engine {
    /// Loads an image under `tag` and returns its id: the digest of `config`, which the engine computes by
    /// itself. It also computes the diff id of every layer and refuses one that the config does not name.
    ///
    /// `layers` are files, lowest first, compressed or not. The archive is streamed.
    pub async fn load_image(
        &self,
        config: &[u8],
        layers: &[PathBuf],
        tag: &str,
    ) -> Result<Digest, EngineError> {
        let what = format!("load the image `{tag}`");
        let expected = Digest::of(config);
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (config, layers, name) = (config.to_vec(), layers.to_vec(), tag.to_owned());
        let writing =
            tokio::task::spawn_blocking(move || write_archive(Chunks::new(sender), &config, &layers, &name));
        let chunks = stream::unfold(receiver, |mut receiver| async move {
            let chunk: Result<Bytes, std::io::Error> = Ok(receiver.recv().await?);
            Some((chunk, receiver))
        });
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let loading = async {
            let mut answers = std::pin::pin!(self.slow.import_image_stream(options, chunks, None));
            while let Some(answer) = answers.next().await {
                answer.map_err(|e| EngineError::from_bollard(what.clone(), e))?;
            }
            Ok(())
        };
        let loaded = match tokio::time::timeout(LONG_ANSWER_TIMEOUT, loading).await {
            Ok(loaded) => loaded,
            Err(_) => Err(EngineError::Timeout { what: what.clone(), after: LONG_ANSWER_TIMEOUT }),
        };
        let written = writing.await.map_err(std::io::Error::other).flatten();
        match written {
            // The engine hung up, and its own words say why.
            Err(source) if source.kind() == std::io::ErrorKind::BrokenPipe && loaded.is_err() => loaded?,
            // What the engine says of an archive that was cut short explains nothing.
            Err(source) => return Err(EngineError::Io { what, source }),
            Ok(()) => loaded?,
        }
        match self.image_id(tag).await? {
            Some(id) if id == expected => Ok(id),
            found => Err(EngineError::WrongImage {
                image: tag.to_owned(),
                expected: expected.to_string(),
                found: found.map_or_else(|| "no image".to_owned(), |id| id.to_string()),
            }),
        }
    }
}

/// Writes the archive of `docker save` (image specification v1.2): layers, config, manifest.
fn write_archive(out: Chunks, config: &[u8], layers: &[PathBuf], tag: &str) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(out);
    let mut names = Vec::new();
    for (i, path) in layers.iter().enumerate() {
        let file = std::fs::File::open(path)
            .map_err(|e| std::io::Error::new(e.kind(), format!("`{}`: {e}", path.display())))?;
        let size = file.metadata()?.len();
        let name = format!("{i}/layer.tar");
        // A file that grows under our hands must not shift what follows it.
        append(&mut archive, &name, size, file.take(size))?;
        names.push(name);
    }
    let config_name = format!("{}.json", Digest::of(config).hex());
    append(&mut archive, &config_name, config.len() as u64, config)?;
    let manifest = json!([{"Config": config_name, "RepoTags": [tag], "Layers": names}]).to_string();
    append(&mut archive, "manifest.json", manifest.len() as u64, manifest.as_bytes())?;
    archive.into_inner()?.finish()
}

fn append(
    archive: &mut tar::Builder<Chunks>,
    name: &str,
    size: u64,
    content: impl std::io::Read,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, content)
}

/// A writer whose chunks go to the engine as fast as it takes them.
struct Chunks {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Chunks {
    fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self { sender, buffer: Vec::with_capacity(CHUNK_BYTES) }
    }

    fn send(&mut self) -> std::io::Result<()> {
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        self.sender.blocking_send(chunk.into()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn finish(mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.send() }
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
