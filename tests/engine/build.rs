//! Image builds through BuildKit, without network.

use std::path::PathBuf;
use std::time::Duration;

use airlock::engine::{BUILD_TAG_PREFIX, BuildCache, BuildLock, BuildRequest, Engine, LeftoverKind};
use airlock::failure::Failure;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::bench::{Bench, LABEL, SOCKET, image};
use crate::engine_words::engine_words;

fn context(files: &[(&str, &str)]) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + use<> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    // In small pieces, as a streamed commit would come.
    let pieces: Vec<_> =
        tar.into_inner().unwrap().chunks(700).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

fn request(name: &str) -> BuildRequest {
    BuildRequest {
        dockerfile: "deep/Dockerfile".into(),
        target: None,
        tag: format!("{BUILD_TAG_PREFIX}{name}:1"),
        cache: BuildCache::Off,
        build_args: Default::default(),
        labels: Bench::labels(name),
    }
}

async fn lock() -> BuildLock {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/airlock-test-build.lock"));
    BuildLock::acquire(&path, &mut || {}).await.unwrap()
}

#[tokio::test]
async fn builds_offline_from_a_local_base_and_exports_the_result() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let name = Bench::fresh_name();
    let dockerfile = format!(
        "FROM {} AS one\nCOPY file /file\nRUN ls /sys/class/net && cp /file /two\nFROM one\nRUN false\n",
        image("DEBIAN")
    );
    let request = BuildRequest { target: Some("one".into()), ..request(&name) };
    let mut lines = Vec::new();
    let files = [("deep/Dockerfile", dockerfile.as_str()), ("file", "content")];
    let id = engine
        .build(&lock().await, &request, context(&files), &mut |line| lines.push(line.text))
        .await
        .unwrap();
    assert_eq!(engine.image_id(&request.tag).await.unwrap(), Some(id.clone()));
    assert!(lines.iter().any(|line| line == "lo"), "{lines:?}");
    assert!(!lines.iter().any(|line| line == "eth0"), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("RUN ls")), "{lines:?}");

    let again = format!("{BUILD_TAG_PREFIX}{name}:2");
    engine.tag_image(&id, &again).await.unwrap();
    assert_eq!(engine.image_id(&again).await.unwrap(), Some(id));
    engine.remove_image_tag(&again).await.unwrap();
    engine.remove_image_tag(&again).await.unwrap();
    assert_eq!(engine.image_id(&again).await.unwrap(), None);

    let mut exported = std::pin::pin!(engine.export(&request.tag));
    let mut bytes = Vec::new();
    while let Some(piece) = exported.next().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    let mut archive = tar::Archive::new(&bytes[..]);
    assert!(
        archive.entries().unwrap().any(|entry| entry.unwrap().path().unwrap().ends_with("manifest.json"))
    );

    let report = engine.remove_by_label(LABEL, &name).await;
    assert_eq!((report.removed(LeftoverKind::BuildTag), report.failures.len()), (1, 0));
    assert_eq!(engine.image_id(&request.tag).await.unwrap(), None);
}

#[tokio::test]
async fn a_failing_step_is_the_jobs_result_with_its_last_lines() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let name = Bench::fresh_name();
    let dockerfile = format!("FROM {}\nRUN echo working && echo broken && exit 7\n", image("DEBIAN"));
    let error = engine
        .build(&lock().await, &request(&name), context(&[("deep/Dockerfile", &dockerfile)]), &mut |_| {})
        .await
        .unwrap_err();
    insta::assert_snapshot!(
        engine_words(&Failure::from(error).to_string()).replace(&image("DEBIAN").to_string(), "<DEBIAN>")
    );
}

#[tokio::test]
async fn a_dockerfile_that_cannot_be_read_is_the_jobs_result() {
    let engine = Engine::connect(SOCKET).await.unwrap();
    let name = Bench::fresh_name();
    let error = engine
        .build(&lock().await, &request(&name), context(&[("deep/Dockerfile", "NONSENSE\n")]), &mut |_| {})
        .await
        .unwrap_err();
    insta::assert_snapshot!(
        engine_words(&Failure::from(error).to_string()).replace(&image("DEBIAN").to_string(), "<DEBIAN>")
    );
}

#[tokio::test]
async fn one_build_at_a_time_holds_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lock");
    let first = BuildLock::acquire(&path, &mut || {}).await.unwrap();
    let mut waited = 0;
    let mut waiting = || waited += 1;
    let second = BuildLock::acquire(&path, &mut waiting);
    assert!(tokio::time::timeout(Duration::from_millis(500), second).await.is_err());
    assert!(waited > 0);
    drop(first);
    BuildLock::acquire(&path, &mut || {}).await.unwrap();
}
