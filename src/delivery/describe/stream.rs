//! A stream of chunks, as the engine's client gives it, read by code that blocks.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::runtime::Handle;

/// Reads a stream of chunks; for threads that may block, as those of `tokio::task::spawn_blocking`.
///
/// It holds one chunk at a time, so a slow reader slows the sender down.
pub struct BlockingStream<S> {
    runtime: Handle,
    chunks: S,
    chunk: Bytes,
}

impl<S> BlockingStream<S> {
    /// Creates the reader; `runtime` is the one that drives the stream's connection.
    pub fn new(runtime: Handle, chunks: S) -> Self {
        Self { runtime, chunks, chunk: Bytes::new() }
    }
}

impl<S, E> Read for BlockingStream<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.chunks.next()) {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let length = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
