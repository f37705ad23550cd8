//! A small GitLab Runner: it asks for one job and drives a custom executor through it (contract §1, §2, §5).
//!
//! With `AIRLOCK_GITLAB_RUNNER=/path` the same call drives a real `gitlab-runner` instead.

mod build;
mod calls;
mod connection;
mod driver;
mod job_context;
mod job_log;
mod prepare;
mod real;
mod scripts;
mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::gitlab::FakeGitLab;

/// The version that the small runner reports.
pub const VERSION: &str = "19.4.0";

/// The short form of the runner's token (`CI_RUNNER_SHORT_TOKEN`).
pub const SHORT_TOKEN: &str = "t1_airloc";

/// What a `config.toml` would say.
#[derive(Clone, Debug)]
pub struct RunnerSettings {
    pub driver: PathBuf,
    /// `None`: no `config_exec`.
    pub config_args: Option<Vec<String>>,
    pub prepare_args: Vec<String>,
    pub run_args: Vec<String>,
    pub cleanup_args: Vec<String>,
    pub builds_dir: String,
    pub cache_dir: String,
    /// Added to the manager's own environment, which is `PATH` and `HOME` alone.
    pub environment: Vec<(String, String)>,
    /// `[[runners]] environment`: variables of every job.
    pub runner_environment: Vec<(String, String)>,
    pub graceful_kill_timeout: Duration,
    pub force_kill_timeout: Duration,
    /// Between attempts of prepare (3 s in the real runner) and of `get_sources` and its like (5 s).
    pub retry_pause: Duration,
    /// How often GitLab is asked whether the job is canceled (3 s to 30 s in the real runner).
    pub update_interval: Duration,
    /// `output_limit`, in bytes.
    pub output_limit: usize,
}

impl RunnerSettings {
    /// Settings for a driver that takes `config`, `prepare`, `run` and `cleanup`.
    pub fn new(driver: impl Into<PathBuf>) -> Self {
        Self::with_words(driver, &[])
    }

    /// Settings for a driver that takes `executor config`, `executor prepare`, ….
    pub fn airlock(driver: impl Into<PathBuf>) -> Self {
        Self::with_words(driver, &["executor"])
    }

    /// Settings for a driver that takes these words in front of the stage.
    pub fn with_words(driver: impl Into<PathBuf>, words: &[&str]) -> Self {
        let stage =
            |stage: &str| words.iter().chain([&stage]).map(|word| (*word).to_owned()).collect::<Vec<_>>();
        Self {
            driver: driver.into(),
            config_args: Some(stage("config")),
            prepare_args: stage("prepare"),
            run_args: stage("run"),
            cleanup_args: stage("cleanup"),
            builds_dir: "/builds".to_owned(),
            cache_dir: "/cache".to_owned(),
            environment: Vec::new(),
            runner_environment: Vec::new(),
            graceful_kill_timeout: Duration::from_secs(20),
            force_kill_timeout: Duration::from_secs(2),
            retry_pause: Duration::from_millis(100),
            update_interval: Duration::from_millis(50),
            output_limit: 4 * 1024 * 1024,
        }
    }
}

/// The four words of the custom executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Config,
    Prepare,
    Run,
    Cleanup,
}

/// How a call of the driver ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    Exited(i32),
    Signaled(i32),
    NotStarted(String),
    /// It outlived SIGKILL's grace (the pid of its group).
    Abandoned(i32),
}

/// One call of the driver.
#[derive(Clone, Debug)]
pub struct Call {
    pub stage: Stage,
    /// The sub-stage's name as the driver got it (`build_script`, not `step_script`).
    pub substage: Option<String>,
    pub end: CallEnd,
    pub duration: Duration,
    /// Raw, unmasked; with a real runner only for `cleanup`.
    pub stdout: String,
    pub stderr: String,
}

impl Call {
    /// Returns the sub-stage's name, or `config`, `prepare`, `cleanup`.
    pub fn name(&self) -> &str {
        match (self.stage, &self.substage) {
            (_, Some(substage)) => substage,
            (Stage::Config, None) => "config",
            (Stage::Prepare, None) => "prepare",
            (Stage::Run, None) => "run",
            (Stage::Cleanup, None) => "cleanup",
        }
    }
}

/// How the job ended for the runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    Success,
    Failed { reason: String, exit_code: Option<i64> },
    Canceled,
}

/// What a job left behind.
#[derive(Clone, Debug)]
pub struct JobOutcome {
    pub job: u64,
    pub state: JobState,
    /// The log as GitLab received it.
    pub trace: String,
    pub calls: Vec<Call>,
}

impl JobOutcome {
    /// Returns the names of all calls in order.
    pub fn sequence(&self) -> Vec<&str> {
        self.calls.iter().map(Call::name).collect()
    }

    /// Returns the last call of this name.
    pub fn call(&self, name: &str) -> &Call {
        let found = self.calls.iter().rev().find(|call| call.name() == name);
        found.unwrap_or_else(|| panic!("no call `{name}` among {:?}", self.sequence()))
    }

    /// Panics with the trace when the job didn't succeed.
    pub fn expect_success(self) -> Self {
        assert_eq!(self.state, JobState::Success, "calls {:?}\n{}", self.sequence(), self.trace);
        self
    }
}

/// A hook's view of the running job.
pub struct Moment<'a> {
    pub job: u64,
    /// The call that is about to start or runs: a sub-stage, or `config`, `prepare`, `cleanup`.
    pub call: &'a str,
    /// The log so far.
    pub trace: &'a str,
}

type StartHook = Box<dyn FnMut(&Moment<'_>) + Send>;
type KillRule = Box<dyn FnMut(&Moment<'_>) -> bool + Send>;

#[derive(Default)]
struct Hooks {
    starts: Vec<(String, StartHook)>,
    kills: Vec<(String, KillRule)>,
    stops: Vec<(String, KillRule)>,
    script_tails: Vec<(String, String)>,
}

/// The runner; hooks stay for all its jobs.
pub struct Runner<'a> {
    gitlab: &'a FakeGitLab,
    settings: RunnerSettings,
    hooks: Hooks,
}

impl<'a> Runner<'a> {
    pub fn new(gitlab: &'a FakeGitLab, settings: RunnerSettings) -> Self {
        Self { gitlab, settings, hooks: Hooks::default() }
    }

    /// Calls `hook` each time before the call of this name starts.
    pub fn on_substage(mut self, call: &str, hook: impl FnMut(&Moment<'_>) + Send + 'static) -> Self {
        self.hooks.starts.push((call.to_owned(), Box::new(hook)));
        self
    }

    /// Kills the driver's process with SIGKILL while it is in this call and `rule` says so; asked every few ms.
    pub fn kill_driver_when(
        mut self,
        call: &str,
        rule: impl FnMut(&Moment<'_>) -> bool + Send + 'static,
    ) -> Self {
        self.hooks.kills.push((call.to_owned(), Box::new(rule)));
        self
    }

    /// Stops this call as a runner that shuts down does: SIGTERM to the group, SIGKILL after the grace.
    pub fn stop_driver_when(
        mut self,
        call: &str,
        rule: impl FnMut(&Moment<'_>) -> bool + Send + 'static,
    ) -> Self {
        self.hooks.stops.push((call.to_owned(), Box::new(rule)));
        self
    }

    /// Puts a line between the evaluated part of a sub-stage's script and its final `exit 0` (`exit 1` makes it
    /// fail); the small runner only.
    pub fn append_to_script(mut self, substage: &str, line: &str) -> Self {
        self.hooks.script_tails.push((substage.to_owned(), line.to_owned()));
        self
    }

    /// Takes the next queued job through to its final state.
    pub fn run_one(&mut self) -> JobOutcome {
        match std::env::var_os("AIRLOCK_GITLAB_RUNNER") {
            Some(program) => real::run_one(Path::new(&program), self.gitlab, &self.settings, &mut self.hooks),
            None => build::run_one(self.gitlab, &self.settings, &mut self.hooks),
        }
    }

    /// Takes the next queued job with the small runner whatever the environment says.
    pub fn run_one_with_the_small_runner(&mut self) -> JobOutcome {
        build::run_one(self.gitlab, &self.settings, &mut self.hooks)
    }
}

impl Hooks {
    fn starting(&mut self, moment: &Moment<'_>) {
        for (call, hook) in &mut self.starts {
            if call == moment.call {
                hook(moment);
            }
        }
    }

    fn says(rules: &mut [(String, KillRule)], moment: &Moment<'_>) -> bool {
        rules.iter_mut().any(|(call, rule)| call == moment.call && rule(moment))
    }
}
