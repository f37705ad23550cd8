//! An engine that is not there, is something else, may not be asked, or is too old.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::bench::{Called, Job};
use crate::support::staging::{Host, Place};

/// A host whose engine is at `engine.sock` in its own directory.
fn host() -> Host {
    Host::new(Place::Layout, |settings| {
        // The state directory stands beside the socket.
        let state = settings.split("state_dir = \"").nth(1).expect("a state directory");
        let directory = Path::new(state.split('"').next().expect("a path")).parent().expect("a directory");
        format!("{settings}\n[engine]\nsocket = \"unix://{}\"\n", directory.join("engine.sock").display())
    })
}

/// Answers every request with `answer`.
fn stub(host: &Host, answer: impl Into<String>) {
    let answer = answer.into();
    let listener = UnixListener::bind(host.path("engine.sock")).expect("a socket");
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut reader = BufReader::new(connection.try_clone().expect("a connection"));
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let mut connection = connection;
            let _ = connection.write_all(answer.as_bytes());
        }
    });
}

fn refused(host: &Host) -> (Called, Called) {
    let job = Job::new(host);
    let prepared = job.prepare().expect_system_failure();
    // Cleanup can't know what is left, says so, and takes the state away all the same.
    let cleaned = job.cleanup().expect_system_failure();
    assert_eq!(host.jobs_in_state(), Vec::<String>::new());
    assert_eq!(host.image_tags(), Vec::<String>::new());
    (prepared, cleaned)
}

#[test]
fn a_socket_that_is_absent() {
    let (prepared, cleaned) = refused(&host());
    insta::assert_snapshot!(format!("── prepare\n{}\n── cleanup\n{}", prepared.golden(), cleaned.golden()));
}

#[test]
fn a_socket_that_is_no_engine() {
    let host = host();
    stub(&host, "SSH-2.0-OpenSSH_9.2\r\n");
    insta::assert_snapshot!(refused(&host).0.golden());
}

#[test]
fn a_socket_that_answers_another_protocol() {
    let host = host();
    stub(&host, "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot here\n");
    insta::assert_snapshot!(refused(&host).0.golden());
}

#[test]
fn an_engine_that_is_too_old() {
    let host = host();
    let old = r#"{"Version":"19.03.15","ApiVersion":"1.40"}"#;
    stub(
        &host,
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{old}",
            old.len()
        ),
    );
    insta::assert_snapshot!(refused(&host).0.golden());
}

#[test]
fn a_socket_that_this_user_may_not_open() {
    let host = host();
    stub(&host, "");
    std::fs::set_permissions(host.path("engine.sock"), std::fs::Permissions::from_mode(0o600))
        .expect("a mode");
    let mut job = Job::new(&host);
    if rustix::process::getuid().is_root() {
        // Root may open every socket: the stages run as somebody else.
        job.uid = Some(65_534);
        std::fs::create_dir(host.path("state")).expect("a directory");
        for (path, mode) in [
            (host.directory.path().to_owned(), 0o755),
            (host.path("state"), 0o777),
            (job.directory().to_owned(), 0o777),
        ] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        }
    } else {
        std::fs::set_permissions(host.path("engine.sock"), std::fs::Permissions::from_mode(0o0))
            .expect("a mode");
    }
    insta::assert_snapshot!(job.prepare().expect_system_failure().golden());
}
