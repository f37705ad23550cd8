//! One job whose stages a test calls by hand, as GitLab Runner would, one after another or alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use airlock::domain::digest::Digest;
use serde_json::Value;

use crate::support::git_repository::GitRepository;
use crate::support::gitlab::JobPayload;
use crate::support::staging::{AIRLOCK, Host, redact, small_component, text};

/// A stage that ended.
pub struct Called {
    pub code: Option<i32>,
    /// What the stage left in `BUILD_EXIT_CODE_FILE`.
    pub number: Option<String>,
    pub stdout: String,
    pub stderr: String,
}

impl Called {
    /// Returns what a golden file keeps: whose fault, and the words.
    pub fn golden(&self) -> String {
        let code = self.code.map_or("killed".to_owned(), |code| code.to_string());
        let number = self.number.as_deref().map_or(String::new(), |number| format!(", number {number}"));
        format!("exit {code}{number}\n{}", redact(&self.stderr))
    }

    /// The job's author must act: the runner reports a script failure with this number.
    pub fn expect_job_failure(self, number: &str) -> Self {
        assert_eq!(
            (self.code, self.number.as_deref()),
            (Some(1), Some(number)),
            "{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The runner's administrator must act.
    pub fn expect_system_failure(self) -> Self {
        assert_eq!((self.code, self.number.as_deref()), (Some(2), None), "{}\n{}", self.stdout, self.stderr);
        self
    }

    pub fn expect_success(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// A staging job of the small component on a host.
pub struct Job<'a> {
    pub host: &'a Host,
    pub id: u64,
    pub document: Value,
    pub repository: GitRepository,
    files: tempfile::TempDir,
    /// Another user than the test's own.
    pub uid: Option<u32>,
}

impl<'a> Job<'a> {
    /// The publishing job that would succeed.
    pub fn new(host: &'a Host) -> Self {
        Self::with(host, |payload| payload)
    }

    /// The same job after `change`.
    pub fn with(host: &'a Host, change: impl FnOnce(JobPayload) -> JobPayload) -> Self {
        let repository = small_component();
        let project = host.serve(&repository);
        let payload = change(host.staging_job(&project, &repository));
        let id = host.gitlab.enqueue(&payload);
        host.gitlab.mark_running(id);
        let files = tempfile::tempdir().expect("a directory");
        let job = Self { host, id, document: payload.document(), repository, files, uid: None };
        job.write_response(job.document.to_string().as_bytes());
        fs::write(job.script(), "exit 0\n").expect("a script");
        job
    }

    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    pub fn response(&self) -> PathBuf {
        self.files.path().join("response.json")
    }

    pub fn script(&self) -> PathBuf {
        self.files.path().join("script")
    }

    pub fn write_response(&self, bytes: &[u8]) {
        fs::write(self.response(), bytes).expect("a response file");
    }

    /// Commits what `change` did to the repository; the next calls are about that commit.
    pub fn commit(&mut self, change: impl FnOnce(&GitRepository)) {
        change(&self.repository);
        let commit = self.repository.commit("another version");
        self.document["git_info"]["sha"] = commit.into();
        self.write_response(self.document.to_string().as_bytes());
    }

    pub fn prepare(&self) -> Called {
        self.call(&["executor", "prepare", "--settings", text(&self.host.settings)])
    }

    pub fn run(&self, phase: &str) -> Called {
        let (settings, script) = (&self.host.settings, self.script());
        self.call(&["executor", "run", "--settings", text(settings), text(&script), phase])
    }

    pub fn cleanup(&self) -> Called {
        self.call(&["executor", "cleanup", "--settings", text(&self.host.settings)])
    }

    /// Calls the built binary with the environment that GitLab Runner gives.
    pub fn call(&self, arguments: &[&str]) -> Called {
        let number = self.files.path().join("build_exit_code");
        let _ = fs::remove_file(&number);
        let mut command = Command::new(AIRLOCK);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("TMPDIR", self.files.path())
            .env("BUILD_FAILURE_EXIT_CODE", "1")
            .env("SYSTEM_FAILURE_EXIT_CODE", "2")
            .env("BUILD_EXIT_CODE_FILE", &number)
            .env("JOB_RESPONSE_FILE", self.response())
            .stdin(Stdio::null());
        if let Some(uid) = self.uid {
            use std::os::unix::process::CommandExt;
            command.uid(uid).gid(uid);
        }
        let output = command.output().expect("the built binary runs");
        Called {
            code: output.status.code(),
            number: fs::read_to_string(number).ok().map(|text| text.trim_end().to_owned()),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr)
                .replace(text(self.files.path()), "<job>")
                .replace(text(&self.repository.path()), "<tree>"),
        }
    }

    /// Nothing is published, and after cleanup nothing is left.
    pub fn expect_nothing_published_and_nothing_left(&self) {
        assert_eq!(self.host.image_tags(), Vec::<String>::new());
        self.cleanup().expect_success();
        assert_eq!(self.left_in_engine(), "");
        assert_eq!(self.host.jobs_in_state(), Vec::<String>::new());
    }

    /// Returns what carries this job's key: other tests number their jobs alike.
    fn left_in_engine(&self) -> String {
        let uuid = self.document["runner_info"]["uuid"].as_str().unwrap_or_default();
        let scope = Digest::of(format!("{}\n{uuid}", self.host.gitlab.url()).as_bytes());
        let key = format!("{}-{}", self.id, scope.short());
        let label = format!("label=airlock.job={key}");
        let images = format!("reference=airlock-build/{key}");
        [
            &["ps", "--all", "--quiet", "--filter", &label][..],
            &["volume", "ls", "--quiet", "--filter", &label],
            &["images", "--quiet", "--filter", &images],
        ]
        .iter()
        .map(|arguments| {
            let output = Command::new("docker").args(*arguments).output().expect("the docker client");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .collect()
    }
}
