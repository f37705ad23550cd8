//! The job payload that GitLab answers to `POST jobs/request`, with the defaults of a plain job.

use serde_json::{Value, json};

/// A job payload under construction; setters take it by value and may come in any order.
#[derive(Clone)]
pub struct JobPayload {
    document: Value,
    author_variables: Vec<Value>,
    has_repository: bool,
}

impl JobPayload {
    /// Makes the payload of a job without a repository (`GIT_STRATEGY=none`); `gitlab_url` has no final slash.
    pub fn new(id: u64, token: &str, gitlab_url: &str) -> Self {
        let document = json!({
            "id": id,
            "token": token,
            "allow_git_fetch": true,
            "job_info": {
                "id": id, "name": "build", "stage": "test", "pipeline_id": 5, "user_id": 3,
                "project_id": 7, "project_name": "app", "project_full_path": "grp/app",
                "namespace_id": 2, "root_namespace_id": 2, "instance_id": "fake", "instance_uuid": "fake",
                "time_in_queue_seconds": 1.5, "project_jobs_running_on_instance_runners_count": "0"
            },
            "git_info": {
                "repo_url": repository_url(gitlab_url, token, "grp/app"), "repo_object_format": "sha1",
                "ref": "main", "sha": "0123456789abcdef0123456789abcdef01234567",
                "before_sha": "0000000000000000000000000000000000000000", "ref_type": "branch",
                "refspecs": ["+refs/heads/main:refs/remotes/origin/main"], "depth": 20, "protected": true
            },
            "runner_info": {"timeout": 600, "runner_session_url": null},
            "variables": [],
            "steps": [script_step("script", &["echo hi"])],
            "image": {"name": "alpine:3"},
            "services": [], "artifacts": [], "cache": [], "credentials": [], "dependencies": [],
            "features": {
                "trace_sections": true,
                "failure_reasons": [
                    "script_failure", "runner_system_failure", "job_execution_timeout", "runner_interrupted"
                ]
            }
        });
        Self { document, author_variables: Vec::new(), has_repository: false }
    }

    /// Returns the job's id.
    pub fn id(&self) -> u64 {
        self.document["id"].as_u64().expect("a job's id is a number")
    }

    /// Returns the job's token (`CI_JOB_TOKEN`).
    pub fn token(&self) -> String {
        self.document["token"].as_str().expect("a job's token is a string").to_owned()
    }

    /// Returns the project's full path.
    pub fn project_path(&self) -> String {
        self.document["job_info"]["project_full_path"].as_str().unwrap_or_default().to_owned()
    }

    /// Sets the project and its repository's URL.
    pub fn project(self, id: u64, full_path: &str, gitlab_url: &str) -> Self {
        let url = repository_url(gitlab_url, &self.token(), full_path);
        let name = full_path.rsplit('/').next().unwrap_or(full_path).to_owned();
        self.set("/job_info/project_id", id)
            .set("/job_info/project_full_path", full_path)
            .set("/job_info/project_name", name)
            .set("/git_info/repo_url", url)
    }

    /// Says that the repository is really served, so that `get_sources` fetches it.
    pub fn with_repository(mut self) -> Self {
        self.has_repository = true;
        self
    }

    /// Sets the branch, with its refspec.
    pub fn branch(self, name: &str) -> Self {
        self.set("/git_info/ref", name)
            .set("/git_info/ref_type", "branch")
            .set("/git_info/refspecs", json!([format!("+refs/heads/{name}:refs/remotes/origin/{name}")]))
    }

    /// Sets a tag as the job's ref, with its refspec.
    pub fn tag(self, name: &str) -> Self {
        self.set("/git_info/ref", name)
            .set("/git_info/ref_type", "tag")
            .set("/git_info/refspecs", json!([format!("+refs/tags/{name}:refs/tags/{name}")]))
    }

    /// Sets any ref, ref type and refspecs (merge request pipelines).
    pub fn reference(self, name: &str, ref_type: &str, refspecs: &[&str]) -> Self {
        self.set("/git_info/ref", name)
            .set("/git_info/ref_type", ref_type)
            .set("/git_info/refspecs", json!(refspecs))
    }

    /// Sets the commit.
    pub fn sha(self, sha: &str) -> Self {
        self.set("/git_info/sha", sha)
    }

    /// Sets whether the ref is protected; `None` is the `null` of an older GitLab.
    pub fn protected(self, protected: Option<bool>) -> Self {
        self.set("/git_info/protected", json!(protected))
    }

    /// Sets the job's name in `.gitlab-ci.yml`.
    pub fn name(self, name: &str) -> Self {
        self.set("/job_info/name", name)
    }

    /// Sets the lines of `script:`.
    pub fn script(self, lines: &[&str]) -> Self {
        self.step("script", lines)
    }

    /// Sets the lines of `after_script:`.
    pub fn after_script(self, lines: &[&str]) -> Self {
        self.step("after_script", lines).set_in_step("after_script", "when", json!("always"))
    }

    /// Sets the lines of the step `name`; a new step goes in front of `after_script`, as Rails orders them.
    pub fn step(mut self, name: &str, lines: &[&str]) -> Self {
        let steps = self.document["steps"].as_array_mut().expect("steps is an array");
        if let Some(step) = steps.iter_mut().find(|step| step["name"] == name) {
            step["script"] = json!(lines);
            return self;
        }
        let after = steps.iter().position(|step| step["name"] == "after_script").unwrap_or(steps.len());
        steps.insert(after, script_step(name, lines));
        self
    }

    /// Sets the image by name.
    pub fn image(self, name: &str) -> Self {
        self.set("/image", json!({"name": name}))
    }

    /// Leaves the job without an image.
    pub fn no_image(self) -> Self {
        self.set("/image", json!({"name": ""}))
    }

    /// Adds a variable of the author's (YAML or UI); it comes after GitLab's own and so wins.
    pub fn variable(self, key: &str, value: &str) -> Self {
        self.variable_entry(json!({"key": key, "value": value, "public": true}))
    }

    /// Adds a variable that the runner masks in the log.
    pub fn masked_variable(self, key: &str, value: &str) -> Self {
        self.variable_entry(json!({"key": key, "value": value, "masked": true}))
    }

    /// Adds a variable of type file.
    pub fn file_variable(self, key: &str, content: &str) -> Self {
        self.variable_entry(json!({"key": key, "value": content, "file": true}))
    }

    /// Adds a variable exactly as given.
    pub fn variable_entry(mut self, entry: Value) -> Self {
        self.author_variables.push(entry);
        self
    }

    /// Adds `artifacts: paths:` with a `when` of `on_success`, `on_failure` or `always`.
    pub fn artifact_paths(self, paths: &[&str], when: &str) -> Self {
        self.push(
            "artifacts",
            json!({
                "name": "default", "untracked": false, "paths": paths, "exclude": [], "when": when,
                "artifact_type": "archive", "artifact_format": "zip", "expire_in": "1 day"
            }),
        )
    }

    /// Adds `artifacts: reports: junit:`.
    pub fn junit_report(self, path: &str) -> Self {
        self.push(
            "artifacts",
            json!({
                "name": "junit.xml", "untracked": false, "paths": [path], "exclude": null, "when": "always",
                "artifact_type": "junit", "artifact_format": "gzip", "expire_in": "1 day"
            }),
        )
    }

    /// Adds a cache that is pulled and pushed whatever the result.
    pub fn cache_paths(self, key: &str, paths: &[&str]) -> Self {
        self.push(
            "cache",
            json!({
                "key": key, "untracked": false, "policy": "pull-push", "paths": paths, "when": "always",
                "fallback_keys": []
            }),
        )
    }

    /// Adds a dependency whose artifacts the job downloads; see `FakeGitLab::serve_artifact`.
    pub fn dependency(self, id: u64, token: &str, name: &str) -> Self {
        self.push(
            "dependencies",
            json!({
                "id": id, "token": token, "name": name,
                "artifacts_file": {"filename": "artifacts.zip", "size": 100}
            }),
        )
    }

    /// Adds a service.
    pub fn service(self, entry: Value) -> Self {
        self.push("services", entry)
    }

    /// Sets the job's timeout in seconds.
    pub fn timeout(self, seconds: u64) -> Self {
        self.set("/runner_info/timeout", seconds)
    }

    /// Sets any value by JSON pointer; its parent must exist.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = self.document.pointer_mut(parent).expect("the parent of the value exists");
        parent[key] = value.into();
        self
    }

    /// Removes a key by JSON pointer.
    pub fn unset(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = self.document.pointer_mut(parent).and_then(Value::as_object_mut);
        parent.expect("the parent of the value exists").shift_remove(key);
        self
    }

    /// Returns the payload as it goes over the wire: GitLab's own variables first, then the author's.
    pub fn document(&self) -> Value {
        let mut document = self.document.clone();
        if document.get("variables").is_some_and(Value::is_array) {
            let mut variables = self.predefined();
            variables.extend(self.author_variables.iter().cloned());
            document["variables"] = Value::Array(variables);
        }
        document
    }

    fn predefined(&self) -> Vec<Value> {
        let text = |pointer: &str| match self.document.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        let reference = text("/git_info/ref");
        let mut variables = vec![
            public("CI", "true"),
            public("GITLAB_CI", "true"),
            public("CI_JOB_ID", &text("/id")),
            json!({"key": "CI_JOB_TOKEN", "value": text("/token"), "public": false, "masked": true}),
            json!({"key": "CI_REPOSITORY_URL", "value": text("/git_info/repo_url"), "public": false}),
            public("CI_JOB_NAME", &text("/job_info/name")),
            public("CI_JOB_STAGE", &text("/job_info/stage")),
            public("CI_PIPELINE_ID", &text("/job_info/pipeline_id")),
            public("CI_PROJECT_ID", &text("/job_info/project_id")),
            public("CI_PROJECT_NAME", &text("/job_info/project_name")),
            public("CI_PROJECT_PATH", &text("/job_info/project_full_path")),
            public("CI_COMMIT_SHA", &text("/git_info/sha")),
            public("CI_COMMIT_REF_NAME", &reference),
            public("CI_COMMIT_REF_PROTECTED", &text("/git_info/protected")),
        ];
        match text("/git_info/ref_type").as_str() {
            "tag" => variables.push(public("CI_COMMIT_TAG", &reference)),
            _ => variables.push(public("CI_COMMIT_BRANCH", &reference)),
        }
        if !self.has_repository {
            variables.push(public("GIT_STRATEGY", "none"));
        }
        variables
    }

    fn push(mut self, list: &str, entry: Value) -> Self {
        self.document[list].as_array_mut().expect("a list of the payload").push(entry);
        self
    }

    fn set_in_step(mut self, step: &str, key: &str, value: Value) -> Self {
        let steps = self.document["steps"].as_array_mut().expect("steps is an array");
        if let Some(step) = steps.iter_mut().find(|entry| entry["name"] == step) {
            step[key] = value;
        }
        self
    }
}

fn script_step(name: &str, lines: &[&str]) -> Value {
    json!({"name": name, "script": lines, "timeout": 600, "when": "on_success", "allow_failure": false})
}

fn public(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value, "public": true, "masked": false})
}

fn repository_url(gitlab_url: &str, token: &str, project: &str) -> String {
    let (scheme, host) = gitlab_url.split_once("://").expect("the URL has a scheme");
    format!("{scheme}://gitlab-ci-token:{token}@{host}/{project}.git")
}
