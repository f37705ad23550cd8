//! Dockerfiles that try the network or somebody else's files; a live server counts who comes: nobody.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::attack::Attack;
use crate::support::registry::{Kind, Registry};
use crate::support::staging::{Host, Place, base_image};
use crate::trap::Trap;

/// The message for a Dockerfile in which `{loopback}`, `{gateway}` and `{base}` are filled in.
fn refused(dockerfile: &str) -> String {
    let host = Host::with_layout();
    let trap = Trap::beside(&host);
    let text = dockerfile
        .replace("{loopback}", &trap.loopback.to_string())
        .replace("{gateway}", &trap.gateway.to_string())
        .replace("{base}", &base_image("PYTHON"));
    let attack = Attack::on(host, |repository| {
        repository.write("Dockerfile", text);
    });
    let message = attack.refused(&attack.job());
    trap.is_untouched();
    message
}

#[test]
fn add_from_the_network() {
    insta::assert_snapshot!(refused("FROM scratch\nADD http://{loopback}/x /x\nADD http://{gateway}/y /y\n"));
}

#[test]
fn add_through_an_argument() {
    insta::assert_snapshot!(refused("FROM scratch\nARG from=http://{gateway}/x\nADD $from /x\n"));
}

#[test]
fn add_from_git() {
    insta::assert_snapshot!(refused("FROM scratch\nADD http://{gateway}/x.git#main /x\n"));
}

#[test]
fn a_syntax_directive() {
    insta::assert_snapshot!(refused("# syntax={gateway}/frontend:1\nFROM scratch\nCOPY . /\n"));
}

#[test]
fn a_mount_from_another_image() {
    insta::assert_snapshot!(refused(
        "FROM {base}\nRUN --mount=type=bind,from={gateway}/other:1,target=/x cat /x/secret\n"
    ));
}

#[test]
fn a_mount_of_a_shared_cache_a_secret_or_the_agent() {
    insta::assert_snapshot!(refused(
        "FROM {base}\nRUN --mount=type=cache,id=poison,target=/x id\nRUN --mount=type=secret,id=x id\nRUN --mount=type=ssh id\n"
    ));
}

#[test]
fn a_run_that_asks_for_the_hosts_network_or_more_rights() {
    insta::assert_snapshot!(refused("FROM {base}\nRUN --network=host id\nRUN --security=insecure id\n"));
}

#[test]
fn a_copy_from_another_image() {
    insta::assert_snapshot!(refused("FROM scratch\nCOPY --from={gateway}/other:1 / /\n"));
}

#[test]
fn a_base_by_tag() {
    insta::assert_snapshot!(refused("FROM {gateway}/base:latest\nCOPY . /\n"));
}

#[test]
fn a_base_that_the_host_does_not_list() {
    insta::assert_snapshot!(refused(
        "FROM {gateway}/base@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nCOPY . /\n"
    ));
}

#[test]
fn a_base_by_image_id() {
    insta::assert_snapshot!(refused(
        "FROM sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nCOPY . /\n"
    ));
}

#[test]
fn a_listed_base_name_with_another_digest_is_not_found_and_nobody_else_is_asked() {
    let (name, _) =
        base_image("PYTHON").split_once('@').map(|(n, d)| (n.to_owned(), d.to_owned())).expect("a digest");
    insta::assert_snapshot!(refused(&format!(
        "FROM {name}@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nCOPY . /\n"
    )));
}

#[test]
fn a_run_that_goes_to_the_network_reaches_nobody() {
    // Ends with 0 when any way out works: then the build would be green and this test red.
    let message = refused(
        "FROM {base}\nRUN python3 -c \"import urllib.request as u; u.urlopen('http://{gateway}/x', timeout=5)\" || \
         python3 -c \"import urllib.request as u; u.urlopen('http://{loopback}/x', timeout=5)\" || \
         python3 -c \"import socket; socket.getaddrinfo('gitlab.com', 443)\" || \
         { ls /sys/class/net; tail -n +2 /proc/net/route; exit 7; }\n",
    );
    // Only the last lines are ours to promise; the traceback is Python's.
    let last: Vec<&str> =
        message.lines().filter(|line| !line.contains("  File ") && !line.contains("    ^")).collect();
    assert!(last.iter().any(|line| line.trim() == "lo"), "{message}");
    assert!(message.ends_with("exit code 104"), "{message}");
    let error = last.iter().take(2).copied().collect::<Vec<_>>().join("\n");
    let hints: Vec<&str> =
        last.iter().filter(|l| l.starts_with("hint") || l.starts_with("note")).copied().collect();
    insta::assert_snapshot!(format!("{}\n{}", redact_command(&error), hints.join("\n")));
}

/// The command with the trap's ports is different each time.
fn redact_command(text: &str) -> String {
    regex::Regex::new("\\[/bin/sh -c .*\\]").expect("a pattern").replace(text, "[<command>]").into_owned()
}

#[test]
fn an_onbuild_instruction_in_the_base_is_refused_before_anything_is_built() {
    let registry = Registry::start(Kind::PlainOpen);
    let list = registry.host.clone();
    let host = Host::new(Place::Layout, |settings| {
        let more = format!("allow = [\"{list}/base/*\", ");
        assert!(settings.contains("allow = ["));
        settings.replace("allow = [", &more)
    });
    let trap = Trap::beside(&host);
    let base =
        Image::push(&registry, &[&format!("ONBUILD ADD http://{}/x /x", trap.gateway), "ONBUILD RUN id"]);
    let attack = Attack::on(host, |repository| {
        repository.write("Dockerfile", format!("FROM {}\nCOPY . /srv/\n", base.pinned));
    });
    insta::assert_snapshot!(attack.refused(&attack.job()).replace(&trap.gateway.to_string(), "<trap>"));
    trap.is_untouched();
}

/// A small image with a digest, in the engine until this is dropped.
struct Image {
    name: String,
    pinned: String,
}

impl Image {
    fn push(registry: &Registry, changes: &[&str]) -> Self {
        let name = format!("{}/base/hostile:1", registry.host);
        let mut import = Command::new("docker");
        import.arg("import");
        for change in changes {
            import.args(["--change", change]);
        }
        let mut child = import
            .args(["-", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the docker client");
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        tar.append_data(&mut header, "file", &b"x"[..]).expect("a tar");
        let bytes = tar.into_inner().expect("a tar");
        child.stdin.take().expect("its input").write_all(&bytes).expect("a tar");
        assert!(child.wait().expect("docker import").success());
        docker(&["push", "--quiet", &name]);
        let pinned = docker(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", &name]);
        Self { name, pinned }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", &self.name, &self.pinned]).output();
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the docker client");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
