//! The trust policy: which keys may say what, what evidence each channel demands, and the judgement.
//!
//! The judgement is a pure function of policy, evidence and a point in time. It fails closed: what it
//! cannot read or does not know is passed over, and what is then not there is missed.

mod judge;
mod policy;
mod refusal;
mod verdict;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use policy::{KeyUse, PolicyError, TrustPolicy, TrustedKey};
pub use refusal::{Refusal, RefusalKind};
pub use verdict::{AcceptedEvidence, AcceptedSignature, Verdict};

use super::digest::Digest;
use super::image::{Repository, Tag};

/// A promotion target that an image is judged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    Staged,
    Candidate,
    Latest,
}

/// Why a text is not a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a channel: expected `staged`, `candidate` or `latest`")]
pub struct NotAChannel(String);

impl Channel {
    /// Returns the word, which is also the channel's tag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Candidate => "candidate",
            Self::Latest => "latest",
        }
    }

    /// Returns the channel's tag.
    pub fn tag(self) -> Tag {
        self.as_str().parse().expect("a channel's word is a tag")
    }
}

impl FromStr for Channel {
    type Err = NotAChannel;

    fn from_str(text: &str) -> Result<Self, NotAChannel> {
        [Self::Staged, Self::Candidate, Self::Latest]
            .into_iter()
            .find(|channel| channel.as_str() == text)
            .ok_or_else(|| NotAChannel(text.chars().filter(|c| !c.is_control()).take(60).collect()))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is judged: one digest in one repository, for one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub repository: Repository,
    pub digest: Digest,
    pub channel: Channel,
}

#[cfg(test)]
pub(crate) mod tests;
