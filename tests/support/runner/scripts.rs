//! The bash scripts of each sub-stage, in the shape that GitLab Runner's generator gives them (contract §3).

use serde_json::Value;

use super::variables::{Variables, temporary_dir};

/// What scripts are made from.
pub struct ScriptSource<'a> {
    pub payload: &'a Value,
    pub variables: &'a Variables,
    pub project_dir: &'a str,
    pub cache_dir: &'a str,
    pub hostname: &'a str,
    pub gitlab_url: &'a str,
}

/// Which half of the twin stages is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    Success,
    Failure,
}

impl ScriptSource<'_> {
    /// Returns the script of `prepare_script`.
    pub fn prepare_script(&self) -> String {
        let environment_file = format!("{}/gitlab_runner_env", temporary_dir(self.project_dir));
        wrap(&format!(
            "rm -f {}\necho \"Running on $(hostname) via {}...\"\n",
            quote(&environment_file),
            self.hostname
        ))
    }

    /// Returns the script of `get_sources`: a real fetch with the job's token in the URL.
    pub fn get_sources(&self) -> String {
        let mut body = self.exports();
        body += &self.hook("pre_get_sources_script");
        let directory = quote(self.project_dir);
        match self.variables.get("GIT_STRATEGY").unwrap_or("fetch") {
            "none" => body += &format!("echo 'Skipping Git repository setup'\nmkdir -p {directory}\n"),
            "empty" => {
                body += "echo 'Skipping Git repository setup and creating an empty build directory'\n";
                body += &format!("rm -r -f {directory}\nmkdir -p {directory}\n");
            }
            strategy => body += &self.fetch(strategy),
        }
        body += &self.hook("post_get_sources_script");
        wrap(&body)
    }

    /// Returns the script of `clear_worktree`.
    pub fn clear_worktree(&self) -> String {
        let directory = quote(self.project_dir);
        let clear = "if [ -d .git ]; then git rm -rf --ignore-unmatch . >/dev/null; git clean -ffdx; fi";
        wrap(&format!("{}mkdir -p {directory}\ncd {directory}\n{clear}\n", self.exports()))
    }

    /// Returns the script of `restore_cache`, if the job has a cache.
    pub fn restore_cache(&self) -> Option<String> {
        let caches = self.list("cache").filter(|cache| has_paths(cache));
        let commands = caches.map(|cache| {
            let key = self.variables.expand(text(cache, "key"));
            let download = format!("gitlab-runner cache-extractor --file {} --timeout 10", quote(&self.cache_file(&key)));
            let announce = format!("echo {}\n", quote(&format!("Checking cache for {key}...")));
            let tolerant = format!("if {download}; then echo 'Successfully extracted cache'; else echo 'Failed to extract cache'; fi");
            announce + &with_helper("Extracting cache is disabled.", &tolerant)
        });
        self.in_project(commands.collect())
    }

    /// Returns the script of `download_artifacts`, if a dependency has some.
    pub fn download_artifacts(&self) -> Option<String> {
        let with_file =
            |entry: &&Value| entry["artifacts_file"]["filename"].as_str().is_some_and(|f| !f.is_empty());
        let commands = self.list("dependencies").filter(with_file).map(|dependency| {
            let (name, id) = (text(dependency, "name"), &dependency["id"]);
            let download = format!(
                "gitlab-runner artifacts-downloader --url {} --token {} --id {id}",
                quote(self.gitlab_url),
                quote(text(dependency, "token"))
            );
            let announce =
                format!("echo {}\n", quote(&format!("Downloading artifacts for {name} ({id})...")));
            announce + &with_helper("Artifacts downloading is disabled.", &download)
        });
        self.in_project(commands.collect())
    }

    /// Returns the script of a user's step.
    pub fn step(&self, step: &Value) -> String {
        let lines = step["script"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut body = self.exports();
        body += &format!("cd {}\n", quote(self.project_dir));
        for line in lines {
            let shown = line.lines().next().unwrap_or_default();
            let more = if line.lines().count() > 1 { " # collapsed multi-line command" } else { "" };
            body += &format!("echo {}\n", quote(&format!("\x1b[32;1m$ {shown}{more}\x1b[0;m")));
            body += &format!("{line}\n");
        }
        wrap(&body)
    }

    /// Returns the script of `archive_cache` or its twin, if a cache wants this result.
    pub fn archive_cache(&self, result: Half) -> Option<String> {
        let caches = self.list("cache").filter(|cache| has_paths(cache) && wants(cache, result));
        let commands = caches.map(|cache| {
            let key = self.variables.expand(text(cache, "key"));
            let mut archive =
                format!("gitlab-runner cache-archiver --file {} --timeout 10", quote(&self.cache_file(&key)));
            archive += &paths(cache);
            let announce = format!("echo {}\n", quote(&format!("Creating cache {key}...")));
            let tolerant =
                format!("if {archive}; then echo 'Created cache'; else echo 'Failed to create cache'; fi");
            announce + &with_helper("Creating cache is disabled.", &tolerant)
        });
        self.in_project(commands.collect())
    }

    /// Returns the script of `upload_artifacts_on_success` or its twin, if an artifact wants this result.
    pub fn upload_artifacts(&self, result: Half) -> Option<String> {
        let artifacts =
            self.list("artifacts").filter(|artifact| has_paths(artifact) && wants(artifact, result));
        let commands = artifacts.map(|artifact| {
            let mut upload = format!(
                "gitlab-runner artifacts-uploader --url {} --token {} --id {}",
                quote(self.gitlab_url),
                quote(text(self.payload, "token")),
                self.payload["id"]
            );
            upload += &paths(artifact);
            for (flag, key) in [
                ("--name", "name"),
                ("--expire-in", "expire_in"),
                ("--artifact-format", "artifact_format"),
                ("--artifact-type", "artifact_type"),
            ] {
                if let Some(value) = artifact[key].as_str().filter(|value| !value.is_empty()) {
                    upload += &format!(" {flag} {}", quote(value));
                }
            }
            format!(
                "echo 'Uploading artifacts...'\n{}",
                with_helper("Uploading artifacts is disabled.", &upload)
            )
        });
        self.in_project(commands.collect())
    }

    /// Returns the script of `cleanup_file_variables`.
    pub fn cleanup_file_variables(&self) -> String {
        let mut body = self.exports();
        for variable in self.variables.iter().filter(|variable| variable.file) {
            body += &format!("rm -f {}\n", quote(&self.file_path(&variable.key)));
        }
        wrap(&body)
    }

    fn exports(&self) -> String {
        let folder = quote(&temporary_dir(self.project_dir));
        let mut body = String::new();
        for variable in self.variables.iter() {
            if variable.file {
                let path = quote(&self.file_path(&variable.key));
                body += &format!("mkdir -p {folder}\nprintf '%s' {} > {path}\n", quote(&variable.value));
                body += &format!("export {}={path}\n", variable.key);
            } else {
                body += &format!("export {}={}\n", variable.key, quote(&variable.value));
            }
        }
        body
    }

    fn fetch(&self, strategy: &str) -> String {
        let git = &self.payload["git_info"];
        let directory = quote(self.project_dir);
        let (url, sha) = (quote(text(git, "repo_url")), text(git, "sha"));
        let refspecs = git["refspecs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let refspecs: Vec<String> = refspecs.map(quote).collect();
        let depth = match git["depth"].as_u64() {
            Some(depth @ 1..) => format!(" --depth {depth}"),
            _ => String::new(),
        };
        let format = git["repo_object_format"].as_str().unwrap_or("sha1");
        let mut body = format!("git config --global --add safe.directory {directory}\n");
        if strategy == "clone" {
            body += &format!("rm -r -f {directory}\n");
        }
        body += &format!(
            "echo 'Fetching changes...'\ngit -c init.defaultBranch=none init --object-format={format} {directory}\n\
             cd {directory}\n\
             if git remote add origin {url} >/dev/null 2>/dev/null; then echo 'Created fresh repository.'; \
             else git remote set-url origin {url}; fi\n\
             git -c http.userAgent='gitlab-runner {}' fetch origin --no-recurse-submodules {}{depth} --prune --quiet\n",
            super::VERSION,
            refspecs.join(" "),
        );
        match self.variables.get("GIT_CHECKOUT") {
            Some("false" | "0") => body += "echo 'Skipping Git checkout'\n",
            _ => {
                let short = sha.get(..8).unwrap_or(sha);
                let name = text(git, "ref");
                body += &format!(
                    "echo {}\n",
                    quote(&format!("Checking out {short} as detached HEAD (ref is {name})..."))
                );
                body += &format!("git -c submodule.recurse=false checkout -f -q {sha}\ngit clean -ffdx\n");
            }
        }
        body
    }

    fn hook(&self, name: &str) -> String {
        let hooks = self.list("hooks").filter(|hook| hook["name"] == name);
        let lines =
            hooks.flat_map(|hook| hook["script"].as_array().into_iter().flatten()).filter_map(Value::as_str);
        lines.map(|line| format!("{line}\n")).collect()
    }

    fn in_project(&self, commands: Vec<String>) -> Option<String> {
        if commands.is_empty() {
            return None;
        }
        Some(wrap(&format!("{}cd {}\n{}", self.exports(), quote(self.project_dir), commands.concat())))
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.payload[key].as_array().into_iter().flatten()
    }

    fn file_path(&self, key: &str) -> String {
        format!("{}/{key}", temporary_dir(self.project_dir))
    }

    fn cache_file(&self, key: &str) -> String {
        let project = text(&self.payload["job_info"], "project_full_path");
        format!("{}/{project}/{key}/cache.zip", self.cache_dir)
    }
}

/// Quotes a text as bash's `$'…'`.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("$'");
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\'' => quoted.push_str("\\'"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

fn wrap(body: &str) -> String {
    format!(
        "#!/usr/bin/env bash\n\ntrap 'exit 1' TERM\n\n\
         if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit\nset +o noclobber\n\
         (trap 'exit 1' TERM; eval {}) < /dev/null\nexit 0\n",
        quote(body)
    )
}

fn with_helper(otherwise: &str, command: &str) -> String {
    let missing = quote(&format!("Missing gitlab-runner. {otherwise}"));
    format!("if gitlab-runner --version >/dev/null 2>/dev/null; then\n{command}\nelse\necho {missing}\nfi\n")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn has_paths(entry: &Value) -> bool {
    entry["paths"].as_array().is_some_and(|paths| !paths.is_empty()) || entry["untracked"] == true
}

fn wants(entry: &Value, result: Half) -> bool {
    match text(entry, "when") {
        "always" => true,
        "on_failure" => result == Half::Failure,
        _ => result == Half::Success,
    }
}

fn paths(entry: &Value) -> String {
    let flag = |key: &str, flag: &str| -> String {
        let values = entry[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        values.map(|value| format!(" {flag} {}", quote(value))).collect()
    };
    let untracked = if entry["untracked"] == true { " --untracked" } else { "" };
    flag("paths", "--path") + &flag("exclude", "--exclude") + untracked
}
