//! What can go wrong with the engine, and whose fault it is.

use std::time::Duration;

use crate::failure::{CLI_REFUSED, EXIT_BUILD_FAILED, EXIT_REFUSED_BEFORE_SCRIPT, Failure, FailureKind};

/// Why the engine could not do it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("Docker does not answer at `{socket}`")]
    Unreachable {
        socket: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "Docker at `{socket}` is too old: expected API 1.41 or later (Docker Engine 20.10), found `{api}` (`{version}`)"
    )]
    TooOld { socket: String, version: String, api: String },
    #[error("Docker cannot {what}: it answered {status}")]
    Answered { what: String, status: u16, message: String },
    #[error("Docker cannot {what}")]
    Transport {
        what: String,
        #[source]
        source: Box<bollard::errors::Error>,
    },
    #[error("Docker did not {what} within {} s", .after.as_secs())]
    Timeout { what: String, after: Duration },
    #[error("the image `{image}` cannot be pulled")]
    PullFailed { image: String, registry: String, why: String },
    #[error("the image `{image}` cannot be had")]
    ImageAbsent { image: String, why: String },
    #[error("the image `{image}` is another one: expected {expected}, found {found}")]
    WrongImage { image: String, expected: String, found: String },
    #[error("Docker returned more than {limit} bytes for {what}")]
    TooLarge { what: String, limit: u64 },
    #[error("Docker answered what makes no sense to {what}: {why}")]
    Malformed { what: String, why: String },
    #[error("the image build failed")]
    Build { message: String, log_tail: Vec<String> },
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
}

impl EngineError {
    pub(super) fn unreachable(
        socket: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let source = match not_permitted(socket, source.as_ref()) {
            Some(why) => why.into(),
            None => source,
        };
        Self::Unreachable { socket: socket.to_owned(), source }
    }

    pub(super) fn from_bollard(what: impl Into<String>, source: bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        let what = what.into();
        match source {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Answered { what, status: status_code, message }
            }
            Error::RequestTimeoutError => Self::Timeout { what, after: super::ANSWER_TIMEOUT },
            source => Self::Transport { what, source: Box::new(source) },
        }
    }

    /// Returns whether the engine said that the thing does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Answered { status: 404, .. })
    }
}

const DAEMON_LOG: &str = "for the runner's administrator: the daemon's own log says more";
const ADMINISTRATOR: &str = "for the runner's administrator: see that the daemon runs and that this user may open its socket (README, \"Use it as a runner\")";

/// The HTTP client's layers name themselves; what happened stands at the end of the chain.
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

/// Says who may not open which socket, where that is the cause.
fn not_permitted(socket: &str, error: &(dyn std::error::Error + 'static)) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let cause = innermost(error).downcast_ref::<std::io::Error>()?;
    if cause.kind() != std::io::ErrorKind::PermissionDenied {
        return None;
    }
    let process = rustix::process::geteuid().as_raw();
    let owner = std::fs::metadata(socket.strip_prefix("unix://").unwrap_or(socket));
    let owner = owner.map_or_else(
        |_| "it is in a directory that this user may not enter".to_owned(),
        |meta| format!("it belongs to {}:{}, mode {:o}", meta.uid(), meta.gid(), meta.mode() & 0o777),
    );
    Some(format!("permission denied: this process runs as uid {process}; the socket: {owner}"))
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let what = error.to_string();
        match error {
            EngineError::Unreachable { ref source, .. } => {
                Failure::system(what).because(innermost(source.as_ref())).hint(ADMINISTRATOR)
            }
            EngineError::TooOld { .. } => Failure::system(what)
                .hint("for the runner's administrator: install Docker Engine 20.10 or later"),
            EngineError::Answered { message, .. } => {
                Failure::system(what).because(message).hint(DAEMON_LOG)
            }
            EngineError::Transport { source, .. } => {
                Failure::system(what).because(innermost(source.as_ref())).hint(DAEMON_LOG)
            }
            EngineError::PullFailed { why, registry, .. } => Failure::system(what).because(why).hint(format!(
                "for the runner's administrator: see that this host's engine reaches `{registry}`; an image that it has already needs no registry"
            )),
            EngineError::Timeout { .. } => Failure::system(what)
                .hint("for the runner's administrator: see the load of the host and the daemon's own log"),
            EngineError::ImageAbsent { why, .. } => Failure::new(
                FailureKind::Refused { stage: EXIT_REFUSED_BEFORE_SCRIPT, cli: CLI_REFUSED },
                what,
            )
            .because(why)
            .hint("check the name and the digest; the registry must still have this digest")
            .note("the runner refused this job; retrying will not help until the image is there"),
            EngineError::WrongImage { .. } | EngineError::Malformed { .. } => {
                Failure::system(what)
            }
            EngineError::TooLarge { .. } => Failure::refused(what),
            EngineError::Build { message, log_tail } => {
                let mut failure =
                    Failure::new(FailureKind::Job { exit_code: EXIT_BUILD_FAILED }, what).because(message);
                if !log_tail.is_empty() {
                    failure = failure.because(format!("last lines of the build:\n{}", log_tail.join("\n")));
                }
                failure
                    .hint("builds have no network: everything a `RUN` needs must be in the base image or in the commit")
                    .note("this is your job's result: the Dockerfile's own step ended with an error")
            }
            EngineError::Io { source, .. } => Failure::system(what).because(source),
        }
    }
}
