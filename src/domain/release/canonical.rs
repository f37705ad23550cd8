//! The release document as bytes: written canonically (RFC 8785), read back only if it is canonical.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{MAX_RELEASE_BYTES, Release, ReleaseComponent};
use crate::domain::component::is_component_name;
use crate::domain::image::Tag;

const SCHEMA_VERSION: u32 = 1;
/// Most components, images of a component, or sidecars.
const MAX_ENTRIES: usize = 64;

/// Why bytes are not a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARelease {
    #[error("it has more than {MAX_RELEASE_BYTES} bytes")]
    TooLarge,
    #[error("it is not a release document: {0}")]
    Json(String),
    #[error("it is not canonical JSON (RFC 8785): the same content has other bytes")]
    NotCanonical,
    #[error("`{key}` is {found}: expected {expected}")]
    Value { key: String, found: String, expected: &'static str },
}

impl Release {
    /// Returns the document's bytes.
    pub fn to_canonical_json(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("strings and small integers are canonical JSON")
    }

    /// Parses and checks a document.
    ///
    /// # Errors
    /// Anything that a document of ours cannot be: unknown keys, another spelling of the same content,
    /// lists out of order, names twice, a version that is not of its sequence.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotARelease> {
        if bytes.len() as u64 > MAX_RELEASE_BYTES {
            return Err(NotARelease::TooLarge);
        }
        let release: Self = serde_json::from_slice(bytes).map_err(|e| {
            NotARelease::Json(e.to_string().chars().filter(|c| !c.is_control()).take(300).collect())
        })?;
        if release.to_canonical_json() != bytes {
            return Err(NotARelease::NotCanonical);
        }
        release.check()?;
        Ok(release)
    }

    /// Checks what the types do not hold.
    pub fn check(&self) -> Result<(), NotARelease> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(value("schemaVersion", self.schema_version, "1"));
        }
        if !is_component_name(&self.platform) {
            return Err(value("platform", quoted(&self.platform), "a name of lower-case words"));
        }
        // JSON's numbers are exact only this far (RFC 8785, section 3.2.2.3).
        if self.sequence == 0 || self.sequence > 1 << 53 {
            return Err(value("sequence", self.sequence, "1 or more"));
        }
        // A number that a promotion took and did not finish is not used again: null may stand with any.
        if self.sequence == 1 && self.previous.is_some() {
            return Err(value("previous", "a release before the first", "null"));
        }
        if self.tag().is_none() || !self.version.ends_with(&format!("-r{}", self.sequence)) {
            return Err(value(
                "version",
                quoted(&self.version),
                "a version that ends in `-r` and the sequence",
            ));
        }
        let created = instant("createdAt", &self.created_at)?;
        if instant("expiresAt", &self.expires_at)? <= created {
            return Err(value("expiresAt", quoted(&self.expires_at), "a time after `createdAt`"));
        }
        sorted("components", self.components.iter().map(|component| component.name.as_str()))?;
        sorted("sidecars", self.sidecars.iter().map(|sidecar| sidecar.name.as_str()))?;
        if self.components.is_empty() {
            return Err(value("components", "empty", "at least one"));
        }
        let mut repositories = BTreeSet::new();
        for component in &self.components {
            check_component(component)?;
            let of_component: BTreeSet<_> = component.images.iter().map(|image| &image.repository).collect();
            if let Some(twice) = of_component.into_iter().find(|repository| !repositories.insert(*repository))
            {
                return Err(value(
                    "repository",
                    quoted(twice.as_str()),
                    "a repository of one component alone",
                ));
            }
        }
        sorted("inputs.changeSet", self.inputs.change_set.iter().map(String::as_str))?;
        sorted("inputs.overrides", self.inputs.overrides.iter().map(String::as_str))
    }

    /// Returns the version as a tag; `None` when it is none.
    pub fn tag(&self) -> Option<Tag> {
        self.version.parse().ok()
    }

    /// Returns when the release ends to be valid.
    pub fn expires(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.expires_at, &Rfc3339).ok()
    }
}

fn check_component(component: &ReleaseComponent) -> Result<(), NotARelease> {
    if !is_component_name(&component.name) {
        return Err(value("name", quoted(&component.name), "a name of lower-case words"));
    }
    if component.images.is_empty() {
        return Err(value("images", format!("empty in `{}`", component.name), "at least one"));
    }
    let keys: Vec<String> =
        component.images.iter().map(|image| format!("{} {}", image.repository, image.platform)).collect();
    sorted("images", keys.iter().map(String::as_str))
}

/// Checks that names ascend, so that none stands twice.
fn sorted<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Result<(), NotARelease> {
    let names: Vec<&str> = names.collect();
    if names.len() > MAX_ENTRIES {
        return Err(value(key, format!("{} entries", names.len()), "at most 64"));
    }
    match names.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => {
            Err(value(key, format!("{} before {}", quoted(pair[0]), quoted(pair[1])), "ascending, each once"))
        }
        None => Ok(()),
    }
}

fn instant(key: &str, text: &str) -> Result<OffsetDateTime, NotARelease> {
    let wrong = || value(key, quoted(text), "a time such as `2026-11-22T10:15:00Z`");
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
    // One spelling of each moment: whole seconds in UTC.
    if time.format(&Rfc3339).is_ok_and(|written| written == text)
        && text.ends_with('Z')
        && time.nanosecond() == 0
    {
        Ok(time)
    } else {
        Err(wrong())
    }
}

fn value(key: &str, found: impl std::fmt::Display, expected: &'static str) -> NotARelease {
    NotARelease::Value { key: key.to_owned(), found: found.to_string(), expected }
}

fn quoted(text: &str) -> String {
    format!("`{}`", text.chars().filter(|c| !c.is_control()).take(80).collect::<String>())
}
