//! A host, its project and a component that is delivered in seconds, for tests that deliver many times.
//!
//! The invariant of a store stands here: a tag names only a digest whose evidence is complete.

#![allow(dead_code, reason = "each test binary uses its own part, so `expect` cannot hold in all of them")]

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::support::git_repository::GitRepository;
use crate::support::gitlab::{JobPayload, Project};
use crate::support::runner::{CallEnd, JobOutcome, JobState};
use crate::support::staging::{Host, Place, REPOSITORY, airlock, left_in_engine, text};

/// A host with one project; its image is `FROM scratch`, so that nothing large is read or sent.
pub struct Site {
    pub host: Host,
    pub repository: GitRepository,
    pub project: Project,
    /// The registry that is verified against; `None` with a layout.
    address: Option<String>,
}

impl Site {
    /// Sets a site up; `place` is an address or a layout.
    pub fn new(place: Place) -> Self {
        Self::with(place, tiny_component(), |settings| settings)
    }

    /// Sets a site up with a component and changed settings.
    pub fn with(place: Place, repository: GitRepository, change: impl FnOnce(String) -> String) -> Self {
        let address = match &place {
            Place::Address(address) => Some(address.clone()),
            Place::Registry | Place::Layout => None,
        };
        let host = Host::new(place, change);
        let project = host.serve(&repository);
        Self { host, repository, project, address }
    }

    /// Returns the staging job of the head in a pipeline; its id is of no other job on this machine.
    pub fn job(&self, pipeline: u64) -> JobPayload {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = u64::from(std::process::id()) * 1000 + NEXT.fetch_add(1, Ordering::Relaxed);
        self.host
            .staging_job(&self.project, &self.repository)
            .set("/id", id)
            .set("/job_info/id", id)
            .set("/job_info/pipeline_id", pipeline)
    }

    /// Runs the job of the head to its end and checks that it leaves nothing on the host.
    pub fn run(&self, pipeline: u64) -> JobOutcome {
        let id = self.host.gitlab.enqueue(&self.job(pipeline));
        let outcome = self.host.runner().run_one();
        self.assert_nothing_left(id);
        outcome
    }

    /// Runs `airlock verify` on a reference below the store.
    pub fn verify(&self, reference: &str, more: &[&str]) -> Output {
        let Some(address) = &self.address else { return self.host.verify(reference, more) };
        let (trust, full) = (self.host.path("trust.toml"), format!("{address}/{reference}"));
        let mut arguments = vec!["verify", "--trust", text(&trust)];
        arguments.extend(more);
        arguments.push(&full);
        airlock(&arguments)
    }

    /// Returns the digest that a tag names once its evidence proved complete in both forms.
    pub fn complete_digest(&self, tag: &str) -> String {
        self.complete_digest_in(REPOSITORY, tag)
    }

    /// Returns the same for a tag of any repository.
    pub fn complete_digest_in(&self, repository: &str, tag: &str) -> String {
        let output = self.verify(&format!("{repository}:{tag}"), &["--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the tag `{tag}` names an image that is not verified:\n{said}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report in JSON");
        let both = serde_json::json!(["legacy", "bundle"]);
        assert_eq!(report["signature"]["formats"], both, "the signature behind `{tag}`");
        let evidence = report["evidence"].as_array().expect("a list");
        for one in evidence {
            assert_eq!(one["formats"], both, "the {} behind `{tag}`", one["kind"]);
        }
        let kinds: BTreeSet<&str> = evidence.iter().filter_map(|one| one["kind"].as_str()).collect();
        assert_eq!(
            kinds,
            BTreeSet::from(["spdx", "cyclonedx", "provenance", "test-result"]),
            "the evidence behind `{tag}`"
        );
        report["digest"].as_str().expect("a digest").to_owned()
    }

    /// Checks that nothing of a job is left in the engine or in the host's state.
    pub fn assert_nothing_left(&self, job: u64) {
        assert_eq!(left_in_engine(job), Vec::<String>::new(), "what job {job} left in the engine");
        assert_eq!(networks(job), Vec::<String>::new(), "networks that job {job} left");
        assert_eq!(self.host.jobs_in_state(), Vec::<String>::new(), "what job {job} left in the state");
    }
}

/// Checks that the job ended as a failure of the runner's side, which GitLab may retry.
pub fn assert_system_failure(outcome: &JobOutcome) {
    assert_eq!(outcome.call("build_script").end, CallEnd::Exited(2), "{}", outcome.trace);
    match &outcome.state {
        JobState::Failed { reason, .. } if reason == "runner_system_failure" => {}
        state => panic!("expected a system failure, found {state:?}\n{}", outcome.trace),
    }
}

/// Returns the failure's own lines of a job's log; other lines may stand between them.
pub fn failure_in(trace: &str) -> String {
    let starts = ["error: ", "caused by: ", "hint: ", "note: ", "           "];
    let lines = trace.lines().skip_while(|line| !line.starts_with("error: "));
    let own = lines.filter(|line| starts.iter().any(|start| line.starts_with(start)));
    own.collect::<Vec<_>>().join("\n")
}

/// A component whose image has no base: two layers of a few bytes.
pub fn tiny_component() -> GitRepository {
    let mut repository = GitRepository::create("staging");
    repository.write("Makefile", "stage-unit-test:\n\ttest -s message\n");
    repository.write("message", "hello\n");
    repository.write("VERSION", "1.4.0\n");
    repository.write("Dockerfile", "FROM scratch\nCOPY message /srv/message\nCOPY VERSION /srv/version\n");
    repository.commit("first version");
    repository
}

fn networks(job: u64) -> Vec<String> {
    let output = Command::new("docker")
        .args(["network", "ls", "--format", "{{.Label \"airlock.job\"}} {{.Name}}"])
        .output()
        .expect("the docker client");
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    listed.lines().filter(|line| line.starts_with(&format!("{job}-"))).map(str::to_owned).collect()
}
