//! What a job in the sandbox cannot do.

use airlock::engine::ExecRequest;

use crate::bench::{Bench, MIB};

#[tokio::test]
async fn has_only_loopback_and_no_route() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let answer = bench.sh("ls /sys/class/net; tail -n +2 /proc/net/route").await;
    assert_eq!(answer.stdout, "lo\n");
}

#[tokio::test]
async fn writes_the_workspace_tmp_and_home_and_nothing_else() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let answer = bench
        .sh("for d in /builds /tmp /dev/shm $HOME; do touch $d/x || echo cannot $d; done
             for d in / /etc /usr /var/tmp /.airlock /.airlock/bin /dev /proc/sys/kernel /sys/fs/cgroup /run; do
               touch $d/x 2>/dev/null && echo wrote $d; done; umask; id -u; id -g; id -G; pwd; hostname")
        .await;
    assert_eq!(answer.stdout, "0022\n1000\n1000\n1000\n/\nairlock\n", "{}", answer.stderr);
}

#[tokio::test]
async fn sees_exactly_the_fixed_environment() {
    // This image sets only `PATH` and `LANG`; what an image sets is an input like its files.
    let bench = Bench::new("DEBIAN", |spec| drop(spec.env.insert("CI".into(), "true".into()))).await;
    let answer = bench.run(ExecRequest::new(crate::bench::user(), ["env"]).env("ONE", "a b")).await;
    let mut lines: Vec<&str> = answer.stdout.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn cannot_make_the_calls_and_sockets_that_leave_the_sandbox() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let answer = bench
        .python(
            r#"
import ctypes, errno, os, socket, sys
families = [("unix", 1, 1, 0), ("inet", 2, 1, 0), ("inet6", 10, 1, 0), ("netlink route", 16, 3, 0),
            ("netlink audit", 16, 3, 9), ("netlink kobject", 16, 3, 15), ("packet", 17, 3, 0),
            ("alg", 38, 5, 0), ("vsock", 40, 1, 0), ("inet raw", 2, 3, 1)]
for name, family, kind, protocol in families:
    try:
        socket.socket(family, kind, protocol).close()
        print(f"socket {name}: allowed")
    except OSError as e:
        print(f"socket {name}: {errno.errorcode[e.errno]}")
if os.uname().machine == "x86_64":
    calls = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "userfaultfd": 323,
             "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "unshare": 272, "setns": 308,
             "mount": 165, "open_by_handle_at": 304, "perf_event_open": 298, "clone3": 435, "chroot": 161}
else:
    sys.exit("write the numbers of this architecture down")
libc = ctypes.CDLL(None, use_errno=True)
for name, number in calls.items():
    ctypes.set_errno(0)
    result = libc.syscall(number, 0, 0, 0, 0, 0)
    print(f"{name}: {'allowed' if result >= 0 else errno.errorcode[ctypes.get_errno()]}")
"#,
        )
        .await;
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    insta::assert_snapshot!(answer.stdout);
}

#[tokio::test]
async fn has_no_capability_and_gains_none() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let answer = bench.sh("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\\t' ' '").await;
    insta::assert_snapshot!(answer.stdout);
}

#[tokio::test]
async fn cannot_signal_pid_1_or_the_idle_process() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    bench.sh("kill -9 -1").await;
    let answer = bench.sh("cat /proc/1/comm").await;
    assert_eq!((answer.code, answer.stdout.trim()), (0, "docker-init"));
}

#[tokio::test]
async fn a_full_workspace_is_the_jobs_own_problem() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    for directory in ["/builds", "/tmp", "$HOME", "/dev/shm"] {
        let answer =
            bench.sh(&format!("LC_ALL=C dd if=/dev/zero of={directory}/x bs=1M count=100 2>&1")).await;
        assert!(answer.stdout.contains("No space left"), "{directory}: {}", answer.stdout);
        bench.sh(&format!("rm {directory}/x")).await;
    }
}

#[tokio::test]
async fn memory_and_processes_and_files_are_bounded() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let memory = bench.python("x = bytearray(512 * 1024 * 1024)").await;
    assert_eq!(memory.code, 137);
    let processes = bench
        .python("import os, time\nn = 0\ntry:\n    while n < 500:\n        if os.fork() == 0:\n            time.sleep(20); os._exit(0)\n        n += 1\nexcept OSError:\n    pass\nprint(n)\nos.kill(-1, 9)")
        .await;
    let forked: u32 = processes.stdout.trim().parse().unwrap();
    assert!((30..64).contains(&forked), "{forked}");
    let files = bench.sh("ulimit -n; ulimit -c").await;
    assert_eq!(files.stdout, "1024\n0\n");
    assert_eq!(256 * MIB, 268_435_456);
}
