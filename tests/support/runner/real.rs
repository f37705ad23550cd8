//! Drives a real `gitlab-runner run-single` with a generated `config.toml`.
//!
//! A recording wrapper stands in front of the driver, in the same process group: it tells which call starts, waits
//! until the test's hooks ran, and notes how the driver ended. Results are read from the fake GitLab.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};
use serde_json::{Value, json};

use super::{Call, CallEnd, Hooks, JobOutcome, JobState, Moment, RunnerSettings, Stage};
use crate::support::gitlab::{FakeGitLab, JobRecord, RUNNER_TOKEN};

/// Longer than any job of the tests, so that a hanging runner fails one test and not the suite.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs in front of the driver as `wrapper STAGE DRIVER ARGUMENTS…`.
const WRAPPER: &str = r#"#!/usr/bin/env bash
# Records one call of the driver: NNN.start, NNN.pid, NNN.end; waits for NNN.ack before it starts the driver.
records=${0%/*}/records
stage=$1 substage=
shift
[ "$stage" = run ] && substage=${!#}
number=0
until (set -o noclobber; : > "$records/$(printf %03d $number).lock") 2>/dev/null; do number=$((number + 1)); done
record=$records/$(printf %03d $number)
printf '%s %s\n' "$stage" "$substage" > "$record.start.new" && mv "$record.start.new" "$record.start"
for _ in $(seq 3000); do [ -e "$record.ack" ] && break; sleep 0.01; done
started=$(date +%s%N) stopped=0
trap 'stopped=1' TERM
if [ "$stage" = cleanup ]; then
    "$@" > "$record.stdout" 2> "$record.stderr" &
else
    "$@" &
fi
pid=$!
echo "$pid" > "$record.pid.new" && mv "$record.pid.new" "$record.pid"
while :; do
    stopped=0
    wait "$pid"
    code=$?
    # A trapped signal ends `wait` early; the next one returns the driver's own status.
    [ "$stopped" = 1 ] || break
done
if [ "$stage" = cleanup ]; then cat "$record.stdout"; cat "$record.stderr" >&2; fi
echo "$code $(( ($(date +%s%N) - started) / 1000000 ))" > "$record.end.new" && mv "$record.end.new" "$record.end"
[ "$code" = 137 ] && kill -KILL $$
exit "$code"
"#;

/// Takes the next queued job through a real runner.
pub fn run_one(
    program: &Path,
    gitlab: &FakeGitLab,
    settings: &RunnerSettings,
    hooks: &mut Hooks,
) -> JobOutcome {
    assert!(hooks.script_tails.is_empty(), "`append_to_script` works with the small runner only");
    let job = gitlab.next_job();
    let folder = tempfile::tempdir().expect("a folder for the runner");
    let records = folder.path().join("records");
    std::fs::create_dir(&records).expect("a folder for the records");
    let wrapper = folder.path().join("wrapper");
    std::fs::write(&wrapper, WRAPPER).expect("write the wrapper");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
    let config = folder.path().join("config.toml");
    let text = toml::to_string(&configuration(gitlab, settings, &wrapper)).expect("settings in TOML");
    std::fs::write(&config, text).expect("write config.toml");
    let output = std::fs::File::create(folder.path().join("runner.log")).expect("a log for the runner");
    let mut runner = Command::new(program)
        .args(["run-single", "--runner", "t", "--max-builds", "1", "--wait-timeout", "60", "--config"])
        .arg(&config)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .envs(settings.environment.iter().map(|(key, value)| (key, value)))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("share the runner's log"))
        .stderr(output)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start `{}`: {error}", program.display()));
    attend(&mut runner, gitlab, job, &records, hooks);
    let record = gitlab.record(job);
    let log = std::fs::read_to_string(folder.path().join("runner.log")).unwrap_or_default();
    JobOutcome { job, state: state_of(&record, &log), trace: record.trace, calls: read_calls(&records) }
}

fn configuration(gitlab: &FakeGitLab, settings: &RunnerSettings, wrapper: &Path) -> Value {
    let arguments = |stage: &str, arguments: &[String]| -> Vec<String> {
        let driver = settings.driver.display().to_string();
        [stage.to_owned(), driver].into_iter().chain(arguments.iter().cloned()).collect()
    };
    let seconds = |duration: Duration| duration.as_secs().max(1);
    let mut custom = json!({
        "prepare_exec": wrapper, "prepare_args": arguments("prepare", &settings.prepare_args),
        "run_exec": wrapper, "run_args": arguments("run", &settings.run_args),
        "cleanup_exec": wrapper, "cleanup_args": arguments("cleanup", &settings.cleanup_args),
        "graceful_kill_timeout": seconds(settings.graceful_kill_timeout),
        "force_kill_timeout": seconds(settings.force_kill_timeout)
    });
    if let Some(config) = &settings.config_args {
        custom["config_exec"] = json!(wrapper);
        custom["config_args"] = json!(arguments("config", config));
    }
    let environment: Vec<String> =
        settings.runner_environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "concurrent": 1, "check_interval": 1,
        "runners": [{
            "name": "t", "url": gitlab.url(), "token": RUNNER_TOKEN, "executor": "custom", "shell": "bash",
            "builds_dir": settings.builds_dir, "cache_dir": settings.cache_dir, "environment": environment,
            "output_limit": settings.output_limit.div_ceil(1024), "safe_directory_checkout": true,
            "custom": custom, "custom_build_dir": {"enabled": true},
            "feature_flags": {"FF_TIMESTAMPS": false, "FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY": false}
        }]
    })
}

/// Answers the wrapper's calls until the runner ends.
fn attend(runner: &mut Child, gitlab: &FakeGitLab, job: u64, records: &Path, hooks: &mut Hooks) {
    let deadline = Instant::now() + LIMIT;
    let mut number = 0;
    let mut running: Option<(PathBuf, String, bool)> = None;
    while runner.try_wait().expect("wait for the runner").is_none() {
        if Instant::now() > deadline {
            let _ = runner.kill();
            panic!("the runner did not end within {LIMIT:?}\n{}", gitlab.trace(job));
        }
        let record = records.join(format!("{number:03}"));
        if let Ok(start) = std::fs::read_to_string(record.with_extension("start")) {
            let name = start.split_whitespace().last().unwrap_or_default().to_owned();
            hooks.starting(&Moment { job, call: &name, trace: &gitlab.trace(job) });
            std::fs::write(record.with_extension("ack"), "").expect("let the driver start");
            running = Some((record, name, false));
            number += 1;
        }
        if let Some((record, name, signalled @ false)) = &mut running {
            let pid = std::fs::read_to_string(record.with_extension("pid")).ok();
            let pid = pid.and_then(|pid| pid.trim().parse().ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid.filter(|_| !record.with_extension("end").exists()) {
                let trace = gitlab.trace(job);
                let moment = Moment { job, call: name, trace: &trace };
                if Hooks::says(&mut hooks.kills, &moment) {
                    let _ = kill_process(pid, Signal::KILL);
                    *signalled = true;
                } else if Hooks::says(&mut hooks.stops, &moment) {
                    if let Ok(group) = getpgid(Some(pid)) {
                        let _ = kill_process_group(group, Signal::TERM);
                    }
                    *signalled = true;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn state_of(record: &JobRecord, log: &str) -> JobState {
    let canceled = record.trace.contains("Job failed: canceled") || !record.accepted;
    match (record.state.as_deref(), canceled) {
        (Some("success"), _) => JobState::Success,
        (Some("failed"), false) => JobState::Failed {
            reason: record.failure_reason.clone().unwrap_or_default(),
            exit_code: record.exit_code,
        },
        (Some("failed") | None, true) if !record.trace.is_empty() => JobState::Canceled,
        (state, _) => panic!("the runner left the job as {state:?}\n{log}"),
    }
}

fn read_calls(records: &Path) -> Vec<Call> {
    let numbered = |number: usize| records.join(format!("{number:03}"));
    let started = (0..).map(numbered).take_while(|record| record.with_extension("start").exists());
    started.map(|record| read_call(&record)).collect()
}

fn read_call(record: &Path) -> Call {
    let text =
        |extension: &str| std::fs::read_to_string(record.with_extension(extension)).unwrap_or_default();
    let start = text("start");
    let mut words = start.split_whitespace();
    let stage = match words.next() {
        Some("config") => Stage::Config,
        Some("prepare") => Stage::Prepare,
        Some("cleanup") => Stage::Cleanup,
        _ => Stage::Run,
    };
    let end = text("end");
    let mut numbers = end.split_whitespace().map(str::parse::<i32>);
    let code = numbers.next().and_then(Result::ok);
    let millis = numbers.next().and_then(Result::ok).and_then(|millis| u64::try_from(millis).ok());
    Call {
        stage,
        substage: words.next().map(str::to_owned),
        end: match code {
            None => CallEnd::Signaled(9),
            Some(code @ 129..=159) => CallEnd::Signaled(code - 128),
            Some(code) => CallEnd::Exited(code),
        },
        duration: Duration::from_millis(millis.unwrap_or_default()),
        stdout: text("stdout"),
        stderr: text("stderr"),
    }
}
