//! Image names (OCI distribution specification, "Pulling manifests"): repositories, tags, pinned images.
//!
//! Short names are never completed: the registry host is always written out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// Why a text is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    #[error(
        "`{0}` is not a repository: lower-case letters, digits and single `.`, `_`, `__`, `-` inside parts separated by `/`, at most 255 characters"
    )]
    Repository(String),
    #[error(
        "`{0}` is not a tag: letters, digits, `.`, `_` and `-`, at most 128 characters, not starting with `.` or `-`"
    )]
    Tag(String),
    #[error("`{0}` is not a registry host: expected a name or address and an optional port")]
    Host(String),
    #[error("`{0}` names no registry: write the host out, as in `registry.example.internal/{0}`")]
    NoHost(String),
    #[error("`{0}` is not pinned by digest: expected `name@sha256:…`")]
    NotPinned(String),
    #[error(transparent)]
    Digest(#[from] super::digest::NotADigest),
}

/// A repository path without a registry host, for example `acme/billing/api`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(String);

impl Repository {
    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `prefix/self`, or `self` where there is no prefix.
    pub fn below(&self, prefix: Option<&Repository>) -> Repository {
        match prefix {
            Some(prefix) => Repository(format!("{}/{}", prefix.0, self.0)),
            None => self.clone(),
        }
    }

    /// Returns the last part of the path.
    pub fn last_part(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

fn is_path_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if bytes.is_empty() || !alnum(bytes[0]) || !alnum(bytes[bytes.len() - 1]) {
        return false;
    }
    // Separators between alphanumeric runs: one `.`, one or two `_`, or any number of `-`.
    part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

impl FromStr for Repository {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        if text.len() <= 255 && text.split('/').all(is_path_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ImageNameError::Repository(shown(text)))
        }
    }
}

impl TryFrom<String> for Repository {
    type Error = ImageNameError;

    fn try_from(text: String) -> Result<Self, ImageNameError> {
        text.parse()
    }
}

impl From<Repository> for String {
    fn from(repository: Repository) -> Self {
        repository.0
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ImageNameError::Tag(shown(text))) }
    }
}

impl TryFrom<String> for Tag {
    type Error = ImageNameError;

    fn try_from(text: String) -> Result<Self, ImageNameError> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A registry's host and optional port, as it is written in image names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryHost(String);

impl RegistryHost {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the host is this machine (127.0.0.0/8, `::1` or `localhost`).
    pub fn is_loopback(&self) -> bool {
        let name = match self.0.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => self.0.split(':').next().unwrap_or(&self.0),
        };
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for RegistryHost {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let error = || ImageNameError::Host(shown(text));
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or_else(error)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| error())?;
                (None, after.strip_prefix(':').or(if after.is_empty() { None } else { Some("x") }))
            }
            None => match text.split_once(':') {
                Some((name, port)) => (Some(name), Some(port)),
                None => (Some(text), None),
            },
        };
        let name_ok = name.is_none_or(|name| {
            !name.is_empty()
                && name.len() <= 253
                && name.split('.').all(|label| {
                    !label.is_empty()
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                })
        });
        let port_ok = port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if name_ok && port_ok { Ok(Self(text.to_owned())) } else { Err(error()) }
    }
}

impl TryFrom<String> for RegistryHost {
    type Error = ImageNameError;

    fn try_from(text: String) -> Result<Self, ImageNameError> {
        text.parse()
    }
}

impl From<RegistryHost> for String {
    fn from(host: RegistryHost) -> Self {
        host.0
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image that can never mean anything else: registry host, repository and digest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(try_from = "String", into = "String")]
pub struct PinnedImage {
    host: RegistryHost,
    repository: Repository,
    digest: Digest,
}

impl PinnedImage {
    /// Creates the name from its parts.
    pub fn new(host: RegistryHost, repository: Repository, digest: Digest) -> Self {
        Self { host, repository, digest }
    }

    /// Returns the registry host.
    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// Returns the repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns `host/repository`, the form that patterns in settings are compared with.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }
}

impl FromStr for PinnedImage {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let (name, digest) = text.split_once('@').ok_or_else(|| ImageNameError::NotPinned(shown(text)))?;
        let digest = digest.parse()?;
        let (host, repository) = name.split_once('/').ok_or_else(|| ImageNameError::NoHost(shown(text)))?;
        // Docker's rule: a first part without `.`, `:` and other than `localhost` is not a host.
        if !(host.contains(['.', ':']) || host == "localhost") {
            return Err(ImageNameError::NoHost(shown(text)));
        }
        // `name:tag@digest` is legal; the digest alone decides, so the tag is checked and dropped.
        let repository = match repository.split_once(':') {
            Some((repository, tag)) => {
                tag.parse::<Tag>()?;
                repository
            }
            None => repository,
        };
        Ok(Self { host: host.parse()?, repository: repository.parse()?, digest })
    }
}

impl TryFrom<String> for PinnedImage {
    type Error = ImageNameError;

    fn try_from(text: String) -> Result<Self, ImageNameError> {
        text.parse()
    }
}

impl From<PinnedImage> for String {
    fn from(image: PinnedImage) -> Self {
        image.to_string()
    }
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.host, self.repository, self.digest)
    }
}

/// A pattern over slash-separated names: `*` matches inside one segment, `**` across segments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamePattern(String);

impl NamePattern {
    /// Creates a pattern; any text is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        fn segment(pattern: &[u8], text: &[u8]) -> bool {
            // Greedy with one point of return: linear in practice, quadratic at worst, never exponential.
            let (mut p, mut t) = (0, 0);
            let mut star: Option<(usize, usize)> = None;
            while t < text.len() {
                if p < pattern.len() && pattern[p] == b'*' {
                    star = Some((p, t));
                    p += 1;
                } else if p < pattern.len() && pattern[p] == text[t] {
                    p += 1;
                    t += 1;
                } else if let Some((star_p, star_t)) = star {
                    p = star_p + 1;
                    t = star_t + 1;
                    star = Some((star_p, star_t + 1));
                } else {
                    return false;
                }
            }
            pattern[p..].iter().all(|b| *b == b'*')
        }
        let pattern: Vec<&str> = self.0.split('/').collect();
        let name: Vec<&str> = name.split('/').collect();
        // reachable[j]: the pattern parts so far match the first j parts of the name.
        let mut reachable = vec![false; name.len() + 1];
        reachable[0] = true;
        for part in pattern {
            let mut next = vec![false; name.len() + 1];
            if part == "**" {
                let mut seen = false;
                for (j, slot) in next.iter_mut().enumerate() {
                    *slot = seen;
                    seen |= reachable[j];
                }
            } else {
                for j in 0..name.len() {
                    next[j + 1] = reachable[j] && segment(part.as_bytes(), name[j].as_bytes());
                }
            }
            reachable = next;
        }
        reachable[name.len()]
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_not_pinned_or_not_complete_are_refused() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        let texts: Vec<String> = [
            "alpine".to_owned(),
            "registry.example/app:latest".to_owned(),
            format!("alpine{digest}"),
            format!("library/alpine{digest}"),
            format!("registry.example/App{digest}"),
            format!("registry.example/app:2026 08{digest}"),
            "registry.example/app@sha256:abc".to_owned(),
            format!("registry.example:0/app{digest}"),
            format!("registry.example:99999/app{digest}"),
            format!("reg istry.example/app{digest}"),
        ]
        .iter()
        .map(|text| text.parse::<PinnedImage>().expect_err(text).to_string())
        .collect();
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn one_star_stays_in_its_segment_and_two_cross() {
        let matches = |pattern: &str, name: &str| NamePattern::new(pattern).matches(name);
        assert!(matches("r.example:5000/base/*", "r.example:5000/base/python"));
        assert!(!matches("r.example:5000/base/*", "r.example:5000/base/python/slim"));
        assert!(matches("r.example:5000/**", "r.example:5000/base/python/slim"));
        assert!(!matches("r.example:5000/**", "r.example:5000"));
        assert!(matches("a/**/z", "a/b/c/z"));
        assert!(!matches("a/**/z", "a/z"));
        assert!(matches("a/p*n", "a/python"));
        assert!(!matches("a/p*n", "a/pythons"));
        assert!(!matches("r.example/base/*", "evil.example/r.example/base/x"));
    }

    proptest! {
        #[test]
        fn a_pinned_image_is_its_own_text(
            host in "[a-z][a-z0-9]{0,8}\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,5}([._-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,3}",
            raw in any::<[u8; 32]>(),
        ) {
            let text = format!("{host}/{path}@{}", Digest::from_sha256(raw));
            prop_assert_eq!(text.parse::<PinnedImage>().expect("an image").to_string(), text);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in ".{0,200}", name in "[a-z*/]{0,40}") {
            let _ = text.parse::<PinnedImage>();
            let _ = text.parse::<Repository>();
            let _ = text.parse::<RegistryHost>();
            let _ = NamePattern::new(name).matches(&text);
        }
    }
}
