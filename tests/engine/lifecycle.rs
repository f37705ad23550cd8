//! Connection, volumes, archives, cleanup.

use airlock::domain::image::PinnedImage;
use airlock::engine::{ContainerState, Engine, LeftoverKind};
use airlock::failure::Failure;
use futures_util::stream;

use crate::bench::{Bench, LABEL, SOCKET, image};

#[tokio::test]
async fn says_whose_fault_it_is_when_no_engine_answers() {
    let error = Engine::connect("unix:///nonexistent/docker.sock").await.unwrap_err();
    insta::assert_snapshot!(Failure::from(error));
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
