//! `[hub]`: which job of which project tests the platform and promotes it.

use serde::Deserialize;

use super::{SettingsError, value};
use crate::domain::hub::HubRule;
use crate::domain::job::PublishRule;

/// Most users that may change what a run takes.
const MAX_USERS: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHub {
    project_id: u64,
    project_path: String,
    r#ref: String,
    job: String,
    script: Vec<String>,
    #[serde(default)]
    override_users: Vec<u64>,
}

/// Checks the rule by itself, against the publish rules, and for the key that it needs.
pub(super) fn check(
    raw: Option<RawHub>,
    publish: &[PublishRule],
    release_key: Option<&String>,
) -> Result<Option<HubRule>, SettingsError> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.script.is_empty() || raw.script.iter().any(|line| line.trim().is_empty()) {
        return Err(value("hub.script", "empty", "the lines that the job runs, none of them empty"));
    }
    for (key, text) in
        [("hub.project_path", &raw.project_path), ("hub.ref", &raw.r#ref), ("hub.job", &raw.job)]
    {
        if text.is_empty() {
            return Err(value(key, "empty", "a text that is compared to the byte"));
        }
    }
    if raw.override_users.len() > MAX_USERS || raw.override_users.contains(&0) {
        let found = format!("a list of {} numbers", raw.override_users.len());
        return Err(value("hub.override_users", found, "at most 256 GitLab user ids, each 1 or more"));
    }
    // One job must not be two things: what it publishes and what it promotes have different evidence.
    if publish
        .iter()
        .any(|rule| rule.project_id == raw.project_id && rule.ref_name == raw.r#ref && rule.job == raw.job)
    {
        let found = format!(
            "the job `{}` of project {} on `{}`, which a publish rule has",
            raw.job, raw.project_id, raw.r#ref
        );
        return Err(value("hub", found, "a project, ref and job that no `[[publish]]` names"));
    }
    if release_key.is_none_or(|key| key.is_empty()) {
        return Err(value("keys.release", "absent", "the key that signs releases, since `[hub]` is there"));
    }
    Ok(Some(HubRule {
        project_id: raw.project_id,
        project_path: raw.project_path,
        ref_name: raw.r#ref,
        job: raw.job,
        script: raw.script,
        override_users: raw.override_users,
    }))
}
