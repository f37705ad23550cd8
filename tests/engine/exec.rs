//! Execution: exit codes, streams, and the end of what a step leaves behind.

use std::time::{Duration, Instant};

use airlock::engine::{Ended, ExecInput, ExecRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Bench, user};

#[tokio::test]
async fn returns_the_exit_code_and_keeps_the_streams_apart() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    for code in [0, 1, 7, 126, 255] {
        let answer = bench.sh(&format!("echo out; echo err >&2; exit {code}")).await;
        assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (code, "out\n", "err\n"));
    }
    assert_eq!(bench.sh("kill -9 $$").await.code, 137);
}

#[tokio::test]
async fn a_program_that_the_image_lacks_is_127() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    // busybox has an applet of this name, the image has no such program.
    let answer = bench.run(ExecRequest::new(user(), ["httpd", "-h"])).await;
    assert_eq!(answer.code, 127);
    assert!(answer.stderr.contains("no program `httpd` in the image"), "{}", answer.stderr);
}

#[tokio::test]
async fn a_script_on_standard_input_sees_its_end() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let script = format!("# {}\ncd /builds && pwd\n", "x".repeat(300_000));
    let answer = bench.run(ExecRequest::new(user(), ["sh"]).stdin(ExecInput::Bytes(script.into()))).await;
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "/builds\n"));
    let request = ExecRequest::new(user(), ["pwd"]).workdir("/builds");
    assert_eq!(bench.run(request).await.stdout, "/builds\n");
    let reader: Box<dyn tokio::io::AsyncRead + Send + Unpin> =
        Box::new(std::io::Cursor::new(vec![b'a'; 1_000_000]));
    let answer = bench.run(ExecRequest::new(user(), ["wc", "-c"]).stdin(ExecInput::Reader(reader))).await;
    assert_eq!(answer.stdout.trim(), "1000000");
}

#[tokio::test]
async fn a_command_that_does_not_read_its_input_ends_all_the_same() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let request = ExecRequest::new(user(), ["true"]).stdin(ExecInput::Bytes(vec![b'x'; 4_000_000].into()));
    assert_eq!(bench.run(request).await.code, 0);
}

#[tokio::test]
async fn does_not_wait_for_a_background_child_that_keeps_standard_output() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let started = Instant::now();
    let answer = bench.sh("(trap '' TERM; while :; do sleep 1; done) & echo done; exit 3").await;
    assert_eq!((answer.code, answer.stdout.as_str()), (3, "done\n"));
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(bench.processes().await, 0);
}

#[tokio::test]
async fn ends_processes_that_ignore_term_and_keeps_the_container() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    bench
        .sh("touch /tmp/stays; for i in 1 2 3; do setsid sh -c \"trap '' TERM HUP INT; while :; do sleep 1; done\" >/dev/null 2>&1 </dev/null & done")
        .await;
    assert!(bench.processes().await >= 3);
    let ended = bench.engine.kill_processes(&bench.container, user(), Duration::from_secs(1)).await.unwrap();
    assert_eq!(ended, Ended::Inside);
    assert_eq!(bench.processes().await, 0);
    assert_eq!(bench.sh("ls /tmp").await.stdout, "stays\n");
}

#[tokio::test]
async fn gives_processes_time_to_obey_term() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    bench
        .sh("sh -c \"trap 'echo obeyed >/builds/log; exit' TERM; while :; do sleep 0.1; done\" >/dev/null 2>&1 </dev/null & sleep 0.5")
        .await;
    bench.engine.kill_processes(&bench.container, user(), Duration::from_secs(5)).await.unwrap();
    assert_eq!(bench.sh("cat /builds/log").await.stdout, "obeyed\n");
}

#[tokio::test]
async fn ends_a_fork_bomb_with_the_container_as_the_last_resort() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    // Each process forks two and ends: none lives long enough to be counted, the limit is always reached.
    bench
        .sh("cat >/tmp/bomb <<'X'\nimport os, signal, time\nfor s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.01)\nX\nsetsid python3 /tmp/bomb >/dev/null 2>&1 </dev/null & sleep 1")
        .await;
    bench.engine.kill_processes(&bench.container, user(), Duration::from_secs(1)).await.unwrap();
    assert_eq!(bench.processes().await, 0);
    assert_eq!(bench.sh("echo works").await.stdout, "works\n");
}

#[tokio::test]
async fn ends_a_job_that_kills_whoever_comes_to_end_it() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    bench
        .python("import os, signal, time\nif os.fork() == 0:\n    os.setsid()\n    for fd in (0, 1, 2): os.close(fd)\n    for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\n    while True:\n        for p in os.listdir('/proc'):\n            if p.isdigit() and int(p) not in (1, os.getpid()):\n                try: os.kill(int(p), 9)\n                except OSError: pass\n")
        .await;
    bench.engine.kill_processes(&bench.container, user(), Duration::from_secs(1)).await.unwrap();
    assert_eq!(bench.sh("echo works").await.stdout, "works\n");
}

#[tokio::test]
async fn talks_with_a_command_in_both_directions() {
    let bench = Bench::new("HELPER", |_| {}).await;
    let answer = bench.sh("cd /builds && git init -q . && echo hello | git hash-object -w --stdin").await;
    let id = answer.stdout.trim().to_owned();
    let request = ExecRequest::new(user(), ["git", "cat-file", "--batch"]).workdir("/builds");
    let mut git = bench.engine.exec_duplex(&bench.container, request).await.unwrap();
    for _ in 0..3 {
        git.stdin.write_all(format!("{id}\n").as_bytes()).await.unwrap();
        git.stdin.flush().await.unwrap();
        let mut answer = vec![0; format!("{id} blob 6\nhello\n\n").len()];
        git.stdout.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), format!("{id} blob 6\nhello\n\n"));
    }
    let outcome = git.finish(Duration::from_secs(10)).await.unwrap();
    assert_eq!((outcome.exit_code, outcome.stderr), (0, Vec::new()));
}

#[tokio::test]
async fn keeps_what_a_command_says_on_standard_error() {
    let bench = Bench::new("HELPER", |_| {}).await;
    let request = ExecRequest::new(user(), ["sh", "-c", "cat; echo wrong >&2; exit 4"]);
    let git = bench.engine.exec_duplex(&bench.container, request).await.unwrap();
    let outcome = git.finish(Duration::from_secs(10)).await.unwrap();
    assert_eq!((outcome.exit_code, outcome.stderr.as_slice()), (4, b"wrong\n".as_slice()));
}
