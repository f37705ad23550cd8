//! Git's smart HTTP for one repository, by git's own CGI program.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;

use super::http::{Answer, Request};
use crate::support::git_repository::hermetic_git;

/// Returns the password of the user `gitlab-ci-token`, the only one there is.
pub fn password(request: &Request) -> Option<String> {
    let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    (user == "gitlab-ci-token").then(|| password.to_owned())
}

/// Runs `git http-backend` for a request below the repository's URL; pushes are refused.
pub fn answer(git_dir: &Path, rest: &str, request: &Request) -> Answer {
    if request.query.contains("git-receive-pack") || rest == "git-receive-pack" {
        return Answer::message(403, "You are not allowed to push code to this project.");
    }
    let mut command = hermetic_git();
    command
        .arg("http-backend")
        .envs([
            ("GIT_PROJECT_ROOT", git_dir.as_os_str()),
            ("PATH_INFO", format!("/{rest}").as_ref()),
            ("GIT_HTTP_EXPORT_ALL", "1".as_ref()),
            ("REQUEST_METHOD", request.method.as_ref()),
            ("QUERY_STRING", request.query.as_ref()),
            ("REMOTE_USER", "gitlab-ci-token".as_ref()),
            ("CONTENT_LENGTH", request.body.len().to_string().as_ref()),
        ])
        .envs([
            ("GIT_CONFIG_COUNT", "3"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", "*"),
            ("GIT_CONFIG_KEY_1", "uploadpack.allowAnySHA1InWant"),
            ("GIT_CONFIG_VALUE_1", "true"),
            ("GIT_CONFIG_KEY_2", "uploadpack.allowFilter"),
            ("GIT_CONFIG_VALUE_2", "true"),
        ]);
    for (header, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = request.header(header) {
            command.env(variable, value);
        }
    }
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("start git http-backend");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let body = request.body.clone();
    let feeding = std::thread::spawn(move || stdin.write_all(&body));
    let output = child.wait_with_output().expect("git http-backend ends");
    // A client's early end of conversation closes the pipe, which is no fault.
    let _ = feeding.join();
    parse(&output.stdout).unwrap_or_else(|| {
        Answer::message(500, &format!("git http-backend: {}", String::from_utf8_lossy(&output.stderr)))
    })
}

/// Splits the output of a CGI program (RFC 3875 §6) into status, headers and body.
fn parse(output: &[u8]) -> Option<Answer> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&output[..end]).ok()?;
    let mut answer = Answer::empty(200);
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(": ")?;
        if name.eq_ignore_ascii_case("status") {
            answer.status = value.split(' ').next()?.parse().ok()?;
        } else {
            answer = answer.header(name, value);
        }
    }
    answer.body = output[end + 4..].to_vec();
    Some(answer)
}
