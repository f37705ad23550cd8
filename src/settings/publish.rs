//! `[[publish]]`: which job may publish what.

use serde::Deserialize;

use super::{SettingsError, value};
use crate::domain::image::Repository;
use crate::domain::job::PublishRule;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPublish {
    project_id: u64,
    project_path: String,
    r#ref: String,
    job: String,
    script: Vec<String>,
    repositories: Vec<Repository>,
}

pub(super) fn check(raw: Vec<RawPublish>) -> Result<Vec<PublishRule>, SettingsError> {
    let mut rules: Vec<PublishRule> = Vec::new();
    for (i, rule) in raw.into_iter().enumerate() {
        let key = |name: &str| format!("publish[{i}].{name}");
        if rule.script.is_empty() || rule.script.iter().any(|line| line.trim().is_empty()) {
            return Err(value(key("script"), "empty", "the lines that the job runs, none of them empty"));
        }
        if rule.repositories.is_empty() {
            return Err(value(key("repositories"), "empty", "the repositories that this job may publish"));
        }
        for (name, text) in [("project_path", &rule.project_path), ("ref", &rule.r#ref), ("job", &rule.job)] {
            if text.is_empty() {
                return Err(value(key(name), "empty", "a text that is compared to the byte"));
            }
        }
        let rule = PublishRule {
            project_id: rule.project_id,
            project_path: rule.project_path,
            ref_name: rule.r#ref,
            job: rule.job,
            script: rule.script,
            repositories: rule.repositories,
        };
        if rules
            .iter()
            .any(|r| r.project_id == rule.project_id && r.ref_name == rule.ref_name && r.job == rule.job)
        {
            return Err(value(
                format!("publish[{i}]"),
                format!(
                    "a second rule for project {}, ref `{}`, job `{}`",
                    rule.project_id, rule.ref_name, rule.job
                ),
                "one rule for each project, ref and job",
            ));
        }
        rules.push(rule);
    }
    Ok(rules)
}
