//! GitLab's API, asked with the job's own token: is this job still the one it says it is?
//!
//! `GET /api/v4/job` answers only while the job runs, so it also tells that nobody cancelled it
//! (GitLab REST API, "Get job token's job"). It is asked right before signing and before tagging.

use std::path::Path;
use std::time::Duration;

use gitlab::api::AsyncQuery;
use gitlab::{AsyncGitlab, CertificateBundle, GitlabBuilder, GitlabError as ClientError};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::domain::commit::ObjectId;
use crate::domain::job::JobFacts;
use crate::failure::{CLI_REFUSED, EXIT_REFUSED_BY_PUBLISH_POLICY, Failure, FailureKind};

const ATTEMPTS: u32 = 4;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// GitLab, seen with one job's token.
pub struct GitLabApi {
    url: Url,
    ca_pem: Option<Vec<u8>>,
    token: Zeroizing<String>,
}

/// Why GitLab does not confirm the job.
#[derive(Debug, thiserror::Error)]
pub enum GitLabError {
    #[error("GitLab at `{url}` does not answer after {attempts} attempts: {why}")]
    Unreachable { url: Url, attempts: u32, why: String },
    #[error("GitLab at `{url}` no longer knows the job by its token: {why}")]
    NotRunning { url: Url, why: String },
    #[error("GitLab says that the job's {fact} is `{found}`, expected `{expected}`")]
    OtherFact { fact: &'static str, expected: String, found: String },
    #[error("the private CA `{file}` cannot be used: {why}")]
    Ca { file: String, why: String },
}

impl From<GitLabError> for Failure {
    fn from(error: GitLabError) -> Self {
        let what = "cannot confirm the job with GitLab";
        match &error {
            GitLabError::Unreachable { .. } => Failure::system(what)
                .because(&error)
                .hint("retry the job when GitLab answers again"),
            GitLabError::NotRunning { .. } => Failure::cancelled(what)
                .because(&error)
                .hint("a job that was cancelled or has ended publishes nothing; run it again to publish"),
            GitLabError::OtherFact { .. } => Failure::new(
                FailureKind::Refused { stage: EXIT_REFUSED_BY_PUBLISH_POLICY, cli: CLI_REFUSED },
                what,
            )
            .because(&error)
            .hint("for the runner's administrator: the job response and GitLab disagree; treat this runner's host as suspect")
            .note("the runner refused to publish; retrying will not help"),
            GitLabError::Ca { .. } => Failure::usage(what)
                .because(&error)
                .hint("for the runner's administrator: `gitlab.ca` in the host settings names a PEM file"),
        }
    }
}

#[derive(Deserialize)]
struct CurrentJob {
    id: u64,
    name: String,
    status: String,
    #[serde(rename = "ref")]
    ref_name: String,
    #[serde(default)]
    tag: Option<bool>,
    commit: CurrentCommit,
    pipeline: CurrentPipeline,
    #[serde(default)]
    runner: Option<CurrentRunner>,
}

#[derive(Deserialize)]
struct CurrentRunner {
    id: u64,
}

#[derive(Deserialize)]
struct CurrentCommit {
    id: String,
}

#[derive(Deserialize)]
struct CurrentPipeline {
    id: u64,
    #[serde(default)]
    project_id: Option<u64>,
}

impl GitLabApi {
    /// Creates the client; nothing is asked yet.
    pub fn new(url: &Url, ca: Option<&Path>, token: Zeroizing<String>) -> Result<Self, GitLabError> {
        let ca_pem = ca.map(read_ca).transpose()?;
        Ok(Self { url: url.clone(), ca_pem, token })
    }

    /// Checks that GitLab still runs this very job: its id, name, project, ref, commit and pipeline.
    /// Returns the id of the runner that GitLab gave it to, 0 where GitLab does not say.
    pub async fn confirm(&self, facts: &JobFacts) -> Result<u64, GitLabError> {
        let mut pause = Duration::from_millis(500);
        let mut why = String::new();
        for attempt in 1..=ATTEMPTS {
            match tokio::time::timeout(ATTEMPT_TIMEOUT, self.current_job()).await {
                Ok(Ok(job)) => {
                    self.compare(&job, facts)?;
                    return Ok(job.runner.map_or(0, |runner| runner.id));
                }
                Ok(Err(Answer::Final(why))) => {
                    return Err(GitLabError::NotRunning { url: self.url.clone(), why });
                }
                Ok(Err(Answer::Again(error))) => why = error,
                Err(_) => why = format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()),
            }
            tracing::warn!(attempt, why, "GitLab did not confirm the job");
            if attempt < ATTEMPTS {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Err(GitLabError::Unreachable { url: self.url.clone(), attempts: ATTEMPTS, why })
    }

    fn compare(&self, job: &CurrentJob, facts: &JobFacts) -> Result<(), GitLabError> {
        if job.status != "running" {
            return Err(GitLabError::NotRunning {
                url: self.url.clone(),
                why: format!("its status is `{}`", job.status),
            });
        }
        let same = |fact, expected: &str, found: &str| {
            if expected == found {
                Ok(())
            } else {
                Err(GitLabError::OtherFact { fact, expected: expected.to_owned(), found: found.to_owned() })
            }
        };
        same("id", &facts.job_id.to_string(), &job.id.to_string())?;
        same("name", &facts.job_name, &job.name)?;
        same("ref", &facts.ref_name, &job.ref_name)?;
        same("kind of ref", "branch", if job.tag == Some(true) { "tag" } else { "branch" })?;
        same("pipeline", &facts.pipeline_id.to_string(), &job.pipeline.id.to_string())?;
        if let Some(project) = job.pipeline.project_id {
            same("project", &facts.project_id.to_string(), &project.to_string())?;
        }
        match job.commit.id.parse::<ObjectId>() {
            Ok(commit) if commit == facts.commit => Ok(()),
            _ => same("commit", &facts.commit.to_string(), &job.commit.id),
        }
    }

    async fn current_job(&self) -> Result<CurrentJob, Answer> {
        let client = self.client().await?;
        let endpoint = gitlab::api::job::Job::builder().build().map_err(|e| Answer::Final(e.to_string()))?;
        endpoint.query_async(&client).await.map_err(|error| Answer::of(&error))
    }

    async fn client(&self) -> Result<AsyncGitlab, Answer> {
        let builder = |host| GitlabBuilder::new_with_job_token(host, self.token.as_str());
        connect(&self.url, self.ca_pem.as_deref(), builder).await
    }
}

/// Reads the PEM file of a private CA.
pub(super) fn read_ca(file: &Path) -> Result<Vec<u8>, GitLabError> {
    std::fs::read(file).map_err(|e| GitLabError::Ca { file: file.display().to_string(), why: e.to_string() })
}

/// Connects with what `builder` makes of the host; what GitLab is asked at once counts like any answer.
pub(super) async fn connect(
    url: &Url,
    ca_pem: Option<&[u8]>,
    builder: impl FnOnce(String) -> GitlabBuilder,
) -> Result<AsyncGitlab, Answer> {
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    let mut builder = builder(format!("{host}{}", url.path().trim_end_matches('/')));
    if url.scheme() == "http" {
        builder.insecure();
    }
    if let Some(pem) = ca_pem {
        let bundle = CertificateBundle::pem_bundle(pem).map_err(|e| Answer::Final(e.to_string()))?;
        builder.cert_custom(bundle);
    }
    builder.build_async().await.map_err(|error| match &error {
        ClientError::Api { source } => Answer::of(source),
        error => Answer::Again(error.to_string()),
    })
}

pub(super) enum Answer {
    /// GitLab said no; asking again changes nothing.
    Final(String),
    /// GitLab, or the way to it, is in trouble.
    Again(String),
}

impl Answer {
    pub(super) fn of<E: std::error::Error + Send + Sync + 'static>(error: &gitlab::api::ApiError<E>) -> Self {
        use gitlab::api::ApiError;
        match error {
            ApiError::GitlabWithStatus { status, .. }
            | ApiError::GitlabObjectWithStatus { status, .. }
            | ApiError::GitlabUnrecognizedWithStatus { status, .. }
            | ApiError::GitlabService { status, .. }
                if status.is_client_error() && status.as_u16() != 429 =>
            {
                Answer::Final(format!("it answered {status}"))
            }
            error => Answer::Again(error.to_string()),
        }
    }
}
