//! One hostile job on a host of its own, and what must hold after it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::git_repository::GitRepository;
use crate::support::gitlab::{JobPayload, JobRecord, Project};
use crate::support::runner::{JobOutcome, JobState};
use crate::support::staging::{Host, REPOSITORY, left_in_engine, redact, small_component};

/// A host with a directory of layouts, and the small component that it may publish.
pub struct Attack {
    pub host: Host,
    pub repository: GitRepository,
    pub project: Project,
}

/// A job that has ended.
pub struct Ended {
    pub outcome: JobOutcome,
    pub record: JobRecord,
    pub id: u64,
}

impl Attack {
    /// The small component as it is, on a host with a directory of layouts.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// The small component with a further commit that `change` wrote.
    pub fn with(change: impl FnOnce(&mut GitRepository)) -> Self {
        Self::on(Host::with_layout(), change)
    }

    /// The same on another host.
    pub fn on(host: Host, change: impl FnOnce(&mut GitRepository)) -> Self {
        let mut repository = small_component();
        // Without a base image the whole context is the image, and nothing of it takes long.
        repository.write("Dockerfile", "FROM scratch\nCOPY . /srv/\n");
        repository.commit("the whole context");
        let before = repository.head();
        change(&mut repository);
        // A change that made its own commit by hand has no more to commit.
        if repository.head() == before {
            repository.commit("a trick");
        }
        let project = host.serve(&repository);
        Self { host, repository, project }
    }

    /// The one job that publishes.
    pub fn job(&self) -> JobPayload {
        self.host.staging_job(&self.project, &self.repository)
    }

    /// Queues a job under an id that no other test of any process has.
    pub fn enqueue(&self, job: &JobPayload) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_micros();
        let id = (now as u64 % 1_000_000_000_000) * 1000 + NEXT.fetch_add(1, Ordering::Relaxed) % 1000;
        self.host.gitlab.enqueue(&job.clone().set("/id", id).set("/job_info/id", id))
    }

    /// Runs a job to its end; whatever it did, nothing of it stays in the engine or on the host.
    pub fn run(&self, job: &JobPayload) -> Ended {
        let id = self.enqueue(job);
        self.run_queued(id)
    }

    /// The same for a job that is in the queue already.
    pub fn run_queued(&self, id: u64) -> Ended {
        let outcome = self.host.runner().run_one();
        println!("{}", outcome.trace);
        assert_eq!(left_in_engine(id), Vec::<String>::new());
        assert_eq!(self.host.jobs_in_state(), Vec::<String>::new());
        assert!(!outcome.trace.contains("job-token-"), "the log shows the job's token");
        Ended { record: self.host.gitlab.record(id), outcome, id }
    }

    /// Runs a job that must end without anything in the store; returns what a person reads.
    pub fn refused(&self, job: &JobPayload) -> String {
        let ended = self.run(job);
        self.nothing_is_published();
        assert!(matches!(ended.outcome.state, JobState::Failed { .. }), "{:?}", ended.outcome.state);
        ended.message()
    }

    /// Runs a job that GitLab may show green, as any job that publishes nothing.
    pub fn publishes_nothing(&self, job: &JobPayload) -> String {
        let ended = self.run(job);
        self.nothing_is_published();
        assert_eq!(ended.outcome.state, JobState::Success);
        let said: Vec<&str> =
            ended.outcome.trace.lines().filter(|line| line.contains("publishes ")).collect();
        redact(&format!("{}\n{}", said.join("\n"), ended.state()))
    }

    /// Runs the job and expects a published image whatever it tried.
    pub fn published(&self, job: &JobPayload) -> Ended {
        let ended = self.run(job);
        assert_eq!(ended.outcome.state, JobState::Success);
        assert_eq!(self.host.image_tags().len(), 2, "{:?}", self.host.image_tags());
        let verified = self.host.verify(&format!("{REPOSITORY}:staged"), &[]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        ended
    }

    /// No version tag, no channel tag, no evidence, not even a manifest that no tag names.
    pub fn nothing_is_published(&self) {
        assert_eq!(self.host.image_tags(), Vec::<String>::new());
        assert_eq!(self.host.tags(), Vec::<String>::new());
        if self.host.registry.is_none() {
            assert_eq!(self.manifests(), 0, "a manifest was written");
        }
    }

    /// Counts the manifests in the index of the layout, tagged or not.
    fn manifests(&self) -> usize {
        let index = self.host.path("store").join(REPOSITORY).join("index.json");
        let Ok(bytes) = fs::read(index) else { return 0 };
        let index: serde_json::Value = serde_json::from_slice(&bytes).expect("an index");
        index["manifests"].as_array().expect("manifests").len()
    }
}

impl Ended {
    /// What Airlock said from its error on, and how GitLab shows the job.
    pub fn message(&self) -> String {
        // Out of the call's own standard error: in the log two streams meet in any order.
        let said =
            self.outcome.calls.iter().rev().find_map(|call| {
                call.stderr.find("error: ").map(|at| call.stderr[at..].trim_end().to_owned())
            });
        let said = said.unwrap_or_else(|| panic!("no error in\n{}", self.outcome.trace));
        assert!(
            said.lines().all(|line| self.outcome.trace.contains(line)),
            "the log lacks a part of\n{said}"
        );
        let said = regex::Regex::new("buildkit-mount[0-9]+")
            .expect("a pattern")
            .replace_all(&said, "buildkit-mount<n>");
        redact(&format!("{said}\n{}", self.state()).replace(&self.id.to_string(), "<job>"))
    }

    /// The end of the job as GitLab got it.
    pub fn state(&self) -> String {
        format!(
            "GitLab: {} {} exit code {}",
            self.record.state.as_deref().unwrap_or("none"),
            self.record.failure_reason.as_deref().unwrap_or("-"),
            self.record.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string())
        )
    }

    /// The lines that the job's own script wrote between two marks, `<<<` and `>>>`.
    pub fn said(&self) -> String {
        let trace = &self.outcome.trace;
        let from = trace.find("<<<\n").unwrap_or_else(|| panic!("no `<<<` in\n{trace}")) + 4;
        let to = trace.find(">>>").unwrap_or_else(|| panic!("no `>>>` in\n{trace}"));
        // `make` speaks on standard error, which meets the script's output in any order.
        trace[from..to].lines().filter(|line| !line.starts_with("make: ***")).fold(
            String::new(),
            |mut said, line| {
                said.push_str(line);
                said.push('\n');
                said
            },
        )
    }
}
