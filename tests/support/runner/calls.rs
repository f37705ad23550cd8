//! One call of the driver within a job: its script, its environment, its verdict (contract §1.1, §1.2, §1.7).

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::build::{Build, JobError};
use super::driver::{self, Invocation, Verdict};
use super::job_context::Scope;
use super::{Call, CallEnd, Hooks, Moment, Stage};

impl Build<'_> {
    /// Runs one sub-stage; one without a script is not called at all.
    pub fn run_substage(&mut self, name: &str, script: Option<String>, scope: Scope) -> Result<(), JobError> {
        let Some(mut script) = script else { return Ok(()) };
        for (_, line) in self.hooks.script_tails.iter().filter(|(substage, _)| substage == name) {
            let end = script.rfind("exit 0\n").expect("each script ends with `exit 0`");
            script.insert_str(end, &format!("{line}\n"));
        }
        let sections = self.payload["features"]["trace_sections"] == true;
        let section = if name == "build_script" { "step_script" } else { name };
        if sections {
            self.log.section_start(section);
            self.log.line(&header(section));
        }
        if name == "build_script" {
            self.log.line(
                "WARNING: Starting with version 17.0 the 'build_script' stage will be replaced with 'step_script': \
                 https://gitlab.com/groups/gitlab-org/-/epics/6112",
            );
        }
        let directory = self.attempt.as_ref().expect("prepare succeeded").directory.path();
        let folder =
            tempfile::Builder::new().prefix("script").tempdir_in(directory).expect("a script folder");
        let path = folder.keep().join("script");
        write_new(&path, 0o700, script.as_bytes());
        let mut arguments = self.settings.run_args.clone();
        arguments.extend([path.display().to_string(), name.to_owned()]);
        let result = self.call(Stage::Run, Some(name), &arguments, scope);
        if sections {
            self.log.section_end(section);
        }
        result.map(|_| ())
    }

    /// Calls the driver and returns its standard output.
    pub fn call(
        &mut self,
        stage: Stage,
        substage: Option<&str>,
        arguments: &[String],
        scope: Scope,
    ) -> Result<String, JobError> {
        let environment = self.environment(stage);
        let attempt = self.attempt.as_ref().expect("an attempt has begun");
        let code_file = attempt.directory.path().join("build_exit_code");
        let mut call = Call {
            stage,
            substage: substage.map(str::to_owned),
            end: CallEnd::NotStarted(String::new()),
            duration: Duration::ZERO,
            stdout: String::new(),
            stderr: String::new(),
        };
        let name = call.name().to_owned();
        self.hooks.starting(&Moment { job: self.id, call: &name, trace: &self.log.text() });
        let invocation = Invocation {
            program: &self.settings.driver,
            arguments,
            environment: &environment,
            directory: attempt.directory.path(),
            graceful_kill_timeout: self.settings.graceful_kill_timeout,
            force_kill_timeout: self.settings.force_kill_timeout,
        };
        let stdout = matches!(stage, Stage::Prepare | Stage::Run).then(|| self.log.stream());
        let stderr = (stage != Stage::Cleanup).then(|| self.log.stream());
        let started = Instant::now();
        let (hooks, context, log, id) = (&mut *self.hooks, &self.context, &self.log, self.id);
        let ended = driver::call(&invocation, stdout, stderr, || {
            if context.interrupt(scope).is_some() {
                return Verdict::Stop;
            }
            if hooks.kills.is_empty() && hooks.stops.is_empty() {
                return Verdict::GoOn;
            }
            let trace = log.text();
            let moment = Moment { job: id, call: &name, trace: &trace };
            match () {
                () if Hooks::says(&mut hooks.kills, &moment) => Verdict::Crash,
                () if Hooks::says(&mut hooks.stops, &moment) => Verdict::Stop,
                () => Verdict::GoOn,
            }
        });
        call.duration = started.elapsed();
        call.end = ended.end.clone();
        call.stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
        call.stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        let stdout = call.stdout.clone();
        if !matches!(ended.end, CallEnd::NotStarted(_)) {
            self.calls.push(call);
        }
        judge(&ended.end, &code_file).map(|()| stdout)
    }

    fn environment(&self, stage: Stage) -> BTreeMap<String, String> {
        let attempt = self.attempt.as_ref().expect("an attempt has begun");
        let of_test =
            |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
        let mut environment = BTreeMap::from([
            ("PATH".to_owned(), of_test("PATH", "/usr/local/bin:/usr/bin:/bin")),
            ("HOME".to_owned(), of_test("HOME", "/root")),
        ]);
        environment.extend(self.settings.environment.iter().cloned());
        let directory = attempt.directory.path();
        for (key, value) in [
            ("TMPDIR", directory.to_owned()),
            ("BUILD_FAILURE_EXIT_CODE", PathBuf::from("1")),
            ("SYSTEM_FAILURE_EXIT_CODE", PathBuf::from("2")),
            ("BUILD_EXIT_CODE_FILE", directory.join("build_exit_code")),
            ("JOB_RESPONSE_FILE", directory.join("response.json")),
        ] {
            environment.insert(key.to_owned(), value.display().to_string());
        }
        if stage != Stage::Config {
            environment.extend(attempt.job_environment.clone());
        }
        self.variables().add_to(&mut environment, &self.payload);
        environment
    }
}

/// The headline that the runner gives each stage (GitLab Runner `common/build.go`).
fn header(section: &str) -> String {
    match section {
        "prepare_script" => "Preparing environment".to_owned(),
        "get_sources" => "Getting source from Git repository".to_owned(),
        "clear_worktree" => "Deleting all tracked and untracked files due to source fetch failure".to_owned(),
        "restore_cache" => "Restoring cache".to_owned(),
        "download_artifacts" => "Downloading artifacts".to_owned(),
        "after_script" => "Running after_script".to_owned(),
        "archive_cache" => "Saving cache for successful job".to_owned(),
        "archive_cache_on_failure" => "Saving cache for failed job".to_owned(),
        "upload_artifacts_on_success" => "Uploading artifacts for successful job".to_owned(),
        "upload_artifacts_on_failure" => "Uploading artifacts for failed job".to_owned(),
        "cleanup_file_variables" => "Cleaning up project directory and file based variables".to_owned(),
        step => format!("Executing \"{step}\" stage of the job script"),
    }
}

/// The mapping of contract §1.7.
fn judge(end: &CallEnd, code_file: &Path) -> Result<(), JobError> {
    let unknown = |code: i32, status: String| {
        let text = format!(
            "unknown Custom executor executable exit code {code}; executable execution terminated with: "
        );
        Err(JobError::System(text + &status))
    };
    match end {
        CallEnd::Exited(0) => Ok(()),
        CallEnd::Exited(1) => {
            let Ok(content) = std::fs::read_to_string(code_file) else {
                return Err(JobError::Build { exit_code: 1, text: "exit status 1".to_owned() });
            };
            match content.lines().next().unwrap_or_default().trim().parse() {
                Ok(exit_code) => Err(JobError::Build { exit_code, text: format!("exit status {exit_code}") }),
                Err(_) => unknown(2, "exit status 1".to_owned()),
            }
        }
        CallEnd::Exited(2) => Err(JobError::System("exit status 2".to_owned())),
        CallEnd::Exited(code) => unknown(*code, format!("exit status {code}")),
        CallEnd::Signaled(9) => unknown(-1, "signal: killed".to_owned()),
        CallEnd::Signaled(15) => unknown(-1, "signal: terminated".to_owned()),
        CallEnd::Signaled(signal) => unknown(-1, format!("signal: {signal}")),
        CallEnd::NotStarted(why) => Err(JobError::System(format!("failed to start command: {why}"))),
        CallEnd::Abandoned(pid) => {
            Err(JobError::System(format!("failed to kill process PID={pid}, likely process is dormant")))
        }
    }
}

/// Writes a new file with exactly this mode.
pub fn write_new(path: &Path, mode: u32, content: &[u8]) {
    use std::io::Write;
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    opened.expect("create a file for the driver").write_all(content).expect("write a file for the driver");
}
