//! A job's variables as the runner composes them (GitLab Runner `common/build.go`, `common/spec/variables.go`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// One variable after expansion.
#[derive(Clone, Debug)]
pub struct Variable {
    pub key: String,
    pub value: String,
    pub file: bool,
    pub masked: bool,
    pub raw: bool,
}

/// All variables in order; the last of a name wins.
#[derive(Clone, Debug, Default)]
pub struct Variables(Vec<Variable>);

/// What the runner itself knows and adds.
pub struct RunnerView<'a> {
    pub builds_dir: &'a str,
    pub project_dir: &'a str,
    pub job_status: &'a str,
    pub environment: &'a [(String, String)],
}

impl Variables {
    /// Composes and expands `Build.GetAllVariables()` for a payload.
    pub fn of(payload: &Value, view: &RunnerView<'_>) -> Self {
        let mut all = vec![plain("FF_NETWORK_PER_BUILD", "false"), plain("FF_TIMESTAMPS", "false")];
        if let Some(image) = payload["image"]["name"].as_str().filter(|name| !name.is_empty()) {
            all.push(Variable { raw: false, ..plain("CI_JOB_IMAGE", image) });
        }
        all.push(plain("CI_RUNNER_SHORT_TOKEN", super::SHORT_TOKEN));
        all.extend(view.environment.iter().map(|(key, value)| plain(key, value)));
        let timeout = payload["runner_info"]["timeout"].as_u64().unwrap_or(7200).to_string();
        for (key, value) in [
            ("CI_BUILDS_DIR", view.builds_dir),
            ("CI_PROJECT_DIR", view.project_dir),
            ("CI_CONCURRENT_ID", "0"),
            ("CI_CONCURRENT_PROJECT_ID", "0"),
            ("CI_SERVER", "yes"),
            ("CI_JOB_STATUS", view.job_status),
            ("CI_JOB_TIMEOUT", &timeout),
        ] {
            all.push(plain(key, value));
        }
        let from_payload = payload["variables"].as_array().into_iter().flatten().map(parse);
        all.extend(from_payload.filter(|variable| !variable.key.starts_with("FF_")));
        for (key, value) in [
            ("CI_SHARED_ENVIRONMENT", "true"),
            ("CI_RUNNER_VERSION", super::VERSION),
            ("CI_RUNNER_REVISION", "d79f3e7b"),
            ("CI_RUNNER_EXECUTABLE_ARCH", "linux/amd64"),
            ("RUNNER_TEMP_PROJECT_DIR", &temporary_dir(view.project_dir)),
        ] {
            all.push(plain(key, value));
        }
        Self(all).expanded(&temporary_dir(view.project_dir))
    }

    /// Returns the value of the last variable of this name.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|variable| variable.key == key).map(|variable| variable.value.as_str())
    }

    /// Iterates in order, duplicates included.
    pub fn iter(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter()
    }

    /// Returns the values that the log must not show.
    pub fn masked_values(&self) -> Vec<String> {
        let masked = self.0.iter().filter(|variable| variable.masked && !variable.value.is_empty());
        masked.map(|variable| variable.value.clone()).collect()
    }

    /// Adds the `CUSTOM_ENV_` form to an environment, file variables as content.
    pub fn add_to(&self, environment: &mut BTreeMap<String, String>, payload: &Value) {
        for variable in &self.0 {
            environment.insert(format!("CUSTOM_ENV_{}", variable.key), variable.value.clone());
        }
        environment.insert("CUSTOM_ENV_CI_JOB_SERVICES".to_owned(), self.services(payload));
    }

    /// Expands `$X` and `${X}` in a text of the payload.
    pub fn expand(&self, text: &str) -> String {
        expand(text, |name| self.get(name).unwrap_or_default().to_owned())
    }

    fn expanded(&self, temporary_dir: &str) -> Self {
        let lookup = |name: &str| match self.0.iter().rev().find(|variable| variable.key == name) {
            Some(variable) if variable.file => format!("{temporary_dir}/{name}"),
            Some(variable) => variable.value.clone(),
            None => String::new(),
        };
        let expanded = self.0.iter().map(|variable| match variable.raw {
            true => variable.clone(),
            false => Variable { value: expand(&variable.value, lookup), ..variable.clone() },
        });
        Self(expanded.collect())
    }

    fn services(&self, payload: &Value) -> String {
        let services: Vec<Value> = payload["services"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|service| {
                let aliases = service["alias"].as_str().unwrap_or_default();
                let first = aliases.split([',', ' ']).next().unwrap_or_default();
                json!({
                    "name": self.expand(service["name"].as_str().unwrap_or_default()), "alias": first,
                    "entrypoint": service["entrypoint"], "command": service["command"]
                })
            })
            .collect();
        if services.is_empty() { String::new() } else { Value::Array(services).to_string() }
    }
}

/// Returns the folder for file variables beside the project's.
pub fn temporary_dir(project_dir: &str) -> String {
    format!("{project_dir}.tmp")
}

fn plain(key: &str, value: &str) -> Variable {
    Variable { key: key.to_owned(), value: value.to_owned(), file: false, masked: false, raw: true }
}

fn parse(entry: &Value) -> Variable {
    let flag = |name: &str| entry[name].as_bool().unwrap_or(false);
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    Variable {
        key: text("key"),
        value: text("value"),
        file: flag("file"),
        masked: flag("masked"),
        raw: flag("raw"),
    }
}

/// Go's `os.Expand` with the runner's mapping of `$$` to `$`.
fn expand(text: &str, lookup: impl Fn(&str) -> String) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            expanded.push_str(&lookup(name));
            rest = after;
        } else {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            match end {
                0 => expanded.push('$'),
                _ => expanded.push_str(&lookup(&rest[..end])),
            }
            rest = &rest[end..];
        }
    }
    expanded.push_str(rest);
    expanded
}
