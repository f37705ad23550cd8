//! What a test of a publishing job tries from inside the sandbox.

use crate::attack::Attack;
use crate::support::runner::JobState;
use crate::trap::Trap;

/// A component whose test is this Python program; it ends red, so that nothing is built.
fn trying(program: &str) -> Attack {
    let program = program.to_owned();
    Attack::with(move |repository| {
        repository
            .write("attack.py", format!("print('<<<', flush=True)\n{program}\nprint('>>>', flush=True)\n"));
        repository.write("Makefile", "stage-unit-test:\n\t@python3 attack.py; exit 1\n");
    })
}

/// What the program printed.
fn said(attack: &Attack) -> String {
    let ended = attack.run(&attack.job());
    attack.nothing_is_published();
    assert!(matches!(ended.outcome.state, JobState::Failed { .. }), "{:?}", ended.outcome.state);
    ended.said()
}

#[test]
fn no_file_of_the_host_no_engine_socket_and_no_variable_of_gitlab_is_in_reach() {
    let attack = trying(
        r#"
import os
for path in ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/etc/airlock",
             "/etc/shadow", "/root", "/proc/1/root", "/proc/1/environ", "/proc/1/fd", "/proc/kcore", "/dev/mem",
             "/dev/kmsg", "/dev/sda", "/dev/vda", "/sys/firmware/efi", "/proc/sysrq-trigger", "/proc/keys",
             "/sys/fs/cgroup/devices/devices.allow", "/proc/sys/kernel/core_pattern"]:
    try:
        if os.stat(path).st_rdev == os.makedev(1, 3):
            continue  # covered with /dev/null
        if os.path.isdir(path):
            os.listdir(path); print("reached", path)
        else:
            for mode in (os.O_RDONLY, os.O_WRONLY):
                if path == "/proc/sys/kernel/core_pattern" and mode == os.O_RDONLY:
                    continue
                fd = os.open(path, mode)
                if mode == os.O_WRONLY or os.read(fd, 1):
                    print("reached", path)
    except OSError:
        pass
sockets = [os.path.join(d, f) for d, _, files in os.walk("/") if not d.startswith("/proc") for f in files
           if os.path.exists(os.path.join(d, f)) and os.stat(os.path.join(d, f)).st_mode & 0o170000 == 0o140000]
print("sockets", sockets)
print("abstract", [l.split()[-1] for l in open("/proc/net/unix").read().splitlines()[1:] if "@" in l])
print("variables", sorted(os.environ))
everything = b"".join(open(f"/proc/{p}/environ", "rb").read() for p in os.listdir("/proc")
                      if p.isdigit() and os.access(f"/proc/{p}/environ", os.R_OK))
print("secrets", [w for w in (b"CI_", b"job-token", b"password", b"GITLAB", b"COSIGN") if w in everything])
"#,
    );
    insta::assert_snapshot!(said(&attack));
}

#[test]
fn no_server_of_the_host_or_the_world_is_in_reach() {
    let attack = Attack::new();
    let trap = Trap::beside(&attack.host);
    let gitlab = attack.host.gitlab.address();
    let program = format!(
        r#"
import socket
targets = [("{}", {}), ("{}", {}), ("{}", {}), ("169.254.169.254", 80), ("8.8.8.8", 53), ("1.1.1.1", 443)]
for target in targets:
    try:
        socket.create_connection(target, 3); print("reached", target)
    except OSError:
        pass
    try:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", target)
        if not target[0].startswith("127."):
            print("sent to", target)
    except OSError:
        pass
for name in ("gitlab.com", "host.docker.internal", "docker0", "localhost.localdomain"):
    try:
        print("resolved", name, socket.getaddrinfo(name, 80)[0][4])
    except OSError:
        pass
for family in (16, 17, 38, 40):
    try:
        socket.socket(family, socket.SOCK_RAW if family < 38 else socket.SOCK_STREAM); print("family", family)
    except OSError:
        pass
for name in ("/tmp/.X11-unix/X0", "@docker", "/containerd-shim/x.sock", "@/tmp/dbus"):
    try:
        s = socket.socket(socket.AF_UNIX); s.connect(name.replace("@", "\0") if name[0] == "@" else "\0" + name); print("abstract", name)
    except OSError:
        pass
print("interfaces", [n for _, n in socket.if_nameindex()])
"#,
        trap.loopback.ip(),
        trap.loopback.port(),
        trap.gateway.ip(),
        trap.gateway.port(),
        gitlab.ip(),
        gitlab.port(),
    );
    // An abstract socket of the host, which another network namespace must not see.
    use std::os::linux::net::SocketAddrExt;
    let name = std::os::unix::net::SocketAddr::from_abstract_name("/containerd-shim/x.sock").expect("a name");
    let _listener = std::os::unix::net::UnixListener::bind_addr(&name);
    let attack = Attack::on(attack.host, move |repository| {
        repository
            .write("attack.py", format!("print('<<<', flush=True)\n{program}\nprint('>>>', flush=True)\n"));
        repository.write("Makefile", "stage-unit-test:\n\t@python3 attack.py; exit 1\n");
    });
    insta::assert_snapshot!(said(&attack));
    trap.is_untouched();
}

#[test]
fn no_call_leads_out_of_the_sandbox() {
    let attack = trying(
        r#"
import ctypes, errno, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    print(f"{name}: {'ALLOWED' if result >= 0 else errno.errorcode[ctypes.get_errno()]}")
assert os.uname().machine == "x86_64", "write the numbers of this architecture down"
call("ptrace attach 1", 101, 16, 1, 0, 0)
buffer = ctypes.create_string_buffer(16)
vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 16)
call("process_vm_readv 1", 310, 1, ctypes.byref(vector), 1, ctypes.byref(vector), 1, 0)
call("kill 1", 62, 1, 9)
call("unshare user", 272, 0x10000000)
call("unshare mount", 272, 0x20000)
call("clone3", 435, 0, 0)
call("setns", 308, 0, 0)
call("mount", 165, b"none", b"/tmp", b"tmpfs", 0, 0)
call("umount", 166, b"/tmp", 2)
call("pivot_root", 155, b"/tmp", b"/tmp")
call("chroot", 161, b"/tmp")
call("fsopen", 430, b"tmpfs", 0)
call("move_mount", 429, 0, 0, 0, 0, 0)
call("open_tree", 428, 0, b"/", 1)
call("open_by_handle_at", 304, 0, 0, 0)
call("io_uring_setup", 425, 1, 0)
call("keyctl", 250, 0, 0)
call("add_key", 248, b"user", b"x", b"y", 1, 0)
call("bpf", 321, 0, 0, 0)
call("userfaultfd", 323, 0)
call("perf_event_open", 298, 0, 0, 0, 0, 0)
call("init_module", 175, 0, 0, 0)
call("kexec_load", 246, 0, 0, 0, 0)
call("setuid 0", 105, 0)
call("setgid 0", 106, 0)
call("mknod device", 133, b"/tmp/d", 0o20666, 0x105)
call("reboot", 169, 0, 0, 0, 0)
call("sethostname", 170, b"x", 1)
call("settimeofday", 164, 0, 0)
for path in ("/x", "/etc/x", "/usr/x", "/proc/sys/kernel/hostname", "/sys/x", "/.airlock/x", "/run/x", "/var/tmp/x"):
    try:
        open(path, "w"); print("wrote", path)
    except OSError:
        pass
for program in ("su", "mount", "newgrp", "passwd", "chsh"):
    found = subprocess.run(["sh", "-c", f"command -v {program}"], capture_output=True, text=True).stdout.strip()
    if found:
        ended = subprocess.run([found, "-c", "id -u"] if program == "su" else [found, "-h"], capture_output=True, stdin=subprocess.DEVNULL, text=True)
        if ended.stdout.strip() == "0": print("root by", program)
print([l.split("\t")[1].strip() for l in open("/proc/self/status") if l.startswith(("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp:"))])
"#,
    );
    insta::assert_snapshot!(said(&attack));
}

#[test]
fn what_a_job_leaves_in_every_writable_place_is_gone_in_the_next_job() {
    let write = r#"
import os
wrote = 0
for d, _, _ in os.walk("/"):
    if d.startswith(("/proc", "/sys")):
        continue
    try:
        open(os.path.join(d, "canary-of-a-job"), "w").write("canary"); wrote += 1
    except OSError:
        pass
found = []
for place in ("/dev/mqueue", "/dev/shm", "/dev/pts", "/tmp", "/home", "/builds", "/cache"):
    if os.path.exists(os.path.join(place, "canary-of-a-job")): found.append(place)
print("wrote some" if wrote > 3 else f"wrote {wrote}", found)
"#;
    let find = r#"
import os
print([os.path.join(d, f) for d, _, files in os.walk("/") if not d.startswith(("/proc", "/sys")) for f in files if f == "canary-of-a-job"])
"#;
    let first = trying(write);
    let mut told = said(&first);
    let second = Attack::on(first.host, |repository| {
        repository
            .write("attack.py", format!("print('<<<', flush=True)\n{find}\nprint('>>>', flush=True)\n"));
        repository.write("Makefile", "stage-unit-test:\n\t@python3 attack.py; exit 1\n");
    });
    told.push_str(&said(&second));
    insta::assert_snapshot!(told);
}

#[test]
fn a_fork_bomb_ends_with_its_job() {
    let attack = Attack::with(|repository| {
        repository.write(
            "bomb.py",
            "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        break\nwhile True:\n    pass\n",
        );
        repository.write("Makefile", "stage-unit-test:\n\tpython3 bomb.py & sleep 2; exit 4\n");
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_disk_filler_fails_its_own_job() {
    let attack = Attack::with(|repository| {
        let fill = "for d in /builds /tmp $$HOME /dev/shm; do dd if=/dev/zero of=$$d/fill bs=1M 2>/dev/null && exit 0; done; exit 5";
        repository.write("Makefile", format!("stage-unit-test:\n\t{fill}\n"));
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn killing_everything_ends_the_test_and_not_the_verdict() {
    let attack = Attack::with(|repository| {
        repository.write("Makefile", "stage-unit-test:\n\tkill -9 1; kill -9 -1\n");
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}
