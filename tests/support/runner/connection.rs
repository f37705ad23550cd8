//! The runner's side of the coordinator API: asking for a job, the trace loop, the final update.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::job_context::JobContext;
use super::job_log::JobLog;
use crate::support::gitlab::RUNNER_TOKEN;

/// The most that one PATCH carries.
const CHUNK: usize = 1024 * 1024;

/// An answer of GitLab's.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What `Job-Status` and the status code tell the runner to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    GoOn,
    Cancel,
    Abort,
}

/// Asks for a job until one comes.
pub fn request_job(url: &str) -> Value {
    let body = json!({
        "token": RUNNER_TOKEN, "system_id": "s_airlock_tests", "last_update": "",
        "info": {"name": "gitlab-runner", "version": super::VERSION, "executor": "custom", "shell": "bash"}
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let headers = [("RUNNER-TOKEN", RUNNER_TOKEN), ("Content-Type", "application/json")];
        let answer = send(url, "POST", "/api/v4/jobs/request", &headers, body.to_string().as_bytes());
        match answer.status {
            201 => return serde_json::from_slice(&answer.body).expect("a job payload is JSON"),
            204 => std::thread::sleep(Duration::from_millis(20)),
            other => panic!("GitLab answered {other} to the request for a job"),
        }
    }
    panic!("GitLab had no job for the runner: call `enqueue` before `run_one`");
}

/// The runner's hold on one job.
pub struct JobConnection {
    url: String,
    id: u64,
    token: String,
    sent: usize,
}

impl JobConnection {
    pub fn new(url: &str, id: u64, token: &str) -> Self {
        Self { url: url.to_owned(), id, token: token.to_owned(), sent: 0 }
    }

    /// Sends `state=running`.
    pub fn touch(&self) -> Order {
        self.put(&json!({"token": self.token, "state": "running"}))
    }

    /// Sends the log's news, or touches the job when there are none.
    pub fn update(&mut self, log: &JobLog) -> Order {
        if log.since(self.sent).is_empty() { self.touch() } else { self.send_trace(log) }
    }

    /// Sends what is left of the log, then the final state.
    pub fn finish(&mut self, log: &JobLog, mut update: Value) {
        self.send_trace(log);
        let bytes = log.since(0);
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        let checksum = format!("crc32:{:08x}", crc.sum());
        update["token"] = json!(self.token);
        update["checksum"] = json!(checksum);
        update["output"] = json!({"checksum": checksum, "bytesize": bytes.len()});
        self.put(&update);
    }

    fn send_trace(&mut self, log: &JobLog) -> Order {
        loop {
            let mut news = log.since(self.sent);
            news.truncate(CHUNK);
            if news.is_empty() {
                return Order::GoOn;
            }
            let range = format!("{}-{}", self.sent, self.sent + news.len() - 1);
            let headers = [
                ("JOB-TOKEN", self.token.as_str()),
                ("Content-Range", &range),
                ("Content-Type", "text/plain"),
            ];
            let path = format!("/api/v4/jobs/{}/trace?debug_trace=false", self.id);
            let answer = send(&self.url, "PATCH", &path, &headers, &news);
            match answer.status {
                202 => self.sent += news.len(),
                416 => {
                    let range = answer.header("Range").and_then(|range| range.split_once('-'));
                    self.sent = range.and_then(|(_, end)| end.parse().ok()).expect("416 names the range");
                }
                _ => return order(&answer),
            }
            if order(&answer) != Order::GoOn {
                return order(&answer);
            }
        }
    }

    fn put(&self, body: &Value) -> Order {
        let headers = [("JOB-TOKEN", self.token.as_str()), ("Content-Type", "application/json")];
        let path = format!("/api/v4/jobs/{}", self.id);
        order(&send(&self.url, "PUT", &path, &headers, body.to_string().as_bytes()))
    }
}

/// Sends updates until `stop` is set, and passes GitLab's orders on to the job.
pub fn trace_loop(
    mut connection: JobConnection,
    log: Arc<JobLog>,
    context: Arc<JobContext>,
    stop: Arc<AtomicBool>,
    interval: Duration,
) -> JobConnection {
    while !stop.load(Ordering::SeqCst) {
        match connection.update(&log) {
            Order::GoOn => {}
            Order::Cancel => context.cancel(),
            Order::Abort => {
                context.abort();
                break;
            }
        }
        std::thread::sleep(interval);
    }
    connection
}

fn order(answer: &Answer) -> Order {
    match (answer.status, answer.header("Job-Status")) {
        (403, _) | (_, Some("canceled" | "failed")) => Order::Abort,
        (_, Some("canceling")) => Order::Cancel,
        _ => Order::GoOn,
    }
}

fn send(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let host = url.strip_prefix("http://").expect("the fake GitLab speaks plain HTTP");
    let mut stream = TcpStream::connect(host).expect("connect to GitLab");
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("User-Agent: gitlab-runner 19.4.0 (airlock tests)\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("send a request");
    stream.write_all(body).expect("send a body");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("read an answer");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an HTTP answer");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status: status.expect("an HTTP status"),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: bytes[end + 4..].to_vec(),
    }
}
