//! One job from request to final update: the order of stages and which error wins (contract §2.1, §2.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connection::{self, JobConnection, Order};
use super::job_context::{Interrupt, JobContext, Scope};
use super::job_log::JobLog;
use super::scripts::{Half, ScriptSource};
use super::variables::{RunnerView, Variables};
use super::{Call, Hooks, JobOutcome, JobState, RunnerSettings, SHORT_TOKEN, Stage};
use crate::support::gitlab::FakeGitLab;

/// Why a job does not succeed.
#[derive(Clone, Debug)]
pub enum JobError {
    /// `BuildError`: the job's own fault.
    Build {
        exit_code: i64,
        text: String,
    },
    System(String),
    Canceled,
    TimedOut,
}

impl From<Interrupt> for JobError {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::Canceled => Self::Canceled,
            Interrupt::TimedOut => Self::TimedOut,
        }
    }
}

impl JobError {
    pub fn text(&self) -> String {
        match self {
            Self::Build { text, .. } | Self::System(text) => text.clone(),
            Self::Canceled => "canceled".to_owned(),
            Self::TimedOut => "execution took longer than the job's timeout".to_owned(),
        }
    }
}

/// The files and answers of one attempt of prepare.
pub struct Attempt {
    pub directory: tempfile::TempDir,
    pub builds_dir: String,
    pub cache_dir: String,
    pub shared_builds_dir: bool,
    pub hostname: String,
    pub job_environment: BTreeMap<String, String>,
}

/// A job on its way.
pub struct Build<'a> {
    pub settings: &'a RunnerSettings,
    pub hooks: &'a mut Hooks,
    pub gitlab_url: String,
    pub id: u64,
    pub payload: Value,
    pub log: Arc<JobLog>,
    pub context: Arc<JobContext>,
    pub calls: Vec<Call>,
    pub job_status: &'static str,
    pub attempt: Option<Attempt>,
}

/// Requests a job, runs it and reports its end.
pub fn run_one(gitlab: &FakeGitLab, settings: &RunnerSettings, hooks: &mut Hooks) -> JobOutcome {
    let payload = connection::request_job(&gitlab.url());
    let id = payload["id"].as_u64().expect("a job has an id");
    let timeout = payload["runner_info"]["timeout"].as_u64().filter(|seconds| *seconds > 0).unwrap_or(7200);
    let log = JobLog::new(settings.output_limit);
    let context = Arc::new(JobContext::new(Duration::from_secs(timeout)));
    let token = payload["token"].as_str().expect("a job has a token");
    let connection = JobConnection::new(&gitlab.url(), id, token);
    match connection.touch() {
        Order::GoOn => {}
        Order::Cancel | Order::Abort => context.abort(),
    }
    let stop = Arc::new(AtomicBool::new(false));
    let shipping = {
        let (log, context, stop) = (Arc::clone(&log), Arc::clone(&context), Arc::clone(&stop));
        let interval = settings.update_interval;
        std::thread::spawn(move || connection::trace_loop(connection, log, context, stop, interval))
    };
    let mut build = Build {
        settings,
        hooks,
        gitlab_url: gitlab.url(),
        id,
        payload,
        log: Arc::clone(&log),
        context,
        calls: Vec::new(),
        job_status: "running",
        attempt: None,
    };
    let result = build.run();
    let state = report(&log, &result);
    stop.store(true, Ordering::SeqCst);
    let mut connection = shipping.join().expect("the trace loop ends");
    connection.finish(&log, final_update(&state));
    JobOutcome { job: id, state, trace: gitlab.trace(id), calls: build.calls }
}

fn report(log: &Arc<JobLog>, result: &Result<(), JobError>) -> JobState {
    let failed = |reason: &str, exit_code| JobState::Failed { reason: reason.to_owned(), exit_code };
    let (line, state) = match result {
        Ok(()) => ("\x1b[32;1mJob succeeded\x1b[0;m".to_owned(), JobState::Success),
        Err(JobError::Build { exit_code, text }) => {
            let exit_code = Some(*exit_code).filter(|code| *code != 0);
            (format!("\x1b[31;1mERROR: Job failed: {text}\x1b[0;m"), failed("script_failure", exit_code))
        }
        Err(JobError::System(text)) => (
            format!("\x1b[31;1mERROR: Job failed (system failure): {text}\x1b[0;m"),
            failed("runner_system_failure", None),
        ),
        Err(JobError::Canceled) => {
            ("\x1b[31;1mERROR: Job failed: canceled\x1b[0;m".to_owned(), JobState::Canceled)
        }
        Err(error @ JobError::TimedOut) => (
            format!("\x1b[31;1mERROR: Job failed: {}\x1b[0;m", error.text()),
            failed("job_execution_timeout", None),
        ),
    };
    log.line(&line);
    state
}

fn final_update(state: &JobState) -> Value {
    match state {
        JobState::Success => json!({"state": "success"}),
        JobState::Failed { reason, exit_code: None } => json!({"state": "failed", "failure_reason": reason}),
        JobState::Failed { reason, exit_code } => {
            json!({"state": "failed", "failure_reason": reason, "exit_code": exit_code})
        }
        JobState::Canceled => json!({"state": "failed", "failure_reason": "job_canceled"}),
    }
}

impl Build<'_> {
    fn run(&mut self) -> Result<(), JobError> {
        self.log.line(&format!("Running with gitlab-runner {} (d79f3e7b)", super::VERSION));
        self.prepare()?;
        let result = self.execute();
        self.cleanup();
        result
    }

    fn execute(&mut self) -> Result<(), JobError> {
        let script = self.with_source(|source| source.prepare_script());
        if let Err(error) = self.run_substage("prepare_script", Some(script), Scope::Job) {
            self.uninterrupted()?;
            return Err(prefixed("prepare environment", error));
        }
        let mut error = self.sources_and_inputs()?.err();
        let mut script_reached = false;
        if error.is_none() {
            script_reached = true;
            error = self.user_steps()?.err();
        }
        self.job_status = match &error {
            None => "success",
            Some(JobError::Canceled) => "canceled",
            Some(JobError::TimedOut) => "timedout",
            Some(JobError::Build { .. } | JobError::System(_)) => "failed",
        };
        if script_reached {
            self.after_script(&mut error)?;
        }
        let half = if error.is_none() { Half::Success } else { Half::Failure };
        let cache = self.with_source(|source| source.archive_cache(half));
        let name = if half == Half::Success { "archive_cache" } else { "archive_cache_on_failure" };
        let cache = self.run_substage(name, cache, Scope::Job).err();
        self.uninterrupted()?;
        let upload = self.with_source(|source| source.upload_artifacts(half));
        let name = match half {
            Half::Success => "upload_artifacts_on_success",
            Half::Failure => "upload_artifacts_on_failure",
        };
        let upload = self.run_substage(name, upload, Scope::Job).err();
        self.uninterrupted()?;
        let script = self.with_source(|source| source.cleanup_file_variables());
        // The runner ignores this stage's result.
        let _ = self.run_substage("cleanup_file_variables", Some(script), Scope::Job);
        self.uninterrupted()?;
        error.or(cache).or(upload).map_or(Ok(()), Err)
    }

    /// The outer error ends the job at once; the inner one leads to the `_on_failure` stages.
    fn sources_and_inputs(&mut self) -> Result<Result<(), JobError>, JobError> {
        let script = self.with_source(|source| Some(source.get_sources()));
        let mut result = self.attempts("get_sources", script, "GET_SOURCES_ATTEMPTS")?;
        if result.is_ok() {
            let script = self.with_source(|source| source.restore_cache());
            result = self.attempts("restore_cache", script, "RESTORE_CACHE_ATTEMPTS")?;
        }
        if result.is_ok() {
            let script = self.with_source(|source| source.download_artifacts());
            result = self.attempts("download_artifacts", script, "ARTIFACT_DOWNLOAD_ATTEMPTS")?;
        }
        Ok(result)
    }

    fn attempts(
        &mut self,
        name: &str,
        script: Option<String>,
        variable: &str,
    ) -> Result<Result<(), JobError>, JobError> {
        let attempts = self.variables().get(variable).and_then(|count| count.parse().ok()).unwrap_or(1_u32);
        let attempts = attempts.clamp(1, 10);
        for attempt in 1..=attempts {
            if attempt == 2 && name == "get_sources" {
                let clear = self.with_source(|source| source.clear_worktree());
                let _ = self.run_substage("clear_worktree", Some(clear), Scope::Job);
                self.uninterrupted()?;
            }
            let result = self.run_substage(name, script.clone(), Scope::Job);
            self.uninterrupted()?;
            if result.is_ok() || attempt == attempts {
                return Ok(result);
            }
            std::thread::sleep(self.settings.retry_pause);
        }
        unreachable!("the last attempt returns");
    }

    fn user_steps(&mut self) -> Result<Result<(), JobError>, JobError> {
        self.context.enter_script();
        let limit = self.variables().get("RUNNER_SCRIPT_TIMEOUT").and_then(parse_duration);
        let scope = Scope::Script { deadline: limit.map(|limit| Instant::now() + limit) };
        let steps = self.payload["steps"].as_array().cloned().unwrap_or_default();
        for step in steps.iter().filter(|step| step["name"] != "after_script") {
            let name = match step["name"].as_str().unwrap_or_default() {
                "script" => "build_script".to_owned(),
                other => format!("step_{other}"),
            };
            let script = self.with_source(|source| source.step(step));
            let result = self.run_substage(&name, Some(script), scope);
            // An aborted job still gets its status from the script's own result.
            self.job_status = if result.is_ok() { "success" } else { "failed" };
            self.uninterrupted()?;
            if let Some(interrupt) = self.context.interrupt(scope) {
                return Ok(Err(interrupt.into()));
            }
            if result.is_err() {
                return Ok(result);
            }
        }
        Ok(Ok(()))
    }

    fn after_script(&mut self, error: &mut Option<JobError>) -> Result<(), JobError> {
        let steps = self.payload["steps"].as_array().cloned().unwrap_or_default();
        let not_empty = |step: &&Value| {
            step["name"] == "after_script" && step["script"].as_array().is_some_and(|lines| !lines.is_empty())
        };
        let Some(step) = steps.iter().find(not_empty) else { return Ok(()) };
        let script = self.with_source(|source| source.step(step));
        let variables = self.variables();
        let limit = variables.get("RUNNER_AFTER_SCRIPT_TIMEOUT").and_then(parse_duration);
        let deadline = Instant::now() + limit.unwrap_or(Duration::from_secs(300));
        let result = self.run_substage("after_script", Some(script), Scope::AfterScript { deadline });
        self.uninterrupted()?;
        if let Err(after) = result {
            let ignored = !matches!(variables.get("AFTER_SCRIPT_IGNORE_ERRORS"), Some("false" | "0"));
            if ignored {
                let text = after.text();
                self.log
                    .line(&format!("WARNING: after_script failed, but job will continue unaffected: {text}"));
            } else if error.is_none() {
                *error = Some(after);
            }
        }
        Ok(())
    }

    /// Calls `cleanup_exec` and drops the attempt's files; its own fault is one line in the log.
    pub fn cleanup(&mut self) {
        let scope = Scope::Cleanup { deadline: Instant::now() + Duration::from_secs(3600) };
        let arguments = self.settings.cleanup_args.clone();
        if let Err(error) = self.call(Stage::Cleanup, None, &arguments, scope) {
            self.log.line(&format!("WARNING: Cleanup script failed: {}", error.text()));
        }
        self.attempt = None;
    }

    /// Composes the variables as they are at this moment.
    pub fn variables(&self) -> Variables {
        let (builds_dir, project_dir) = (self.builds_dir(), self.project_dir());
        let view = RunnerView {
            builds_dir: &builds_dir,
            project_dir: &project_dir,
            job_status: self.job_status,
            environment: &self.settings.runner_environment,
        };
        Variables::of(&self.payload, &view)
    }

    fn builds_dir(&self) -> String {
        self.attempt
            .as_ref()
            .map_or_else(|| self.settings.builds_dir.clone(), |attempt| attempt.builds_dir.clone())
    }

    fn project_dir(&self) -> String {
        let url = self.payload["git_info"]["repo_url"].as_str().unwrap_or_default();
        let path =
            url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or(url, |(_, path)| path);
        let path = path.trim_end_matches(".git").trim_start_matches('/');
        let shared = self.attempt.as_ref().is_some_and(|attempt| attempt.shared_builds_dir);
        let builds_dir = self.builds_dir();
        if shared { format!("{builds_dir}/{SHORT_TOKEN}/0/{path}") } else { format!("{builds_dir}/{path}") }
    }

    fn with_source<T>(&self, make: impl FnOnce(&ScriptSource<'_>) -> T) -> T {
        let attempt = self.attempt.as_ref().expect("prepare succeeded");
        make(&ScriptSource {
            payload: &self.payload,
            variables: &self.variables(),
            project_dir: &self.project_dir(),
            cache_dir: &attempt.cache_dir,
            hostname: &attempt.hostname,
            gitlab_url: &self.gitlab_url,
        })
    }

    /// Returns the error that ends the whole job, whatever a call's own result is.
    pub fn uninterrupted(&self) -> Result<(), JobError> {
        self.context.job_interrupt().map_or(Ok(()), |interrupt| Err(interrupt.into()))
    }
}

fn prefixed(what: &str, error: JobError) -> JobError {
    let advice = "Check https://docs.gitlab.com/runner/shells/#shell-profile-loading for more information";
    match error {
        JobError::Build { exit_code, text } => {
            JobError::Build { exit_code, text: format!("{what}: {text}. {advice}") }
        }
        JobError::System(text) => JobError::System(format!("{what}: {text}. {advice}")),
        other => other,
    }
}

/// Parses Go's durations of whole seconds, minutes and hours (`4s`, `1h30m`).
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        total += match rest.as_bytes()[digits] {
            b's' => count,
            b'm' => count * 60,
            b'h' => count * 3600,
            _ => return None,
        };
        rest = &rest[digits + 1..];
    }
    (total > 0).then(|| Duration::from_secs(total))
}
