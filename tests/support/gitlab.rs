//! A fake GitLab that speaks the runner's coordinator API, `GET /job` and git's smart HTTP.
//!
//! It is a server on a socket: what a test sets here is what the next request is answered.

mod bridge;
mod endpoints;
mod http;
pub mod payload;
mod smart_http;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::git_repository::GitRepository;
pub use payload::JobPayload;

/// Enough for a runner, its trace loop, git and Airlock at once.
const SERVING_THREADS: usize = 8;

/// The API token that may set commit statuses.
pub const STATUS_TOKEN: &str = "glpat-airlock-tests-status";

/// The runner's authentication token.
pub const RUNNER_TOKEN: &str = "glrt-t1_airlock-tests";

/// What GitLab answers in `Job-Status` to a runner's updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    Running,
    /// A user's cancel: the script stops, later stages run.
    Canceling,
    /// A forced cancel: updates are also refused with 403.
    Canceled,
}

/// What `GET /api/v4/job` answers.
#[derive(Clone, Debug)]
pub enum JobLookup {
    /// The truth: the job of the token, or 401 when it is not running.
    Genuine,
    /// The truth with these keys replaced (`{"status": "canceling"}`, `{"commit": {"id": "…"}}`), merged deeply.
    Merged(Value),
    /// Any status and body.
    Http(u16, String),
}

/// An upload by `gitlab-runner artifacts-uploader`.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub artifact_type: String,
    pub artifact_format: String,
    pub filename: String,
    pub bytes: Vec<u8>,
}

/// What GitLab knows about a job.
#[derive(Clone, Debug, Default)]
pub struct JobRecord {
    /// The last `state` that the runner sent.
    pub state: Option<String>,
    pub failure_reason: Option<String>,
    pub exit_code: Option<i64>,
    /// Whether the final update was accepted; after a forced cancel it is refused.
    pub accepted: bool,
    pub trace: String,
    pub artifacts: Vec<Artifact>,
}

/// A commit status that a client set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedStatus {
    pub project: String,
    pub commit: String,
    pub state: String,
    pub name: String,
    pub description: String,
    pub target_url: String,
}

/// A project whose repository is served over HTTP.
#[derive(Clone, Debug)]
pub struct Project {
    pub id: u64,
    pub full_path: String,
    git_dir: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    Running,
    Finished,
}

struct Job {
    document: Value,
    token: String,
    phase: Phase,
    status: JobStatus,
    cancels: Vec<(String, JobStatus)>,
    lookups: VecDeque<JobLookup>,
    trace: Vec<u8>,
    final_update: Option<(Value, bool)>,
    artifacts: Vec<Artifact>,
}

#[derive(Default)]
struct State {
    projects: BTreeMap<String, Project>,
    queue: VecDeque<u64>,
    jobs: BTreeMap<u64, Job>,
    served_artifacts: HashMap<u64, (String, Vec<u8>)>,
    requests: Vec<String>,
    statuses: Vec<RecordedStatus>,
    status_answers: VecDeque<(u16, String)>,
    last_id: u64,
}

/// The server; it stops when the value is dropped.
pub struct FakeGitLab {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: Arc<tiny_http::Server>,
    threads: Vec<JoinHandle<()>>,
}

impl FakeGitLab {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Starts on a free port of the gateway of the engine's default bridge, where containers reach it.
    pub fn start_on_bridge() -> Self {
        Self::start_on(bridge::gateway())
    }

    /// Starts on a free port of `ip`.
    pub fn start_on(ip: IpAddr) -> Self {
        let server = tiny_http::Server::http((ip, 0)).expect("bind the fake GitLab");
        let address = server.server_addr().to_ip().expect("the fake GitLab listens on IP");
        let server = Arc::new(server);
        let state = Arc::new(Mutex::new(State { last_id: 100, ..State::default() }));
        let threads = (0..SERVING_THREADS)
            .map(|_| {
                let (server, state) = (Arc::clone(&server), Arc::clone(&state));
                std::thread::spawn(move || {
                    while let Ok(request) = server.recv() {
                        http::serve(request, |request| endpoints::answer(&state, request));
                    }
                })
            })
            .collect();
        Self { address, state, server, threads }
    }

    /// Returns the base URL, without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `repository` as `/<full_path>.git`; the repository must live as long as it is fetched.
    pub fn serve(&self, id: u64, full_path: &str, repository: &GitRepository) -> Project {
        let project = Project { id, full_path: full_path.to_owned(), git_dir: repository.git_dir() };
        self.lock().projects.insert(full_path.to_owned(), project.clone());
        project
    }

    /// Makes a payload with a new id and token for a job without a repository (`GIT_STRATEGY=none`).
    pub fn job(&self) -> JobPayload {
        let mut state = self.lock();
        state.last_id += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos();
        let token = format!("job-token-{}-{:x}", state.last_id, now & 0xffff_ffff_ffff);
        JobPayload::new(state.last_id, &token, &self.url())
    }

    /// Makes a payload for the current branch and commit of a served repository.
    pub fn job_of(&self, project: &Project, repository: &GitRepository) -> JobPayload {
        self.job()
            .project(project.id, &project.full_path, &self.url())
            .branch(&repository.branch())
            .sha(&repository.head())
            .with_repository()
    }

    /// Queues a job for the next runner that asks, and returns its id.
    pub fn enqueue(&self, payload: &JobPayload) -> u64 {
        let job = Job {
            document: payload.document(),
            token: payload.token(),
            phase: Phase::Queued,
            status: JobStatus::Running,
            cancels: Vec::new(),
            lookups: VecDeque::new(),
            trace: Vec::new(),
            final_update: None,
            artifacts: Vec::new(),
        };
        let mut state = self.lock();
        state.jobs.insert(payload.id(), job);
        state.queue.push_back(payload.id());
        payload.id()
    }

    /// Returns the job that the next runner gets.
    pub fn next_job(&self) -> u64 {
        *self.lock().queue.front().expect("call `enqueue` before a runner asks")
    }

    /// Sets what the next updates of the job are answered.
    pub fn set_status(&self, job: u64, status: JobStatus) {
        self.with_job(job, |job| job.status = status);
    }

    /// Sets the status as soon as the job's trace contains `text`.
    pub fn cancel_when(&self, job: u64, text: &str, status: JobStatus) {
        self.with_job(job, |job| job.cancels.push((text.to_owned(), status)));
    }

    /// Sets what `GET /job` answers from now on.
    pub fn set_lookup(&self, job: u64, lookup: JobLookup) {
        self.set_lookups(job, vec![lookup]);
    }

    /// Sets what `GET /job` answers, one after the other; the last one stays.
    pub fn set_lookups(&self, job: u64, lookups: Vec<JobLookup>) {
        self.with_job(job, |job| job.lookups = lookups.into());
    }

    /// Marks the job as running without a runner, for tests of `GET /job` and git alone.
    pub fn mark_running(&self, job: u64) {
        let mut state = self.lock();
        state.queue.retain(|queued| *queued != job);
        state.jobs.get_mut(&job).expect("the job was queued").phase = Phase::Running;
    }

    /// Serves the artifacts of a finished job to whoever has its token.
    pub fn serve_artifact(&self, job: u64, token: &str, zip: Vec<u8>) {
        self.lock().served_artifacts.insert(job, (token.to_owned(), zip));
    }

    /// Sets what the next requests for a commit status are answered; afterwards they are taken again.
    pub fn refuse_statuses(&self, answers: &[(u16, &str)]) {
        self.lock().status_answers = answers.iter().map(|(code, text)| (*code, (*text).to_owned())).collect();
    }

    /// Returns the commit statuses that were taken, in their order.
    pub fn statuses(&self) -> Vec<RecordedStatus> {
        self.lock().statuses.clone()
    }

    /// Returns the job's trace so far.
    pub fn trace(&self, job: u64) -> String {
        self.with_job(job, |job| String::from_utf8_lossy(&job.trace).into_owned())
    }

    /// Returns what the runner reported about the job.
    pub fn record(&self, job: u64) -> JobRecord {
        self.with_job(job, |job| {
            let mut record = JobRecord {
                trace: String::from_utf8_lossy(&job.trace).into_owned(),
                artifacts: job.artifacts.clone(),
                ..JobRecord::default()
            };
            if let Some((update, accepted)) = &job.final_update {
                record.state = update["state"].as_str().map(str::to_owned);
                record.failure_reason = update["failure_reason"].as_str().map(str::to_owned);
                record.exit_code = update["exit_code"].as_i64();
                record.accepted = *accepted;
            }
            record
        })
    }

    /// Returns the status that GitLab's page shows: a job that was told to cancel ends canceled.
    pub fn final_status(&self, job: u64) -> String {
        self.with_job(job, |job| match (job.status, &job.final_update) {
            (JobStatus::Running, None) => "running".to_owned(),
            (JobStatus::Running, Some((update, _))) => update["state"].as_str().unwrap_or("?").to_owned(),
            (JobStatus::Canceling, None) => "canceling".to_owned(),
            (JobStatus::Canceling, Some(_)) | (JobStatus::Canceled, _) => "canceled".to_owned(),
        })
    }

    /// Returns all requests so far as `METHOD /path?query`.
    pub fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// Counts the requests to exactly this path, whatever the method and query.
    pub fn requests_to(&self, path: &str) -> usize {
        let is_path = |line: &&String| {
            line.split_once(' ').is_some_and(|(_, target)| target.split('?').next() == Some(path))
        };
        self.lock().requests.iter().filter(is_path).count()
    }

    fn with_job<T>(&self, id: u64, act: impl FnOnce(&mut Job) -> T) -> T {
        act(self.lock().jobs.get_mut(&id).expect("the job was queued"))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the fake GitLab panicked")
    }
}

impl Drop for FakeGitLab {
    fn drop(&mut self) {
        for _ in &self.threads {
            self.server.unblock();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
