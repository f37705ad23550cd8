//! The job as GitLab handed it to the runner: `JOB_RESPONSE_FILE` (runner contract §4.1).
//!
//! Keys that this version does not know are passed over, since GitLab adds some with every release;
//! the keys that decide something must be there and well formed.

use std::path::Path;

use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::domain::hub::{HubVariable, VARIABLES};
use crate::domain::job::JobFacts;
use crate::failure::Failure;

/// Largest job response that is read, in bytes.
pub const MAX_RESPONSE_BYTES: u64 = 16 * 1024 * 1024;

/// A parsed job response.
pub struct JobResponse {
    pub facts: JobFacts,
    /// The job's token; it is given to nothing but git's credential helper and GitLab's API.
    pub token: Zeroizing<String>,
    pub image: Option<String>,
    pub steps: Vec<Step>,
    pub services: Vec<String>,
    pub needs_gitlab_runner: Vec<&'static str>,
    pub registry_credentials: Vec<RegistryCredentials>,
    /// The variables that a hub reads, in GitLab's order with their duplicates; no other is kept.
    pub hub_variables: Vec<HubVariable>,
}

/// One step of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    pub script: Vec<String>,
}

/// Registry credentials that GitLab hands to the runner for pulling the job's image.
pub struct RegistryCredentials {
    pub host: String,
    pub username: String,
    pub password: Zeroizing<String>,
}

/// Why a job response cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JobResponseError {
    #[error("`{file}` cannot be read")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{file}` has more than {limit} bytes")]
    TooLarge { file: String, limit: u64 },
    #[error("`{file}` is not a job response: {why}")]
    Json { file: String, why: String },
    #[error("the job response has no usable `{key}`: {why}")]
    Value { key: &'static str, why: String },
}

impl From<JobResponseError> for Failure {
    fn from(error: JobResponseError) -> Self {
        Failure::usage("cannot read the job that GitLab Runner handed over")
            .because_of(&error)
            .hint("for the runner's administrator: Airlock needs GitLab Runner 18.4 or later; see `gitlab-runner --version`")
            .note("runner problem, not your script")
    }
}

#[derive(Deserialize)]
struct RawResponse {
    id: u64,
    #[serde(default)]
    token: String,
    job_info: RawJobInfo,
    git_info: RawGitInfo,
    #[serde(default)]
    runner_info: Option<RawRunnerInfo>,
    #[serde(default)]
    steps: Option<Vec<RawStep>>,
    #[serde(default)]
    image: Option<RawImage>,
    #[serde(default)]
    services: Option<Vec<RawImage>>,
    #[serde(default)]
    artifacts: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    cache: Option<Vec<RawCache>>,
    #[serde(default)]
    dependencies: Option<Vec<RawDependency>>,
    #[serde(default)]
    credentials: Option<Vec<RawCredentials>>,
    #[serde(default)]
    variables: Option<Vec<RawVariable>>,
}

#[derive(Deserialize)]
struct RawVariable {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    value: Option<String>,
}

#[derive(Deserialize)]
struct RawJobInfo {
    #[serde(default)]
    name: String,
    project_id: u64,
    #[serde(default)]
    project_full_path: Option<String>,
    #[serde(default)]
    pipeline_id: Option<u64>,
    #[serde(default)]
    user_id: Option<u64>,
}

#[derive(Deserialize)]
struct RawGitInfo {
    repo_url: String,
    #[serde(default, rename = "ref")]
    ref_name: String,
    #[serde(default)]
    ref_type: String,
    sha: String,
    #[serde(default)]
    protected: Option<bool>,
}

#[derive(Deserialize, Default)]
struct RawRunnerInfo {
    #[serde(default)]
    uuid: Option<String>,
    #[serde(default)]
    timeout: Option<i64>,
}

#[derive(Deserialize)]
struct RawStep {
    #[serde(default)]
    name: String,
    #[serde(default)]
    script: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawImage {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct RawCache {
    #[serde(default)]
    paths: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(default)]
    untracked: Option<bool>,
}

#[derive(Deserialize)]
struct RawDependency {
    #[serde(default)]
    artifacts_file: Option<RawArtifactsFile>,
}

#[derive(Deserialize)]
struct RawArtifactsFile {
    #[serde(default)]
    filename: Option<String>,
}

#[derive(Deserialize)]
struct RawCredentials {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl JobResponse {
    /// Reads and parses the file.
    pub fn read(path: &Path) -> Result<Self, JobResponseError> {
        use std::io::Read;
        let file = path.display().to_string();
        let error = |source| JobResponseError::Read { file: file.clone(), source };
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .map_err(error)?
            .take(MAX_RESPONSE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(error)?;
        if bytes.len() as u64 > MAX_RESPONSE_BYTES {
            return Err(JobResponseError::TooLarge { file, limit: MAX_RESPONSE_BYTES });
        }
        Self::parse(&bytes, &file)
    }

    /// Parses the content of a job response; `file` is for error texts.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self, JobResponseError> {
        // serde_json's message names line and column but never quotes a value: no secret leaks.
        let raw: RawResponse = serde_json::from_slice(bytes)
            .map_err(|e| JobResponseError::Json { file: file.to_owned(), why: e.to_string() })?;
        let value = |key, why: &dyn std::fmt::Display| JobResponseError::Value { key, why: why.to_string() };
        let mut url = Url::parse(&raw.git_info.repo_url).map_err(|e| value("git_info.repo_url", &e))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(value(
                "git_info.repo_url",
                &format!("scheme `{}`, expected http or https", url.scheme()),
            ));
        }
        // The user info carries the token; neither logs nor provenance may see it.
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(value("git_info.repo_url", &"it cannot carry a user"));
        }
        url.set_query(None);
        url.set_fragment(None);
        let commit = raw.git_info.sha.parse().map_err(|e| value("git_info.sha", &e))?;
        let project_path = match raw.job_info.project_full_path.filter(|path| !path.is_empty()) {
            Some(path) => path,
            // Runners before 18.5: the runner itself derives it so (runner contract §4.2).
            None => url.path().trim_start_matches('/').trim_end_matches(".git").to_owned(),
        };
        if !is_project_path(&project_path) {
            return Err(value(
                "job_info.project_full_path",
                &"it is not a path of names separated by slashes",
            ));
        }
        let runner = raw.runner_info.unwrap_or_default();
        let mut needs_gitlab_runner = Vec::new();
        if raw.artifacts.is_some_and(|artifacts| !artifacts.is_empty()) {
            needs_gitlab_runner.push("artifacts");
        }
        if raw.cache.is_some_and(|caches| {
            caches
                .iter()
                .any(|c| c.untracked == Some(true) || c.paths.as_ref().is_some_and(|p| !p.is_empty()))
        }) {
            needs_gitlab_runner.push("cache");
        }
        if raw.dependencies.is_some_and(|dependencies| {
            dependencies.iter().any(|d| {
                d.artifacts_file.as_ref().and_then(|f| f.filename.as_ref()).is_some_and(|f| !f.is_empty())
            })
        }) {
            needs_gitlab_runner.push("dependencies");
        }
        Ok(Self {
            facts: JobFacts {
                job_id: raw.id,
                job_name: raw.job_info.name,
                project_id: raw.job_info.project_id,
                project_path,
                pipeline_id: raw.job_info.pipeline_id.unwrap_or(0),
                user_id: raw.job_info.user_id,
                ref_name: raw.git_info.ref_name,
                ref_type: raw.git_info.ref_type,
                protected: raw.git_info.protected,
                commit,
                repository_url: url,
                runner_uuid: runner.uuid.unwrap_or_default(),
                timeout_s: runner
                    .timeout
                    .and_then(|t| u64::try_from(t).ok())
                    .filter(|t| *t > 0)
                    .unwrap_or(7200),
            },
            token: Zeroizing::new(raw.token),
            image: raw.image.map(|image| image.name).filter(|name| !name.is_empty()),
            steps: raw
                .steps
                .unwrap_or_default()
                .into_iter()
                .map(|step| Step { name: step.name, script: step.script.unwrap_or_default() })
                .collect(),
            services: raw.services.unwrap_or_default().into_iter().map(|service| service.name).collect(),
            needs_gitlab_runner,
            registry_credentials: raw
                .credentials
                .unwrap_or_default()
                .into_iter()
                .filter(|c| c.kind == "registry")
                .map(|c| RegistryCredentials {
                    host: c.url,
                    username: c.username,
                    password: Zeroizing::new(c.password),
                })
                .collect(),
            hub_variables: raw
                .variables
                .unwrap_or_default()
                .into_iter()
                .filter_map(|variable| {
                    let key = variable.key.filter(|key| VARIABLES.contains(&key.as_str()))?;
                    Some(HubVariable { key, value: variable.value.unwrap_or_default() })
                })
                .collect(),
        })
    }
}

/// GitLab's own alphabet for paths; it becomes a directory in containers, so nothing may climb.
fn is_project_path(path: &str) -> bool {
    path.len() <= 1000
        && path.contains('/')
        && path.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && part.bytes().any(|b| b != b'.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn response() -> Value {
        json!({
            "id": 101, "token": "job-token-secret", "inputs": {},
            "job_info": {"name": "stage-unit-test", "project_id": 17, "project_full_path": "acme/billing", "pipeline_id": 5},
            "git_info": {"repo_url": "https://gitlab-ci-token:job-token-secret@gitlab.acme.internal/acme/billing.git",
                "ref": "staging", "ref_type": "branch", "sha": "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b", "protected": true},
            "runner_info": {"timeout": 600, "uuid": "r_abc"},
            "steps": [{"name": "script", "script": ["make stage-unit-test"]}],
            "image": {"name": "registry.acme.internal/base/python@sha256:00"},
            "services": null, "artifacts": null, "cache": null, "credentials": null, "dependencies": null,
            "a_key_from_the_future": {"x": 1}
        })
    }

    fn parse(value: &Value) -> Result<JobResponse, JobResponseError> {
        JobResponse::parse(&serde_json::to_vec(value).expect("JSON"), "response.json")
    }

    #[test]
    fn the_url_loses_its_user_and_password() {
        let response = parse(&response()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(response.facts.repository_url.as_str(), "https://gitlab.acme.internal/acme/billing.git");
        assert_eq!(response.token.as_str(), "job-token-secret");
    }

    #[test]
    fn without_a_project_path_the_url_tells_it() {
        let mut value = response();
        value["job_info"].as_object_mut().expect("an object").remove("project_full_path");
        assert_eq!(parse(&value).unwrap_or_else(|e| panic!("{e}")).facts.project_path, "acme/billing");
    }

    #[test]
    fn what_needs_gitlab_runner_is_named() {
        let mut value = response();
        value["artifacts"] = json!([{"paths": ["a"]}]);
        value["cache"] = json!([{"key": "k", "paths": ["b"]}, {"paths": []}]);
        value["dependencies"] = json!([{"id": 1, "artifacts_file": {"filename": "a.zip"}}]);
        let response = parse(&value).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(response.needs_gitlab_runner, ["artifacts", "cache", "dependencies"]);
    }

    #[test]
    fn of_the_variables_only_the_hubs_two_are_kept_with_their_duplicates() {
        let mut value = response();
        value["variables"] = json!([
            {"key": "CI_JOB_TOKEN", "value": "job-token-secret", "masked": true},
            {"key": "AIRLOCK_CHANGE_SET", "value": "billing", "public": true},
            {"key": "airlock_change_set", "value": "x"}, {"key": null, "value": null}, {},
            {"key": "AIRLOCK_OVERRIDE", "value": null},
            {"key": "AIRLOCK_CHANGE_SET", "value": "ledger", "raw": true}
        ]);
        let kept = parse(&value).unwrap_or_else(|e| panic!("{e}")).hub_variables;
        let kept: Vec<_> = kept.iter().map(|v| (v.key.as_str(), v.value.as_str())).collect();
        let expected =
            [("AIRLOCK_CHANGE_SET", "billing"), ("AIRLOCK_OVERRIDE", ""), ("AIRLOCK_CHANGE_SET", "ledger")];
        assert_eq!(kept, expected);
        value["variables"] = Value::Null;
        assert!(parse(&value).unwrap_or_else(|e| panic!("{e}")).hub_variables.is_empty());
    }

    #[test]
    fn malformed_responses_are_refused_without_quoting_a_secret() {
        let changes: [(&str, fn(&mut Value)); 8] = [
            ("no id", |v| v["id"] = Value::Null),
            ("no git_info", |v| v["git_info"] = Value::Null),
            ("sha is a branch", |v| v["git_info"]["sha"] = json!("staging")),
            ("url is a path", |v| v["git_info"]["repo_url"] = json!("/srv/git/billing")),
            ("url is a file", |v| v["git_info"]["repo_url"] = json!("file:///srv/git/acme/billing")),
            ("project path climbs", |v| v["job_info"]["project_full_path"] = json!("acme/../../etc")),
            ("project path is an option", |v| v["job_info"]["project_full_path"] = json!("acme/--x")),
            ("project path has a space", |v| v["job_info"]["project_full_path"] = json!("acme/a b")),
        ];
        let mut texts = String::new();
        for (name, change) in changes {
            let mut value = response();
            change(&mut value);
            let Err(error) = parse(&value) else { panic!("{name} was accepted") };
            texts.push_str(&format!("── {name}\n{}\n\n", Failure::from(error)));
        }
        let Err(error) = JobResponse::parse(b"{\"id\": 1", "response.json") else {
            panic!("cut JSON was accepted")
        };
        texts.push_str(&format!("── cut\n{}\n", Failure::from(error)));
        assert!(!texts.contains("job-token-secret"));
        insta::assert_snapshot!(texts);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = JobResponse::parse(&bytes, "response.json");
        }
    }
}
