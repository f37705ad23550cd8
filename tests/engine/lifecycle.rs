//! Connection, volumes, archives, cleanup.

use airlock::domain::image::PinnedImage;
use airlock::engine::{ContainerState, Engine, LeftoverKind};
use airlock::failure::Failure;
use futures_util::stream;

use crate::bench::{Bench, LABEL, Registry, SOCKET, image};

fn docker(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new("docker").args(arguments).output().expect("the docker client is there")
}

#[tokio::test]
async fn says_whose_fault_it_is_when_no_engine_answers() {
    let error = Engine::connect("unix:///nonexistent/docker.sock").await.unwrap_err();
    insta::assert_snapshot!(Failure::from(error));
}

#[tokio::test]
async fn refuses_an_engine_that_is_too_old() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let server = tiny_http::Server::http_unix(&socket).unwrap();
    let old = std::thread::spawn(move || {
        let version = r#"{"Version":"19.03.15","ApiVersion":"1.40"}"#;
        let header = tiny_http::Header::from_bytes("Content-Type", "application/json").unwrap();
        let answer = tiny_http::Response::from_string(version).with_header(header);
        server.recv().unwrap().respond(answer).unwrap();
    });
    let socket = socket.to_str().unwrap().to_owned();
    let error = Engine::connect(&socket).await.unwrap_err();
    old.join().unwrap();
    insta::assert_snapshot!(Failure::from(error).to_string().replace(&socket, "<SOCKET>"));
}

#[tokio::test]
async fn names_the_versions_of_its_parts() {
    let facts = Engine::connect(SOCKET).await.unwrap().facts().await.unwrap();
    for part in
        [&facts.engine, &facts.api, &facts.containerd, &facts.runc, &facts.kernel, &facts.storage_driver]
    {
        assert!(!part.is_empty(), "{facts:?}");
    }
}

#[tokio::test]
async fn resolves_a_pinned_image_to_its_id() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let pinned = image("PYTHON");
    let resolved = engine.resolve_image(&pinned, None, &mut |_| {}).await.unwrap();
    assert_eq!(engine.image_id(&pinned.to_string()).await.unwrap(), Some(resolved.id));
    assert_eq!(resolved.pinned, pinned);
    assert!(!resolved.layers.is_empty() && resolved.on_build.is_empty());
}

#[tokio::test]
async fn pulls_a_pinned_image_by_its_digest_and_not_another() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let registry = Registry::start();
    let python = image("PYTHON");
    let id = engine.image_id(&python.to_string()).await.unwrap().unwrap();
    let name = format!("{}/pulled", registry.host);
    engine.tag_image(&id, &format!("{name}:1")).await.unwrap();
    let pushed = docker(&["push", "--quiet", &format!("{name}:1")]);
    assert!(pushed.status.success(), "{pushed:?}");
    let inspected = docker(&[
        "image",
        "inspect",
        "--format",
        "{{range .RepoDigests}}{{println .}}{{end}}",
        &format!("{name}:1"),
    ]);
    let digests = String::from_utf8(inspected.stdout).unwrap();
    let pinned: PinnedImage = digests.lines().find(|line| line.starts_with(&name)).unwrap().parse().unwrap();
    engine.remove_image_tag(&format!("{name}:1")).await.unwrap();
    engine.remove_image_tag(&pinned.to_string()).await.unwrap();
    assert_eq!(engine.image_id(&pinned.to_string()).await.unwrap(), None);

    let mut steps = Vec::new();
    let resolved =
        engine.resolve_image(&pinned, None, &mut |step| steps.push(step.to_owned())).await.unwrap();
    assert_eq!(resolved.id, id);
    assert!(!steps.is_empty());
    engine.remove_image_tag(&pinned.to_string()).await.unwrap();

    let wrong: PinnedImage = format!("{name}@sha256:{}", "1".repeat(64)).parse().unwrap();
    let error = engine.resolve_image(&wrong, None, &mut |_| {}).await.unwrap_err();
    insta::assert_snapshot!(Failure::from(error).to_string().replace(&registry.host, "<REGISTRY>"));
}

#[tokio::test]
async fn an_image_that_nobody_has_is_named() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let nobody: PinnedImage = format!("127.0.0.1:1/base/none@sha256:{}", "0".repeat(64)).parse().unwrap();
    let error = engine.resolve_image(&nobody, None, &mut |_| {}).await.unwrap_err();
    let text = Failure::from(error).to_string();
    assert!(text.contains("127.0.0.1:1/base/none"), "{text}");
    assert!(text.contains("connection refused"), "{text}");
}

#[tokio::test]
async fn puts_files_into_the_workspace_of_a_running_container_and_takes_them_out() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o755);
    header.set_uid(1000);
    header.set_gid(1000);
    tar.append_data(&mut header, "deep/file", &b"abc"[..]).unwrap();
    let bytes = tar.into_inner().unwrap();
    bench.engine.put_archive(&bench.container, "/builds", stream::iter([Ok(bytes.into())])).await.unwrap();
    let answer = bench.sh("stat -c '%a %u %g' /builds/deep/file; cat /builds/deep/file").await;
    assert_eq!(answer.stdout, "755 1000 1000\nabc");
    let taken = bench.engine.get_archive(&bench.container, "/builds/deep/file", 100_000).await.unwrap();
    let mut archive = tar::Archive::new(&taken[..]);
    assert_eq!(archive.entries().unwrap().count(), 1);
    let error = bench.engine.get_archive(&bench.container, "/builds/deep/file", 100).await.unwrap_err();
    insta::assert_snapshot!(Failure::from(error));
    let refused =
        bench.engine.put_archive(&bench.container, "/etc", stream::iter([Ok(vec![0; 1024].into())])).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn the_tools_volume_holds_busybox_and_cannot_be_written() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let answer = bench.sh("ls /.airlock /.airlock/bin; rm -f /.airlock/kill 2>&1; echo $?").await;
    assert!(answer.stdout.starts_with("/.airlock:\nbin\nexec\nkill\nprobe\n\n/.airlock/bin:\nbusybox\n"));
    assert!(answer.stdout.ends_with("Read-only file system\n1\n"), "{}", answer.stdout);
}

#[tokio::test]
async fn cleanup_removes_everything_with_the_label_and_does_nothing_the_second_time() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let other = Bench::new("PYTHON", |_| {}).await;
    let first = bench.engine.remove_by_label(LABEL, &bench.name).await;
    assert!(first.failures.is_empty(), "{:?}", first.failures);
    assert_eq!(first.removed(LeftoverKind::Container), 1);
    assert_eq!(first.removed(LeftoverKind::Volume), 2);
    let second = bench.engine.remove_by_label(LABEL, &bench.name).await;
    assert!(second.removed.is_empty() && second.failures.is_empty());
    assert!(bench.engine.list_by_label(LABEL, Some(&bench.name)).await.unwrap().is_empty());
    assert_eq!(bench.engine.container_state(&bench.container).await.unwrap(), ContainerState::Absent);
    assert_eq!(other.engine.container_state(&other.container).await.unwrap(), ContainerState::Running);
}

#[tokio::test]
async fn cleanup_goes_on_after_what_it_cannot_remove() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let stranger = Bench::new("PYTHON", |spec| {
        // A container with another label holds this job's volume.
        spec.mounts[0].volume = format!("{}-workspace", bench.name);
    })
    .await;
    let report = bench.engine.remove_by_label(LABEL, &bench.name).await;
    assert_eq!(report.removed(LeftoverKind::Container), 1);
    assert_eq!(report.removed(LeftoverKind::Volume), 1);
    assert_eq!(report.failures.len(), 1);
    drop(stranger);
    assert!(bench.engine.remove_by_label(LABEL, &bench.name).await.failures.is_empty());
}
