//! What a Dockerfile may ask for, and the refusals.
//!
//! The engine builds with its own BuildKit, whose `ADD`, `FROM`, frontends and mounts reach the network
//! whatever the build's network mode is. So a file is read here first, twice: by a reader that joins
//! lines exactly as BuildKit's `frontend/dockerfile/parser` does, and by the crate `parse-dockerfile`;
//! where the two, or two versions of BuildKit, could understand different things, the file is refused.
//! Nothing here decides about `ONBUILD` inside base images: the caller looks at the engine's answer and
//! uses [`onbuild_refusal`].

use std::ops::Range;

use crate::domain::image::PinnedImage;

pub mod ignore;

mod check;
mod constants;
mod directives;
mod flags;
mod heredoc;
mod lines;
mod refusal;
mod second_reader;

pub use refusal::{Refusal, RefusalReason, onbuild_refusal, refusals_to_failure};

/// Largest Dockerfile that is read, in bytes.
pub const MAX_DOCKERFILE_BYTES: usize = 1024 * 1024;

/// A Dockerfile that asks for nothing but its context, its own stages and allowed pinned images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedDockerfile {
    path: String,
    text: String,
    bases: Vec<PinnedImage>,
    uses: Vec<ImageUse>,
    final_base: Option<PinnedImage>,
}

/// Where in the text an external image is named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ImageUse {
    at: Range<usize>,
    image: PinnedImage,
}

impl CheckedDockerfile {
    /// Checks a Dockerfile; `target` is the stage to build, the last one where it is absent.
    ///
    /// # Errors
    /// Every refusal that was found, in the order of lines. A file that cannot be read as text gives one.
    pub fn check(
        bytes: &[u8],
        path: &str,
        target: Option<&str>,
        allowed: &dyn Fn(&PinnedImage) -> bool,
    ) -> Result<Self, Vec<Refusal>> {
        check::check(bytes, path, target, allowed)
    }

    /// Returns the path that the file was read from, as the caller named it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns every external image once, in the order of appearance.
    pub fn bases(&self) -> &[PinnedImage] {
        &self.bases
    }

    /// Returns the image whose layers the built stage inherits; `None` where it starts from scratch.
    pub fn final_base(&self) -> Option<&PinnedImage> {
        self.final_base.as_ref()
    }

    /// Returns the text as it was checked.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the same text with each external image replaced by the name that `tag_for` gives; a
    /// reference written with a variable is replaced as a whole.
    pub fn rewritten(&self, tag_for: &dyn Fn(&PinnedImage) -> String) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut done = 0;
        for used in &self.uses {
            text.push_str(&self.text[done..used.at.start]);
            text.push_str(&tag_for(&used.image));
            done = used.at.end;
        }
        text.push_str(&self.text[done..]);
        text
    }
}
