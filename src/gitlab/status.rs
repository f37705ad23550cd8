//! Commit statuses: a hub's word to the components that it tested.
//!
//! Nothing here can change a verdict: what GitLab does not take is returned as owed, for the log.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use gitlab::api::projects::repository::commits::{CommitStatusState, CreateCommitStatus};
use gitlab::api::{AsyncQuery as _, ignore};
use gitlab::{AsyncGitlab, GitlabBuilder};
use url::Url;
use zeroize::Zeroizing;

use super::api::{Answer, connect, read_ca};
use crate::domain::hub::{CommitStatus, STATUS_NAME};

const ATTEMPTS: u32 = 3;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long all statuses of a run may take: a job must not wait for its feedback.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest token file, in bytes.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Where commit statuses go, and with whose token.
#[derive(Debug, Clone, Copy)]
pub struct StatusPlace<'a> {
    pub url: &'a Url,
    pub ca: Option<&'a Path>,
    /// A file of mode 0600 with an API token; without one every status is owed.
    pub token_file: Option<&'a Path>,
}

/// A status that GitLab does not have, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedStatus {
    pub status: CommitStatus,
    pub why: String,
}

impl fmt::Display for OwedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CommitStatus { component, project_id, commit, description, .. } = &self.status;
        let (state, commit) = (self.status.state(), commit.get(..12).unwrap_or(commit));
        write!(
            f,
            "owed: the status `{STATUS_NAME}` {state} (\"{description}\") of {component} (project {project_id}), commit {commit}: {}",
            self.why
        )
    }
}

/// Sets every status; returns those that are owed. `mask` is told the token before anything is sent.
pub async fn report(
    place: &StatusPlace<'_>,
    statuses: &[CommitStatus],
    mask: &(dyn Fn(&str) + Sync),
) -> Vec<OwedStatus> {
    let owed = |statuses: &[CommitStatus], why: &str| {
        statuses.iter().map(|status| OwedStatus { status: status.clone(), why: why.to_owned() }).collect()
    };
    if statuses.is_empty() {
        return Vec::new();
    }
    let Some(file) = place.token_file else {
        return owed(statuses, "the host settings name no `[gitlab] status_token_file`");
    };
    let token = match read_token(file) {
        Ok(token) => token,
        Err(why) => return owed(statuses, &why),
    };
    mask(&token);
    let ca = match place.ca.map(read_ca).transpose() {
        Ok(ca) => ca,
        Err(error) => return owed(statuses, &error.to_string()),
    };
    let sender = Sender { url: place.url, ca, token, until: Instant::now() + PATIENCE };
    let mut client = None;
    let mut owing = Vec::new();
    for (i, status) in statuses.iter().enumerate() {
        match sender.send(&mut client, status).await {
            Ok(()) => {}
            Err(Answer::Final(why)) => owing.push(OwedStatus { status: status.clone(), why }),
            // Who did not answer one question patiently asked is not asked the others.
            Err(Answer::Again(why)) => {
                let why = format!("GitLab at `{}` does not answer: {why}", place.url);
                owing.extend::<Vec<_>>(owed(&statuses[i..], &why));
                break;
            }
        }
    }
    owing
}

struct Sender<'a> {
    url: &'a Url,
    ca: Option<Vec<u8>>,
    token: Zeroizing<String>,
    until: Instant,
}

impl Sender<'_> {
    async fn send(&self, client: &mut Option<AsyncGitlab>, status: &CommitStatus) -> Result<(), Answer> {
        let mut pause = Duration::from_millis(500);
        let mut why = format!("no time is left of {} s", PATIENCE.as_secs());
        for attempt in 1..=ATTEMPTS {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match tokio::time::timeout(left.min(ATTEMPT_TIMEOUT), self.attempt(client, status)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Answer::Final(why))) => return Err(Answer::Final(why)),
                Ok(Err(Answer::Again(error))) => why = error,
                Err(_) => why = format!("no answer within {} s", ATTEMPT_TIMEOUT.as_secs()),
            }
            tracing::warn!(attempt, why, "GitLab did not take a commit status");
            if attempt < ATTEMPTS {
                tokio::time::sleep(pause.min(self.until.saturating_duration_since(Instant::now()))).await;
                pause *= 2;
            }
        }
        Err(Answer::Again(why))
    }

    async fn attempt(&self, known: &mut Option<AsyncGitlab>, status: &CommitStatus) -> Result<(), Answer> {
        let client = match known {
            Some(client) => client,
            None => {
                let builder = |host| GitlabBuilder::new(host, self.token.as_str());
                known.insert(connect(self.url, self.ca.as_deref(), builder).await?)
            }
        };
        let state = if status.green { CommitStatusState::Success } else { CommitStatusState::Failed };
        let mut endpoint = CreateCommitStatus::builder();
        endpoint.project(status.project_id).commit(status.commit.as_str()).state(state);
        endpoint.name(STATUS_NAME).description(status.description.as_str());
        if let Some(url) = &status.target_url {
            endpoint.target_url(url.as_str());
        }
        let endpoint = endpoint.build().map_err(|error| Answer::Final(error.to_string()))?;
        ignore(endpoint).query_async(client).await.map_err(|error| Answer::of(&error))
    }
}

/// Reads the token: one line that nobody else may read.
fn read_token(file: &Path) -> Result<Zeroizing<String>, String> {
    let shown = file.display();
    let failed = |error: std::io::Error| format!("the token file `{shown}` cannot be read: {error}");
    let opened = std::fs::File::open(file).map_err(failed)?;
    let mode = opened.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!(
            "the token file `{shown}` may be read by others: expected mode 600, found {mode:o}"
        ));
    }
    let mut text = Zeroizing::new(String::new());
    opened.take(MAX_TOKEN_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim();
    let usable = text.len() as u64 <= MAX_TOKEN_BYTES && token.bytes().all(|b| b.is_ascii_graphic());
    if token.is_empty() || !usable {
        return Err(format!("the token file `{shown}` is not one line with a token"));
    }
    Ok(Zeroizing::new(token.to_owned()))
}
