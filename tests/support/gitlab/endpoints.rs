//! The endpoints: the coordinator's (GitLab Runner `network/`), `GET /job`, artifacts and git.

use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

use super::http::{Answer, Request};
use super::smart_http;
use super::{Artifact, Job, JobLookup, JobStatus, Phase, RUNNER_TOKEN, RecordedStatus, STATUS_TOKEN, State};

/// Answers one request and counts it.
pub fn answer(state: &Mutex<State>, request: &Request) -> Answer {
    let target = match request.query.as_str() {
        "" => request.path.clone(),
        query => format!("{}?{query}", request.path),
    };
    lock(state).requests.push(format!("{} {target}", request.method));
    let Some(api) = request.path.strip_prefix("/api/v4/") else {
        return git(state, request);
    };
    let segments: Vec<&str> = api.split('/').collect();
    match (request.method.as_str(), segments.as_slice()) {
        ("POST", ["runners", "verify"]) => verify_runner(request),
        ("POST", ["jobs", "request"]) => request_job(&mut lock(state), request),
        ("GET", ["job"]) => look_up(&mut lock(state), request),
        ("GET", ["user"]) if !may_set_statuses(request) => Answer::message(401, "401 Unauthorized"),
        ("GET", ["user"]) => {
            Answer::json(200, &json!({"id": 7, "username": "airlock-bot", "state": "active"}))
        }
        ("POST", ["projects", project, "statuses", commit]) => {
            set_commit_status(&mut lock(state), project, commit, request)
        }
        ("GET", ["jobs", id, "artifacts"]) => download(&lock(state), id, request),
        (method, ["jobs", id, rest @ ..]) => {
            let mut state = lock(state);
            let Some(job) = id.parse().ok().and_then(|id: u64| state.jobs.get_mut(&id)) else {
                return Answer::message(404, "404 Not found");
            };
            if request.header("job-token").map(str::to_owned).or_else(|| body_token(request)).as_ref()
                != Some(&job.token)
            {
                return Answer::message(403, "403 Forbidden");
            }
            match (method, rest) {
                ("PUT", []) => update(job, &request.json()),
                ("PATCH", ["trace"]) => append_trace(job, request),
                ("POST", ["artifacts"]) => upload(job, request),
                ("POST", ["artifacts", "authorize"]) => Answer::json(200, &json!({})),
                _ => Answer::message(404, "404 Not found"),
            }
        }
        _ => Answer::message(404, "404 Not found"),
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread of the fake GitLab panicked")
}

fn body_token(request: &Request) -> Option<String> {
    request.json()["token"].as_str().map(str::to_owned)
}

fn is_runner(request: &Request) -> bool {
    request.header("runner-token") == Some(RUNNER_TOKEN)
        || body_token(request).as_deref() == Some(RUNNER_TOKEN)
}

fn may_set_statuses(request: &Request) -> bool {
    request.header("private-token") == Some(STATUS_TOKEN)
}

/// `POST /projects/:id/statuses/:sha` (Rails' `lib/api/commit_statuses.rb`), in the parts that are used.
fn set_commit_status(state: &mut State, project: &str, commit: &str, request: &Request) -> Answer {
    if !may_set_statuses(request) {
        return Answer::message(401, "401 Unauthorized");
    }
    if let Some((code, text)) = state.status_answers.pop_front() {
        return Answer::message(code, &text);
    }
    let field = |name: &str| {
        url::form_urlencoded::parse(&request.body)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let status = RecordedStatus {
        project: project.to_owned(),
        commit: commit.to_owned(),
        state: field("state"),
        name: field("name"),
        description: field("description"),
        target_url: field("target_url"),
    };
    if !["success", "failed"].contains(&status.state.as_str())
        || status.description.chars().count() > 255
        || status.commit.len() != 40
    {
        return Answer::message(400, "400 Bad request");
    }
    state.statuses.push(status);
    Answer::json(201, &json!({"id": state.statuses.len(), "sha": commit, "status": field("state")}))
}

fn verify_runner(request: &Request) -> Answer {
    if !is_runner(request) {
        return Answer::message(403, "403 Forbidden");
    }
    let expiry = "0001-01-01T00:00:00Z";
    Answer::json(200, &json!({"id": 1, "token": RUNNER_TOKEN, "token_expires_at": expiry}))
}

fn request_job(state: &mut State, request: &Request) -> Answer {
    if !is_runner(request) {
        return Answer::message(403, "403 Forbidden");
    }
    let Some(job) = state.queue.pop_front().and_then(|id| state.jobs.get_mut(&id)) else {
        return Answer::empty(204);
    };
    job.phase = Phase::Running;
    Answer::json(201, &job.document)
}

fn with_status(job: &Job, answer: Answer) -> Answer {
    let status = match job.status {
        JobStatus::Running => "running",
        JobStatus::Canceling => "canceling",
        JobStatus::Canceled => "canceled",
    };
    answer.header("Job-Status", status).header("X-GitLab-Trace-Update-Interval", "1")
}

fn update(job: &mut Job, body: &Value) -> Answer {
    let refused = job.status == JobStatus::Canceled || job.phase == Phase::Finished;
    if matches!(body["state"].as_str(), Some("success" | "failed")) && job.final_update.is_none() {
        job.final_update = Some((body.clone(), !refused));
        job.phase = Phase::Finished;
    }
    if refused {
        return with_status(job, Answer::message(403, "403 Forbidden - Job is not running"));
    }
    with_status(job, Answer::json(200, &json!(null)))
}

fn append_trace(job: &mut Job, request: &Request) -> Answer {
    if job.status == JobStatus::Canceled || job.phase != Phase::Running {
        return with_status(job, Answer::message(403, "403 Forbidden - Job is not running"));
    }
    let known = job.trace.len();
    let start = request
        .header("content-range")
        .and_then(|range| range.split_once('-'))
        .and_then(|(start, _)| start.trim().parse::<usize>().ok());
    let Some(start) = start else {
        return Answer::message(400, "400 Missing header Content-Range");
    };
    if start != known {
        return with_status(job, Answer::empty(416).header("Range", format!("0-{known}")));
    }
    job.trace.extend_from_slice(&request.body);
    let text = String::from_utf8_lossy(&job.trace);
    if let Some(hit) = job.cancels.iter().position(|(wanted, _)| text.contains(wanted.as_str())) {
        job.status = job.cancels.remove(hit).1;
    }
    let range = format!("0-{}", job.trace.len());
    with_status(job, Answer::empty(202).header("Range", range))
}

fn look_up(state: &mut State, request: &Request) -> Answer {
    let token = request.header("job-token").map(str::to_owned).or_else(|| request.parameter("job_token"));
    let project_of_token =
        |state: &State, token: &str| state.jobs.iter().find(|(_, job)| job.token == token).map(|(id, _)| *id);
    let Some(id) = token.and_then(|token| project_of_token(state, &token)) else {
        return Answer::message(401, "401 Unauthorized");
    };
    let host = request.header("host").unwrap_or("gitlab.example").to_owned();
    let job = state.jobs.get_mut(&id).expect("the id was just found");
    let lookup = if job.lookups.len() > 1 { job.lookups.pop_front() } else { job.lookups.front().cloned() };
    match lookup.unwrap_or(JobLookup::Genuine) {
        JobLookup::Http(status, body) => {
            let mut answer = Answer::empty(status).header("Content-Type", "application/json");
            answer.body = body.into_bytes();
            answer
        }
        JobLookup::Genuine if job.phase != Phase::Running || job.status != JobStatus::Running => {
            Answer::message(401, "401 Unauthorized")
        }
        JobLookup::Genuine => Answer::json(200, &genuine(job, &host)),
        JobLookup::Merged(changes) => {
            let mut document = genuine(job, &host);
            merge(&mut document, changes);
            Answer::json(200, &document)
        }
    }
}

/// The entity of Rails' `lib/api/entities/ci/job.rb`, in the parts that a client may read.
fn genuine(job: &Job, host: &str) -> Value {
    let (info, git) = (&job.document["job_info"], &job.document["git_info"]);
    let id = &job.document["id"];
    let sha = git["sha"].as_str().unwrap_or_default();
    let project_url = format!("http://{host}/{}", info["project_full_path"].as_str().unwrap_or_default());
    json!({
        "id": id, "name": info["name"], "stage": info["stage"], "status": "running",
        "ref": git["ref"], "tag": git["ref_type"] == "tag", "coverage": null, "allow_failure": false,
        "created_at": "2026-01-01T00:00:00.000Z", "started_at": "2026-01-01T00:00:01.000Z",
        "finished_at": null, "erased_at": null, "duration": 1.0, "queued_duration": 1.0,
        "user": {"id": info["user_id"], "username": "developer", "name": "A Developer", "state": "active"},
        "commit": {"id": sha, "short_id": sha.get(..8), "title": "a commit"},
        "pipeline": {
            "id": info["pipeline_id"], "iid": 1, "project_id": info["project_id"], "sha": sha, "ref": git["ref"],
            "status": "running", "source": "push", "web_url": format!("{project_url}/-/pipelines/5")
        },
        "web_url": format!("{project_url}/-/jobs/{id}"),
        "project": {"ci_job_token_scope_enabled": true},
        "artifacts": [], "runner": {"id": 1, "description": "airlock-tests", "active": true}, "tag_list": ["airlock"]
    })
}

fn merge(target: &mut Value, changes: Value) {
    match (target, changes) {
        (Value::Object(target), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(target.entry(key).or_insert(Value::Null), change);
            }
        }
        (target, changes) => *target = changes,
    }
}

fn upload(job: &mut Job, request: &Request) -> Answer {
    if job.phase != Phase::Running {
        return Answer::message(403, "403 Forbidden - Job is not running");
    }
    let Some((filename, bytes)) = file_part(request) else {
        return Answer::message(400, "400 Bad request - no part named `file`");
    };
    job.artifacts.push(Artifact {
        artifact_type: request.parameter("artifact_type").unwrap_or_else(|| "archive".to_owned()),
        artifact_format: request.parameter("artifact_format").unwrap_or_else(|| "zip".to_owned()),
        filename,
        bytes,
    });
    Answer::json(201, &json!({}))
}

/// Takes the part `file` out of a `multipart/form-data` body.
fn file_part(request: &Request) -> Option<(String, Vec<u8>)> {
    let content_type = request.header("content-type")?;
    let boundary = content_type.split_once("boundary=")?.1.split(';').next()?.trim_matches('"');
    let separator = format!("--{boundary}");
    let mut rest = request.body.as_slice();
    loop {
        rest = rest.get(find(rest, separator.as_bytes())? + separator.len()..)?;
        let head_end = find(rest, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(rest.get(..head_end)?).into_owned();
        let content = rest.get(head_end + 4..)?;
        if head.contains("name=\"file\"") {
            let end = find(content, format!("\r\n{separator}").as_bytes())?;
            let filename = head.split("filename=\"").nth(1).and_then(|rest| rest.split('"').next());
            return Some((filename.unwrap_or_default().to_owned(), content[..end].to_vec()));
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn download(state: &State, id: &str, request: &Request) -> Answer {
    let served = id.parse().ok().and_then(|id: u64| state.served_artifacts.get(&id));
    match (served, request.header("job-token")) {
        (Some((token, zip)), Some(given)) if token == given => {
            let mut answer = Answer::empty(200).header("Content-Type", "application/zip");
            answer.body = zip.clone();
            answer
        }
        (Some(_), _) => Answer::message(403, "403 Forbidden"),
        (None, _) => Answer::message(404, "404 Not found"),
    }
}

fn git(state: &Mutex<State>, request: &Request) -> Answer {
    let Some((project, rest)) = request.path[1..].split_once(".git/") else {
        return Answer::message(404, "404 Not found");
    };
    let found = {
        let state = lock(state);
        let allowed = |token: String| {
            state.jobs.values().any(|job| {
                job.token == token
                    && job.phase != Phase::Finished
                    && job.document["job_info"]["project_full_path"] == project
            })
        };
        if !smart_http::password(request).is_some_and(allowed) {
            return Answer::empty(401).header("WWW-Authenticate", "Basic realm=\"GitLab\"");
        }
        state.projects.get(project).map(|project| project.git_dir.clone())
    };
    match found {
        Some(git_dir) => smart_http::answer(&git_dir, rest, request),
        None => Answer::message(404, "404 Not found"),
    }
}
