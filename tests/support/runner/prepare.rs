//! The attempts of `config_exec` and `prepare_exec`, and the files they find (contract §1.3, §1.8, §1.9).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Stage;
use super::build::{Attempt, Build, JobError};
use super::calls::write_new;
use super::job_context::Scope;

const ATTEMPTS: usize = 3;

/// What `config_exec` may print.
#[derive(Default, Deserialize)]
struct ConfigOutput {
    builds_dir: Option<String>,
    cache_dir: Option<String>,
    builds_dir_is_shared: Option<bool>,
    hostname: Option<String>,
    driver: Option<DriverInfo>,
    job_env: Option<BTreeMap<String, String>>,
    #[expect(dead_code, reason = "a type error in it must be noticed, its value is not used")]
    shell: Option<String>,
}

#[derive(Deserialize)]
struct DriverInfo {
    name: Option<String>,
    version: Option<String>,
}

impl Build<'_> {
    /// Tries config and prepare up to three times, with cleanup after each failure.
    pub fn prepare(&mut self) -> Result<(), JobError> {
        let mut error = None;
        for attempt in 1..=ATTEMPTS {
            self.uninterrupted()?;
            let Err(failed) = self.try_prepare() else {
                // A prepare that finished although it was told to stop does not save the job.
                if let Err(interrupted) = self.uninterrupted() {
                    self.cleanup();
                    return Err(interrupted);
                }
                return Ok(());
            };
            self.cleanup();
            if matches!(failed, JobError::Build { .. }) {
                return Err(failed);
            }
            self.uninterrupted()?;
            self.log.line(&format!("ERROR: Preparation failed: {}", failed.text()));
            if attempt < ATTEMPTS {
                self.log.line(&format!("Will be retried in {:?} ...", self.settings.retry_pause));
                std::thread::sleep(self.settings.retry_pause);
            }
            error = Some(failed);
        }
        Err(error.expect("the last attempt failed"))
    }

    fn try_prepare(&mut self) -> Result<(), JobError> {
        let directory = tempfile::Builder::new()
            .prefix("custom-executor")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("a folder for the attempt");
        self.attempt = Some(Attempt {
            builds_dir: self.settings.builds_dir.clone(),
            cache_dir: self.settings.cache_dir.clone(),
            shared_builds_dir: false,
            hostname: String::new(),
            job_environment: BTreeMap::new(),
            directory,
        });
        let variables = self.variables();
        self.log.mask(variables.masked_values());
        let response = response_file(&self.payload, |text| variables.expand(text));
        let path = self.attempt.as_ref().expect("just set").directory.path().join("response.json");
        write_new(&path, 0o600, response.to_string().as_bytes());
        self.configure()?;
        let arguments = self.settings.prepare_args.clone();
        self.call(Stage::Prepare, None, &arguments, Scope::Job).map(|_| ())
    }

    fn configure(&mut self) -> Result<(), JobError> {
        let Some(arguments) = self.settings.config_args.clone() else { return Ok(()) };
        let stdout = self.call(Stage::Config, None, &arguments, Scope::Job)?;
        if stdout.is_empty() {
            self.log.line("Using Custom executor...");
            return Ok(());
        }
        let output: ConfigOutput = serde_json::from_str(&stdout)
            .map_err(|error| JobError::System(format!("error while parsing JSON config: {error}")))?;
        let attempt = self.attempt.as_mut().expect("an attempt has begun");
        if let Some(builds_dir) = output.builds_dir {
            if builds_dir.is_empty() {
                return Err(JobError::System("the builds_dir is not configured".to_owned()));
            }
            attempt.builds_dir = builds_dir;
        }
        if let Some(cache_dir) = output.cache_dir {
            attempt.cache_dir = cache_dir;
        }
        attempt.shared_builds_dir = output.builds_dir_is_shared.unwrap_or(false);
        attempt.hostname = output.hostname.unwrap_or_default();
        attempt.job_environment = output.job_env.unwrap_or_default();
        let named = output.driver.map(|driver| {
            format!(" with driver {} {}", driver.name.unwrap_or_default(), driver.version.unwrap_or_default())
        });
        self.log.line(&format!("Using Custom executor{}...", named.unwrap_or_default()));
        Ok(())
    }
}

/// Re-encodes the payload as the runner's `spec.Job`: known keys only, absent ones as their zero values.
fn response_file(payload: &Value, expand: impl Fn(&str) -> String) -> Value {
    let defaults = json!({
        "id": 0, "token": "", "allow_git_fetch": false, "job_info": {}, "git_info": {}, "runner_info": {},
        "inputs": {}, "variables": null, "steps": null, "image": {"name": ""}, "services": null,
        "artifacts": null, "cache": null, "credentials": null, "dependencies": null, "features": {},
        "policy_options": {}
    });
    let optional = ["secrets", "hooks", "run", "suspend_options"];
    let mut encoded = Map::new();
    for (key, default) in defaults.as_object().expect("an object") {
        let given = payload.get(key).filter(|value| key != "inputs" && !value.is_null());
        encoded.insert(key.clone(), given.unwrap_or(default).clone());
    }
    for key in optional {
        if let Some(value) = payload.get(key).filter(|value| !value.is_null()) {
            encoded.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(git) = encoded["git_info"].as_object_mut() {
        git.entry("protected").or_insert(Value::Null);
    }
    let expand_name = |image: &mut Value| {
        if let Some(name) = image["name"].as_str().map(&expand) {
            image["name"] = json!(name);
        }
    };
    expand_name(&mut encoded["image"]);
    for service in encoded["services"].as_array_mut().into_iter().flatten() {
        expand_name(service);
    }
    Value::Object(encoded)
}
