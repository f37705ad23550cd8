//! `airlock-hub.toml`: from text to a checked [`HubManifest`], with errors that say where and what is allowed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::{
    HUB_MANIFEST, HubComponent, HubManifest, MAX_COMPONENTS, MAX_MANIFEST_BYTES, MAX_READY_TIMEOUT_S,
    MAX_SERVICES, MAX_SIDECARS, is_service_name,
};
use crate::domain::component::path::RelativePath;
use crate::domain::component::{NAME_RULE, is_component_name};
use crate::domain::image::{PinnedImage, Repository};
use crate::failure::Failure;

/// Most mistakes that a failure tells.
const MAX_TOLD: usize = 20;
const SERVICE_RULE: &str =
    "expected a letter or digit, then letters, digits, `.`, `_`, `-`, at most 63 characters";

/// A table whose keys know where they stand.
type Table<T> = BTreeMap<Spanned<String>, T>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    schema: Spanned<i64>,
    platform: Spanned<String>,
    compose: Option<Spanned<String>>,
    version_file: Option<Spanned<String>>,
    ready_timeout_s: Option<Spanned<i64>>,
    #[serde(rename = "try")]
    try_: Option<RawTry>,
    #[serde(default)]
    components: Table<RawComponent>,
    #[serde(default)]
    sidecars: Table<RawSidecar>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTry {
    image: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawComponent {
    project_id: Spanned<i64>,
    services: Spanned<Table<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSidecar {
    image: Spanned<String>,
}

/// One mistake in `airlock-hub.toml`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubManifestError {
    #[error("{HUB_MANIFEST} has {found} bytes, at most {limit} are read")]
    TooLarge { found: usize, limit: usize },
    #[error("{HUB_MANIFEST}:{line}: `{text}`: {message}")]
    Syntax { line: usize, text: String, message: String },
    #[error("{HUB_MANIFEST}:{line}: `{key}` is `{value}`: {allowed}")]
    Value { line: usize, key: String, value: String, allowed: String },
    #[error("{HUB_MANIFEST}: `{key}` has {found} entries, at most {limit} are read")]
    TooMany { key: String, found: usize, limit: usize },
    #[error("{HUB_MANIFEST}: there is no component: expected at least one table `[components.<name>]`")]
    NoComponent,
}

/// Everything that is wrong with `airlock-hub.toml`; at least one mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubManifestErrors(Vec<HubManifestError>);

impl HubManifestErrors {
    /// Returns the mistakes in the order of the check.
    pub fn all(&self) -> &[HubManifestError] {
        &self.0
    }
}

impl fmt::Display for HubManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for HubManifestErrors {}

impl From<HubManifestErrors> for Failure {
    fn from(errors: HubManifestErrors) -> Self {
        let failure = Failure::refused(format!("cannot use the hub's manifest `{HUB_MANIFEST}`"));
        let failure = errors.0.iter().take(MAX_TOLD).fold(failure, Failure::because);
        let failure = match errors.0.len().saturating_sub(MAX_TOLD) {
            0 => failure,
            more => failure.because(format!("and {more} more")),
        };
        failure.hint("correct the file and commit it; docs/formats.md, \"Hub manifest\", shows every key")
    }
}

/// Collects mistakes while values are checked.
struct Check<'a> {
    text: &'a str,
    errors: Vec<HubManifestError>,
    /// Every service that was seen, with whom it belongs to.
    services: BTreeMap<String, String>,
    /// Every repository of a component, with that component.
    repositories: BTreeMap<Repository, String>,
}

impl Check<'_> {
    fn refuse(&mut self, key: &str, at: &Range<usize>, value: &str, allowed: impl fmt::Display) {
        let (line, key) = (line_of(self.text, at.start), shown(key));
        let (value, allowed) = (shown(value), allowed.to_string());
        self.errors.push(HubManifestError::Value { line, key, value, allowed });
    }

    fn too_many(&mut self, key: &str, found: usize, limit: usize) -> bool {
        if found > limit {
            self.errors.push(HubManifestError::TooMany { key: shown(key), found, limit });
        }
        found > limit
    }

    /// Parses a value that knows its own rule.
    fn parsed<T>(&mut self, key: &str, raw: &Spanned<String>) -> Option<T>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        raw.get_ref().parse().map_err(|why| self.refuse(key, &raw.span(), raw.get_ref(), why)).ok()
    }

    /// Parses the path of a file, which cannot be the root.
    fn file(&mut self, key: &str, raw: Option<&Spanned<String>>, default: &str) -> Option<RelativePath> {
        let Some(raw) = raw else { return default.parse().ok() };
        let path: RelativePath = self.parsed(key, raw)?;
        if path.is_root() {
            self.refuse(key, &raw.span(), raw.get_ref(), "expected a file, not the hub's root");
            return None;
        }
        Some(path)
    }

    fn component_name(&mut self, key: &str, raw: &Spanned<String>) -> Option<String> {
        let name = raw.get_ref();
        if !is_component_name(name) {
            self.refuse(key, &raw.span(), name, NAME_RULE);
            return None;
        }
        Some(name.clone())
    }

    /// Checks a service's name, which stands once in the whole stack.
    fn service(&mut self, key: &str, raw: &Spanned<String>) -> Option<String> {
        let name = raw.get_ref();
        if !is_service_name(name) {
            self.refuse(key, &raw.span(), name, SERVICE_RULE);
            return None;
        }
        if let Some(owner) = self.services.get(name) {
            let allowed = format!("`{owner}` has this service already; a service stands once in the stack");
            self.refuse(key, &raw.span(), name, allowed);
            return None;
        }
        self.services.insert(name.clone(), key.trim_end_matches(".services").to_owned());
        Some(name.clone())
    }
}

pub(super) fn parse(text: &str) -> Result<HubManifest, HubManifestErrors> {
    if text.len() > MAX_MANIFEST_BYTES {
        let error = HubManifestError::TooLarge { found: text.len(), limit: MAX_MANIFEST_BYTES };
        return Err(HubManifestErrors(vec![error]));
    }
    let raw: RawManifest = toml::from_str(text).map_err(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        let message = shown(&error.message().replace('\n', ", "));
        let text = shown(text.lines().nth(line - 1).unwrap_or_default().trim());
        HubManifestErrors(vec![HubManifestError::Syntax { line, text, message }])
    })?;
    let (services, repositories) = Default::default();
    let mut check = Check { text, errors: Vec::new(), services, repositories };
    if *raw.schema.get_ref() != 1 {
        check.refuse("schema", &raw.schema.span(), &raw.schema.get_ref().to_string(), "expected 1");
    }
    let platform = check.component_name("platform", &raw.platform);
    let compose = check.file("compose", raw.compose.as_ref(), "compose.yaml");
    let version_file = check.file("version_file", raw.version_file.as_ref(), "VERSION");
    let ready_timeout_s = ready_timeout(&mut check, raw.ready_timeout_s.as_ref());
    let try_image = raw.try_.and_then(|raw| check.parsed::<PinnedImage>("try.image", &raw.image));
    let components = components(&mut check, &raw.components);
    let sidecars = sidecars(&mut check, &raw.sidecars);
    match (platform, compose, version_file) {
        (Some(platform), Some(compose), Some(version_file)) if check.errors.is_empty() => Ok(HubManifest {
            platform,
            compose,
            version_file,
            ready_timeout_s,
            try_image,
            components,
            sidecars,
        }),
        _ => Err(HubManifestErrors(check.errors)),
    }
}

fn ready_timeout(check: &mut Check<'_>, raw: Option<&Spanned<i64>>) -> u64 {
    const DEFAULT: u64 = 300;
    let Some(raw) = raw else { return DEFAULT };
    match u64::try_from(*raw.get_ref()) {
        Ok(seconds) if (1..=MAX_READY_TIMEOUT_S).contains(&seconds) => seconds,
        _ => {
            let allowed = format!("expected seconds, from 1 to {MAX_READY_TIMEOUT_S}");
            check.refuse("ready_timeout_s", &raw.span(), &raw.get_ref().to_string(), allowed);
            DEFAULT
        }
    }
}

fn components(check: &mut Check<'_>, raw: &Table<RawComponent>) -> BTreeMap<String, HubComponent> {
    let mut components = BTreeMap::new();
    if raw.is_empty() {
        check.errors.push(HubManifestError::NoComponent);
    }
    if check.too_many("components", raw.len(), MAX_COMPONENTS) {
        return components;
    }
    for (key, raw) in raw {
        let name = check.component_name("components", key);
        let table = format!("components.{}", key.get_ref());
        let id = &raw.project_id;
        let project_id = match u64::try_from(*id.get_ref()) {
            Ok(number) if number > 0 => number,
            _ => {
                let value = id.get_ref().to_string();
                check.refuse(
                    &format!("{table}.project_id"),
                    &id.span(),
                    &value,
                    "expected the number of a GitLab project, 1 or more",
                );
                continue;
            }
        };
        let services = services(check, &table, &raw.services);
        if let Some(name) = name {
            components.insert(name, HubComponent { project_id, services });
        }
    }
    components
}

fn services(
    check: &mut Check<'_>,
    table: &str,
    raw: &Spanned<Table<Spanned<String>>>,
) -> BTreeMap<String, Repository> {
    let key = format!("{table}.services");
    let mut services = BTreeMap::new();
    if raw.get_ref().is_empty() {
        check.refuse(
            &key,
            &raw.span(),
            "",
            "expected at least one service, as in `{ api = \"billing/api\" }`",
        );
    }
    if check.too_many(&key, raw.get_ref().len(), MAX_SERVICES) {
        return services;
    }
    for (service, repository) in raw.get_ref() {
        let name = check.service(&key, service);
        let value = format!("{key}.{}", service.get_ref());
        let Some(parsed) = check.parsed::<Repository>(&value, repository) else { continue };
        // An override names a repository, and a release lists it with the commit of one component.
        match check.repositories.get(&parsed) {
            Some(owner) if owner != table => {
                let allowed = format!("`{owner}` has this repository; it belongs to one component");
                check.refuse(&value, &repository.span(), repository.get_ref(), allowed);
                continue;
            }
            _ => check.repositories.insert(parsed.clone(), table.to_owned()),
        };
        if let Some(name) = name {
            services.insert(name, parsed);
        }
    }
    services
}

fn sidecars(check: &mut Check<'_>, raw: &Table<RawSidecar>) -> BTreeMap<String, PinnedImage> {
    let mut sidecars = BTreeMap::new();
    if check.too_many("sidecars", raw.len(), MAX_SIDECARS) {
        return sidecars;
    }
    for (service, raw) in raw {
        let name = check.service("sidecars", service);
        let key = format!("sidecars.{}.image", service.get_ref());
        let Some(image) = check.parsed::<PinnedImage>(&key, &raw.image) else { continue };
        if let Some(name) = name {
            sidecars.insert(name, image);
        }
    }
    sidecars
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}
