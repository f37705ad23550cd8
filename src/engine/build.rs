//! Image builds by the engine's own BuildKit over bollard's session, without network.
//!
//! `RUN` steps run outside the sandbox's limits and `networkmode` does not stop `ADD`: what a
//! Dockerfile may ask for is refused before (`crate::dockerfile`). The engine of the API's own
//! build call ignores limits of memory and processors with BuildKit, so none are sent.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::BuildInfoAux;
use bollard::query_parameters::{BuildImageOptionsBuilder, BuilderVersion};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use rustix::fs::{FlockOperation, flock};

use super::build_log::{BuildLog, BuildLogLine};
use super::{Engine, EngineError, Labels};
use crate::domain::digest::Digest;

/// How many last lines of the build's log an error carries.
const LOG_TAIL: usize = 20;

/// Whether steps of earlier builds are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildCache {
    Use,
    Off,
}

/// What is built, from the context that is sent along.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The Dockerfile's path inside the context.
    pub dockerfile: String,
    /// The stage to build; the last one when absent.
    pub target: Option<String>,
    /// The private tag that names the result, `repository:tag`.
    pub tag: String,
    pub cache: BuildCache,
    pub build_args: Labels,
    pub labels: Labels,
}

/// The right to build: one build at a time on a host. Given back when dropped or when the process ends.
#[derive(Debug)]
pub struct BuildLock {
    _file: File,
}

impl BuildLock {
    /// Waits until the lock file at `path` is free; `waiting` is called about every second meanwhile.
    pub async fn acquire(path: &Path, waiting: &mut (dyn FnMut() + Send)) -> Result<Self, EngineError> {
        let failed = |source| EngineError::Io { what: format!("lock `{}`", path.display()), source };
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        let mut tries = 0_u32;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    if tries.is_multiple_of(5) {
                        waiting();
                    }
                    tries = tries.wrapping_add(1);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(e) => return Err(failed(e.into())),
            }
        }
    }
}

impl Engine {
    /// Builds an image from a tar stream and returns its id; `log` gets every line of the build.
    ///
    /// The result is checked: the private tag stands for the id that the engine reported.
    pub async fn build(
        &self,
        _lock: &BuildLock,
        request: &BuildRequest,
        context: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        log: &mut (dyn FnMut(BuildLogLine) + Send),
    ) -> Result<Digest, EngineError> {
        let session = uuid::Uuid::new_v5(
            &uuid::Uuid::NAMESPACE_OID,
            format!("{}\n{}", request.tag, std::process::id()).as_bytes(),
        );
        let mut options = BuildImageOptionsBuilder::default()
            .dockerfile(&request.dockerfile)
            .t(&request.tag)
            .networkmode("none")
            .nocache(request.cache == BuildCache::Off)
            .rm(true)
            .forcerm(true)
            .version(BuilderVersion::BuilderBuildKit)
            .session(&session.to_string());
        if let Some(target) = &request.target {
            options = options.target(target);
        }
        if !request.build_args.is_empty() {
            options = options.buildargs(&request.build_args.clone().into_iter().collect::<HashMap<_, _>>());
        }
        if !request.labels.is_empty() {
            options = options.labels(&request.labels.clone().into_iter().collect::<HashMap<_, _>>());
        }

        let mut lines = BuildLog::default();
        let mut tail: VecDeque<String> = VecDeque::new();
        let mut reported = None;
        let body = bollard::body_try_stream(context);
        let mut steps = std::pin::pin!(self.slow.build_image(options.build(), None, Some(body)));
        while let Some(step) = steps.next().await {
            let step = match step {
                Ok(step) => step,
                Err(error) => return Err(build_error(error, tail)),
            };
            match step.aux {
                Some(BuildInfoAux::BuildKit(status)) => lines.take(status, &mut |line| {
                    if !line.is_internal() && !line.text.trim().is_empty() {
                        if tail.len() == LOG_TAIL {
                            tail.pop_front();
                        }
                        tail.push_back(line.text.clone());
                    }
                    log(line);
                }),
                Some(BuildInfoAux::Default(image)) => reported = image.id,
                None => {}
            }
        }

        let what = "build the image";
        let malformed = |why: String| EngineError::Malformed { what: what.to_owned(), why };
        let tagged = self
            .image_id(&request.tag)
            .await?
            .ok_or_else(|| malformed(format!("no image is tagged `{}`", request.tag)))?;
        match reported {
            Some(id) if id == tagged.as_str() => Ok(tagged),
            Some(id) => Err(malformed(format!("it built `{id}`, but `{}` is {tagged}", request.tag))),
            None => Err(malformed("it reported no image id".to_owned())),
        }
    }
}

fn build_error(error: Error, mut tail: VecDeque<String>) -> EngineError {
    // The step's own failure is the message already.
    if tail.back().is_some_and(|line| line.starts_with("failed: ")) {
        tail.pop_back();
    }
    let build = |message: String| EngineError::Build { message, log_tail: tail.into_iter().collect() };
    match error {
        Error::DockerStreamError { error } => build(error),
        // A Dockerfile that BuildKit cannot even read.
        Error::DockerResponseServerError { status_code: 400, message } => build(message),
        error => EngineError::from_bollard("build the image", error),
    }
}
