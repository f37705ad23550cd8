//! Why an exported image cannot be described, and whose fault that is.

use std::io;

use super::entries::TarError;
use crate::domain::digest::Digest;
use crate::failure::Failure;

/// Why an exported image cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    #[error("cannot read the built image from the engine")]
    Export(#[source] io::Error),
    #[error("the engine's export of the built image ends too early")]
    CutShort,
    #[error("cannot {what}")]
    Disk {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("the built image is refused: the engine's export is not a sound archive")]
    Archive(#[source] TarError),
    #[error("the built image is refused: the export has `{member}` twice")]
    DuplicateMember { member: String },
    #[error("the built image is refused: the export has more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the built image is refused: `{member}` has {found} bytes, at most {limit} are read")]
    DocumentTooLarge { member: String, limit: u64, found: u64 },
    #[error("the built image is refused: the export has no `{member}`, which {named_by}")]
    Missing { member: String, named_by: &'static str },
    #[error("the built image is refused: `{member}` is a link to `{target}`, which leads to no file")]
    DeadLink { member: String, target: String },
    #[error("the built image is refused: `{member}` is not what it should be: {reason}")]
    Document { member: String, reason: String },
    #[error("the built image is refused: expected one image in the export, found {found}")]
    NotOneImage { found: usize },
    #[error("the built image is refused: it has {found} layers, at most {limit} are allowed")]
    TooManyLayers { found: usize, limit: usize },
    #[error("the built image is refused: its configuration lists {diff_ids} layers, the export {layers}")]
    LayerCount { diff_ids: usize, layers: usize },
    #[error(
        "the built image is refused: `{member}` has other content than it says: expected sha256:{}, found sha256:{}",
        .expected.short(),
        .found.short()
    )]
    WrongContent { member: String, expected: Digest, found: Digest },
    #[error("the built image is refused: layer {layer} is compressed in the export")]
    CompressedLayer { layer: usize },
    #[error("the built image is refused: it has `ONBUILD` instructions")]
    OnBuild,
    #[error("the built image is refused: layer {layer} is not a layer that can be published")]
    Layer {
        layer: usize,
        #[source]
        source: TarError,
    },
    #[error("cannot find the packages in layer {layer} of the built image")]
    Scan { layer: usize, reason: String },
    #[error("`{0}` is not a commit time: expected seconds since 1970, before the year 10000")]
    CommitTime(i64),
}

const ENGINE_HINT: &str =
    "retry the job; if it fails again, the runner's administrator finds the reason in the engine's log";

impl From<DescribeError> for Failure {
    fn from(error: DescribeError) -> Self {
        let what = error.to_string();
        match &error {
            DescribeError::Export(source) => {
                Failure::system(what).because_of(source).hint(ENGINE_HINT)
            }
            DescribeError::CutShort => Failure::system(what)
                .because("the engine stopped sending before the end of the archive")
                .hint(ENGINE_HINT),
            DescribeError::Disk { source, .. } => Failure::system(what).because_of(source).hint(
                "for the runner's administrator: look at the free space and the permissions of Airlock's work directory",
            ),
            DescribeError::Archive(source) => {
                let failure = match source {
                    TarError::Read(_) => Failure::system(what),
                    _ => Failure::refused_to_publish(what),
                };
                failure.because_of(source).hint(ENGINE_HINT)
            }
            DescribeError::DuplicateMember { .. }
            | DescribeError::DocumentTooLarge { .. }
            | DescribeError::Missing { .. }
            | DescribeError::DeadLink { .. }
            | DescribeError::Document { .. }
            | DescribeError::NotOneImage { .. }
            | DescribeError::LayerCount { .. } => Failure::refused_to_publish(what)
                .because("the engine's export does not hold together")
                .hint(ENGINE_HINT),
            DescribeError::WrongContent { .. } => Failure::refused_to_publish(what)
                .because("the image changed, or was planted, between build and export")
                .hint(ENGINE_HINT),
            DescribeError::CompressedLayer { .. } => Failure::refused_to_publish(what)
                .because("the engine keeps its images in the containerd image store, whose exports are not read")
                .hint("for the runner's administrator: turn `containerd-snapshotter` off in the engine's `daemon.json`"),
            DescribeError::TooLarge { .. } | DescribeError::TooManyLayers { .. } => {
                Failure::refused_to_publish(what)
                    .hint("make the image smaller: copy only what it needs from a build stage")
            }
            DescribeError::OnBuild => Failure::refused_to_publish(what)
                .because("they would run in the builds of others")
                .hint("remove `ONBUILD` from the Dockerfile, or use a base image without it"),
            DescribeError::Layer { source, .. } => match source {
                TarError::Read(_) => Failure::system(what).because_of(source).hint(ENGINE_HINT),
                _ => Failure::refused_to_publish(what)
                    .because_of(source)
                    .hint("change the Dockerfile's step that makes this file"),
            },
            DescribeError::Scan { reason, .. } => Failure::refused_to_publish(what)
                .because(reason)
                .hint("an image is published only with a complete list of its packages: mend the file that is named"),
            DescribeError::CommitTime(_) => Failure::refused_to_publish(what)
                .hint("commit again with a correct clock"),
        }
    }
}
