//! The job's image: none, unpinned, unlisted, nowhere to be had, without the programs that the job needs.

use std::process::Command;

use super::bench::Job;
use crate::support::registry::{Kind, Registry};
use crate::support::staging::{Host, Place, base_image};

#[test]
fn an_image_that_may_not_be_used_is_the_authors_fault_and_not_tried_again() {
    let host = Host::with_layout();
    let unpinned = base_image("PYTHON").split('@').next().expect("a name").to_owned();
    let mut golden = String::new();
    for (name, image) in [
        ("no tag and no digest", unpinned.clone()),
        ("a tag", format!("{unpinned}:latest")),
        ("not an image", "one\u{1b}[2J two".to_owned()),
        ("a digest that is cut", format!("{unpinned}@sha256:1234")),
        ("not listed", format!("docker.io/library/python@sha256:{}", "a".repeat(64))),
    ] {
        let job = Job::with(&host, |payload| payload.image(&image));
        let called = job.prepare().expect_job_failure("100");
        golden.push_str(&format!("── {name}\n{}\n", called.golden()));
    }
    let job = Job::with(&host, |payload| payload.no_image());
    golden.push_str(&format!(
        "── none, and no default\n{}\n",
        job.prepare().expect_job_failure("100").golden()
    ));
    insta::assert_snapshot!(golden);
    job.expect_nothing_published_and_nothing_left();
}

#[test]
fn an_image_that_cannot_be_had_is_told_apart_from_one_that_does_not_exist() {
    let registry = Registry::start(Kind::PlainOpen);
    let host = Host::new(Place::Layout, |settings| {
        settings
            .replace("allow = [", &format!("allow = [\"127.0.0.1:1/base/*\", \"{}/base/*\", ", registry.host))
    });
    let digest = "0".repeat(64);
    let away = Job::with(&host, |payload| payload.image(&format!("127.0.0.1:1/base/none@sha256:{digest}")));
    insta::assert_snapshot!("registry_away", away.prepare().expect_system_failure().golden());
    away.expect_nothing_published_and_nothing_left();
    let gone =
        Job::with(&host, |payload| payload.image(&format!("{}/base/none@sha256:{digest}", registry.host)));
    insta::assert_snapshot!("no_such_digest", gone.prepare().expect_job_failure("100").golden());
    gone.expect_nothing_published_and_nothing_left();
}

#[test]
fn an_image_without_make_or_without_a_shell_says_so() {
    let registry = Registry::start(Kind::PlainOpen);
    let host = Host::new(Place::Layout, |settings| {
        settings.replace("allow = [", &format!("allow = [\"{}/base/*\", ", registry.host))
    });
    let debian = Job::with(&host, |payload| payload.image(&base_image("DEBIAN")));
    debian.prepare().expect_success();
    let called = debian.run("build_script").expect_job_failure("127");
    assert!(called.stdout.contains("make: not found"), "{}", called.stdout);
    insta::assert_snapshot!("without_make", called.golden());
    debian.expect_nothing_published_and_nothing_left();

    let empty = EmptyImage::push(&registry);
    let job = Job::with(&host, |payload| payload.image(&empty.pinned));
    job.prepare().expect_success();
    insta::assert_snapshot!("without_a_shell", job.run("build_script").expect_job_failure("127").golden());
    job.expect_nothing_published_and_nothing_left();
}

/// An image with one file and no program, known to the engine by a digest.
struct EmptyImage {
    pinned: String,
}

impl EmptyImage {
    fn push(registry: &Registry) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("file"), "content\n").expect("a file");
        std::fs::write(directory.path().join("Dockerfile"), "FROM scratch\nCOPY file /file\n")
            .expect("a file");
        let tag = format!("{}/base/empty:1", registry.host);
        docker(&["build", "--quiet", "--tag", &tag, directory.path().to_str().expect("UTF-8")]);
        docker(&["push", "--quiet", &tag]);
        let format = "{{range .RepoDigests}}{{println .}}{{end}}";
        let digests = docker(&["image", "inspect", "--format", format, &tag]);
        let own = digests.lines().find(|line| line.starts_with(&registry.host)).expect("a digest");
        Self { pinned: own.to_owned() }
    }
}

impl Drop for EmptyImage {
    fn drop(&mut self) {
        let tag = self.pinned.replace(self.pinned.split('@').next_back().expect("a digest"), "");
        let tag = format!("{}:1", tag.trim_end_matches('@'));
        let _ = Command::new("docker").args(["rmi", "--force", &tag, &self.pinned]).output();
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the docker client");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
