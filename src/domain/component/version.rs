//! A component's version and the version tag that is made from it.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use time::macros::format_description;

use crate::domain::image::{ImageNameError, Tag};
use crate::failure::Failure;

/// A version by Semantic Versioning 2.0.0 without build metadata, which a tag cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(semver::Version);

/// Why there is no version or no version tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    #[error(
        "`{found}` is not a version: expected SemVer 2.0.0 without `+`, as in `1.4.0` or `1.4.0-rc.1`: {why}"
    )]
    NotAVersion { found: String, why: String },
    #[error("`{found}` is not a version template: {why}")]
    NotATemplate { found: String, why: &'static str },
    #[error("the commit time {0} is not between the years 1970 and 9999")]
    Time(i64),
    #[error("`{0}` is not a commit: expected 40 or 64 lower-case hexadecimal digits")]
    Commit(String),
    #[error("the version tag would not be one")]
    Tag(#[source] ImageNameError),
}

impl From<VersionError> for Failure {
    fn from(error: VersionError) -> Self {
        match error {
            VersionError::NotAVersion { .. } => Failure::refused("cannot tell the component's version")
                .because_of(&error)
                .hint("write one version on the first line of the version file, for example `1.4.0`"),
            VersionError::NotATemplate { .. } => {
                Failure::usage("cannot use the version template").because_of(&error)
            }
            VersionError::Time(_) | VersionError::Commit(_) => {
                Failure::refused("cannot make a version tag").because_of(&error)
            }
            VersionError::Tag(_) => Failure::refused("cannot make a version tag")
                .because_of(&error)
                .hint("a tag has at most 128 characters: shorten the version's pre-release part"),
        }
    }
}

impl Version {
    /// Reads the version from the first line of the version file; 0.0.0 where there is no file.
    pub fn from_file(bytes: Option<&[u8]>) -> Result<Self, VersionError> {
        let Some(bytes) = bytes else { return Ok(Self(semver::Version::new(0, 0, 0))) };
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        match std::str::from_utf8(line) {
            Ok(line) => line.trim().parse(),
            Err(_) => Err(VersionError::NotAVersion { found: "…".into(), why: "it is not UTF-8".into() }),
        }
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = |why: String| VersionError::NotAVersion { found: shown(text), why };
        let version = semver::Version::parse(text).map_err(|why| error(why.to_string()))?;
        if !version.build.is_empty() {
            return Err(error("it carries build metadata".into()));
        }
        Ok(Self(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a version tag is put together; the platform's own convention may replace the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionTemplate(String);

const PLACEHOLDERS: [&str; 3] = ["{version}", "{time}", "{commit12}"];

impl Default for VersionTemplate {
    fn default() -> Self {
        Self("{version}-{time}.g{commit12}".into())
    }
}

impl FromStr for VersionTemplate {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = |why| VersionError::NotATemplate { found: shown(text), why };
        if !text.contains("{time}") && !text.contains("{commit12}") {
            return Err(error("it needs `{time}` or `{commit12}`, or two commits would share a tag"));
        }
        let literal = PLACEHOLDERS.iter().fold(text.to_owned(), |text, name| text.replace(name, ""));
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.len() > 128 || !literal.bytes().all(plain) {
            return Err(error(
                "expected `{version}`, `{time}` and `{commit12}` between letters, digits, `.`, `_` and `-`, at most 128 characters",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for VersionTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the version tag; `commit_time` is in seconds since 1970, `commit` the full hexadecimal id.
pub fn version_tag(
    version: &Version,
    commit_time: i64,
    commit: &str,
    template: &VersionTemplate,
) -> Result<Tag, VersionError> {
    let hex = commit.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !hex || !matches!(commit.len(), 40 | 64) {
        return Err(VersionError::Commit(shown(commit)));
    }
    let time = OffsetDateTime::from_unix_timestamp(commit_time)
        .ok()
        .filter(|time| commit_time >= 0 && time.year() <= 9999)
        .and_then(|time| time.format(format_description!("[year][month][day][hour][minute][second]")).ok())
        .ok_or(VersionError::Time(commit_time))?;
    let text = template
        .0
        .replace("{version}", &version.to_string())
        .replace("{time}", &time)
        .replace("{commit12}", &commit[..12]);
    text.parse().map_err(VersionError::Tag)
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}
