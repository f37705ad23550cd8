//! The two variables of a hub job that change what is tested, and who may give them.
//!
//! A variable can be set by anybody who can start a pipeline or edit its YAML, so neither counts without
//! the host's word that this user may use it. An override never takes evidence away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{HubInputs, HubManifest, HubRule, MAX_COMPONENTS};
use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::failure::Failure;

const CHANGE_SET: &str = "AIRLOCK_CHANGE_SET";
const OVERRIDE: &str = "AIRLOCK_OVERRIDE";

/// The variables of a job that a hub reads; no other is ever kept.
pub const VARIABLES: [&str; 2] = [CHANGE_SET, OVERRIDE];
/// Longest value, in bytes.
const MAX_VALUE_BYTES: usize = 16 * 1024;
/// Most overridden images.
const MAX_OVERRIDES: usize = 256;
/// Most mistakes that a failure tells.
const MAX_TOLD: usize = 20;

/// One of [`VARIABLES`] as the job response has it, in its order and with its duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubVariable {
    pub key: String,
    pub value: String,
}

/// One mistake in a run's inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("`{key}` is given {times} times: whoever gave it last would win, so none is taken")]
    Duplicate { key: &'static str, times: usize },
    #[error("`{key}` may not be used by user {user}: the host's `[hub] override_users` lists {allowed}")]
    NotAllowed { key: &'static str, user: u64, allowed: String },
    #[error("`{key}` is given, and GitLab does not say who started the job")]
    NobodyKnown { key: &'static str },
    #[error("`{key}` has {found} bytes, at most {limit} are read")]
    TooLong { key: &'static str, found: usize, limit: usize },
    #[error("`{key}` has {found} entries, at most {limit} are read")]
    TooMany { key: &'static str, found: usize, limit: usize },
    #[error("`{key}` has `{value}`: {allowed}")]
    Value { key: &'static str, value: String, allowed: String },
}

/// Everything that is wrong with a run's inputs; at least one mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputErrors(Vec<InputError>);

impl InputErrors {
    /// Returns the mistakes in the order of the check.
    pub fn all(&self) -> &[InputError] {
        &self.0
    }
}

impl fmt::Display for InputErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for InputErrors {}

impl From<InputErrors> for Failure {
    fn from(errors: InputErrors) -> Self {
        let failure = Failure::refused("cannot use this run's change set or overrides");
        let failure = errors.0.iter().take(MAX_TOLD).fold(failure, Failure::because);
        let who = |error: &InputError| {
            matches!(error, InputError::NotAllowed { .. } | InputError::NobodyKnown { .. })
        };
        let failure = if errors.0.iter().any(who) {
            failure
                .hint("run the pipeline without these variables, or have a listed user start it")
                .hint("for the runner's administrator: `override_users` under `[hub]` in the host settings")
        } else {
            failure.hint(
                "correct the variable where it was given (pipeline, schedule, project, group or YAML), once",
            )
        };
        failure.note("the runner refused this job before its script; retrying will not help")
    }
}

impl HubInputs {
    /// Reads the inputs from a job's `variables`; without any of the two the inputs are empty.
    ///
    /// # Errors
    /// Everything that is wrong at once; who may use the variables comes first.
    pub fn from_variables(
        variables: &[HubVariable],
        user_id: Option<u64>,
        rule: &HubRule,
        manifest: &HubManifest,
    ) -> Result<Self, InputErrors> {
        let mut errors = Vec::new();
        let change_set = value_of(CHANGE_SET, variables, user_id, rule, &mut errors);
        let change_set =
            change_set.map(|value| parse_change_set(value, manifest, &mut errors)).unwrap_or_default();
        let overrides = value_of(OVERRIDE, variables, user_id, rule, &mut errors);
        let overrides =
            overrides.map(|value| parse_overrides(value, manifest, &mut errors)).unwrap_or_default();
        if errors.is_empty() { Ok(Self { change_set, overrides, user_id }) } else { Err(InputErrors(errors)) }
    }
}

/// Returns the value of a variable that is given once by somebody who may; an empty value is none.
fn value_of<'a>(
    key: &'static str,
    variables: &'a [HubVariable],
    user_id: Option<u64>,
    rule: &HubRule,
    errors: &mut Vec<InputError>,
) -> Option<&'a str> {
    let values: Vec<&str> =
        variables.iter().filter(|variable| variable.key == key).map(|v| v.value.as_str()).collect();
    let value = match values.as_slice() {
        [] => return None,
        [value] if value.trim().is_empty() => return None,
        [value] => value,
        more => {
            errors.push(InputError::Duplicate { key, times: more.len() });
            return None;
        }
    };
    let refused = match user_id {
        None => Some(InputError::NobodyKnown { key }),
        Some(user) if !rule.override_users.contains(&user) => {
            let listed: Vec<String> = rule.override_users.iter().map(ToString::to_string).collect();
            let allowed = if listed.is_empty() { "nobody".to_owned() } else { listed.join(", ") };
            Some(InputError::NotAllowed { key, user, allowed })
        }
        Some(_) if value.len() > MAX_VALUE_BYTES => {
            Some(InputError::TooLong { key, found: value.len(), limit: MAX_VALUE_BYTES })
        }
        Some(_) => None,
    };
    match refused {
        Some(error) => {
            errors.push(error);
            None
        }
        None => Some(value),
    }
}

fn entries<'a>(
    key: &'static str,
    value: &'a str,
    limit: usize,
    errors: &mut Vec<InputError>,
) -> Vec<&'a str> {
    let entries: Vec<&str> = value.split(',').map(str::trim).collect();
    if entries.len() > limit {
        errors.push(InputError::TooMany { key, found: entries.len(), limit });
        return Vec::new();
    }
    entries
}

fn parse_change_set(value: &str, manifest: &HubManifest, errors: &mut Vec<InputError>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for entry in entries(CHANGE_SET, value, MAX_COMPONENTS, errors) {
        let allowed = if !manifest.components.contains_key(entry) {
            let known: Vec<&str> = manifest.components.keys().map(String::as_str).collect();
            format!("expected a component of the hub: {}", known.join(", "))
        } else if !names.insert(entry.to_owned()) {
            "it stands there twice".to_owned()
        } else {
            continue;
        };
        errors.push(InputError::Value { key: CHANGE_SET, value: shown(entry), allowed });
    }
    names.into_iter().collect()
}

fn parse_overrides(
    value: &str,
    manifest: &HubManifest,
    errors: &mut Vec<InputError>,
) -> BTreeMap<Repository, Digest> {
    let mut overrides: BTreeMap<Repository, Digest> = BTreeMap::new();
    for entry in entries(OVERRIDE, value, MAX_OVERRIDES, errors) {
        let parsed = match entry.split_once('@') {
            Some((repository, digest)) => repository
                .parse::<Repository>()
                .map_err(|why| why.to_string())
                .and_then(|repository| Ok((repository, digest.parse().map_err(refusal)?))),
            None => Err("expected `repository@sha256:<64 hex>`".to_owned()),
        };
        let allowed = match parsed {
            Ok((repository, _)) if manifest.owner_of(&repository).is_none() => {
                "no component of the hub has this repository".to_owned()
            }
            Ok((repository, _)) if overrides.contains_key(&repository) => {
                "its repository stands there twice".to_owned()
            }
            Ok((repository, digest)) => {
                overrides.insert(repository, digest);
                continue;
            }
            Err(why) => why,
        };
        errors.push(InputError::Value { key: OVERRIDE, value: shown(entry), allowed });
    }
    overrides
}

fn refusal(why: crate::domain::digest::NotADigest) -> String {
    why.to_string()
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}
