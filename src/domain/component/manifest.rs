//! `airlock.toml`: from text to a checked [`ComponentManifest`], with errors that say where and what is allowed.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::path::RelativePath;
use super::{
    ComponentManifest, ImageBuild, MAX_IMAGES, MAX_MANIFEST_BYTES, MAX_REPORT_PATTERNS, is_component_name,
};
use crate::domain::image::{NamePattern, PinnedImage, Repository};
use crate::failure::Failure;

const FILE: &str = "airlock.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    schema: Spanned<i64>,
    name: Option<Spanned<String>>,
    version_file: Option<Spanned<String>>,
    #[serde(default)]
    junit: Vec<Spanned<String>>,
    #[serde(rename = "try")]
    try_: Option<RawTry>,
    #[serde(default, rename = "image")]
    images: Vec<RawImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTry {
    image: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    repository: Spanned<String>,
    dockerfile: Option<Spanned<String>>,
    context: Option<Spanned<String>>,
    target: Option<Spanned<String>>,
}

/// One mistake in `airlock.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("{FILE} has {found} bytes, at most {limit} are read")]
    TooLarge { found: usize, limit: usize },
    #[error("{FILE}:{line}: `{text}`: {message}")]
    Syntax { line: usize, text: String, message: String },
    #[error("{FILE}:{line}: `{key}` is `{value}`: {allowed}")]
    Value { line: usize, key: &'static str, value: String, allowed: String },
    #[error("{FILE}: `{key}` has {found} entries, at most {limit} are read")]
    TooMany { key: &'static str, found: usize, limit: usize },
    #[error("the project `{project}` gives no component name, and {FILE} has no `name`: {NAME_RULE}")]
    NoName { project: String },
}

pub(in crate::domain) const NAME_RULE: &str =
    "expected lower-case letters and digits in words separated by single `-`, at most 63 characters";

/// Everything that is wrong with `airlock.toml`; at least one mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestErrors(Vec<ManifestError>);

impl ManifestErrors {
    /// Returns the mistakes in the order of the check.
    pub fn all(&self) -> &[ManifestError] {
        &self.0
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for ManifestErrors {}

impl From<ManifestErrors> for Failure {
    fn from(errors: ManifestErrors) -> Self {
        let failure = Failure::refused(format!("cannot use the component manifest `{FILE}`"));
        let failure = errors.0.iter().take(20).fold(failure, Failure::because);
        if errors.0.iter().any(|error| matches!(error, ManifestError::NoName { .. })) {
            return failure.hint(format!("write `name = \"…\"` into `{FILE}` at the component's root"));
        }
        failure.hint("correct the file and commit it; README, \"The component manifest\", shows every key")
    }
}

/// Collects mistakes while values are checked.
struct Check<'a> {
    text: &'a str,
    errors: Vec<ManifestError>,
}

impl Check<'_> {
    fn refuse(&mut self, key: &'static str, at: Range<usize>, value: &str, allowed: impl fmt::Display) {
        let line = line_of(self.text, at.start);
        self.errors.push(ManifestError::Value {
            line,
            key,
            value: shown(value),
            allowed: allowed.to_string(),
        });
    }

    /// Parses a value that knows its own rule.
    fn parsed<T>(&mut self, key: &'static str, raw: &Spanned<String>) -> Option<T>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        match raw.get_ref().parse() {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(key, raw.span(), raw.get_ref(), why);
                None
            }
        }
    }

    /// Parses the path of a file, which cannot be the root.
    fn file(
        &mut self,
        key: &'static str,
        raw: Option<&Spanned<String>>,
        default: &str,
    ) -> Option<RelativePath> {
        let Some(raw) = raw else { return default.parse().ok() };
        let path: RelativePath = self.parsed(key, raw)?;
        if path.is_root() {
            self.refuse(key, raw.span(), raw.get_ref(), "expected a file, not the component's root");
            return None;
        }
        Some(path)
    }
}

pub(super) fn parse(text: &str, project_path: &str) -> Result<ComponentManifest, ManifestErrors> {
    if text.len() > MAX_MANIFEST_BYTES {
        let error = ManifestError::TooLarge { found: text.len(), limit: MAX_MANIFEST_BYTES };
        return Err(ManifestErrors(vec![error]));
    }
    let raw: RawManifest = toml::from_str(text).map_err(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        let message = error.message().replace('\n', ", ");
        let text = shown(text.lines().nth(line - 1).unwrap_or_default().trim());
        ManifestErrors(vec![ManifestError::Syntax { line, text, message: shown(&message) }])
    })?;
    let mut check = Check { text, errors: Vec::new() };
    if *raw.schema.get_ref() != 1 {
        let value = raw.schema.get_ref().to_string();
        check.refuse("schema", raw.schema.span(), &value, "expected 1");
    }
    let name = name(&mut check, raw.name.as_ref(), project_path);
    let version_file = check.file("version_file", raw.version_file.as_ref(), "VERSION");
    let junit = junit(&mut check, &raw.junit);
    let try_image = raw.try_.and_then(|raw| check.parsed::<PinnedImage>("try.image", &raw.image));
    let images = images(&mut check, &raw.images, name.as_deref());
    match (name, version_file) {
        (Some(name), Some(version_file)) if check.errors.is_empty() => {
            Ok(ComponentManifest { name, version_file, junit, images, try_image })
        }
        _ => Err(ManifestErrors(check.errors)),
    }
}

fn name(check: &mut Check<'_>, raw: Option<&Spanned<String>>, project_path: &str) -> Option<String> {
    match raw {
        Some(raw) if is_component_name(raw.get_ref()) => Some(raw.get_ref().clone()),
        Some(raw) => {
            check.refuse("name", raw.span(), raw.get_ref(), NAME_RULE);
            None
        }
        None => {
            let name = project_path.rsplit('/').next().unwrap_or(project_path);
            if is_component_name(name) {
                return Some(name.to_owned());
            }
            check.errors.push(ManifestError::NoName { project: shown(project_path) });
            None
        }
    }
}

fn junit(check: &mut Check<'_>, raw: &[Spanned<String>]) -> Vec<NamePattern> {
    if raw.len() > MAX_REPORT_PATTERNS {
        let (found, limit) = (raw.len(), MAX_REPORT_PATTERNS);
        check.errors.push(ManifestError::TooMany { key: "junit", found, limit });
        return Vec::new();
    }
    let mut patterns = Vec::new();
    for raw in raw {
        // A pattern obeys the rule of paths; `*` and `**` are ordinary characters there.
        match check.parsed::<RelativePath>("junit", raw) {
            Some(path) if path.is_root() => {
                check.refuse(
                    "junit",
                    raw.span(),
                    ".",
                    "expected a pattern of files, not the component's root",
                );
            }
            Some(path) => patterns.push(NamePattern::new(path.as_str())),
            None => {}
        }
    }
    patterns
}

fn images(check: &mut Check<'_>, raw: &[RawImage], name: Option<&str>) -> Vec<ImageBuild> {
    if raw.len() > MAX_IMAGES {
        check.errors.push(ManifestError::TooMany { key: "image", found: raw.len(), limit: MAX_IMAGES });
        return Vec::new();
    }
    let mut images: Vec<ImageBuild> = Vec::new();
    for raw in raw {
        let repository = check.parsed::<Repository>("image.repository", &raw.repository);
        let dockerfile = check.file("image.dockerfile", raw.dockerfile.as_ref(), "Dockerfile");
        let context = match &raw.context {
            Some(context) => check.parsed("image.context", context),
            None => Some(RelativePath::root()),
        };
        if let Some(target) = raw.target.as_ref().filter(|target| !is_stage_name(target.get_ref())) {
            let allowed = "expected a stage's name: a letter, then letters, digits, `.`, `_`, `-`, at most 128 characters";
            check.refuse("image.target", target.span(), target.get_ref(), allowed);
        }
        if repository.as_ref().is_some_and(|new| images.iter().any(|image| image.repository == *new)) {
            let value = raw.repository.get_ref();
            check.refuse(
                "image.repository",
                raw.repository.span(),
                value,
                "another image has this repository",
            );
        }
        if let (Some(repository), Some(dockerfile), Some(context)) = (repository, dockerfile, context) {
            let target = raw.target.as_ref().map(|target| target.get_ref().clone());
            images.push(ImageBuild { repository, dockerfile, context, target });
        }
    }
    if raw.is_empty()
        && let Some((repository, dockerfile)) =
            name.and_then(|name| name.parse().ok()).zip("Dockerfile".parse().ok())
    {
        images.push(ImageBuild { repository, dockerfile, context: RelativePath::root(), target: None });
    }
    images
}

fn is_stage_name(name: &str) -> bool {
    name.len() <= 128
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}
