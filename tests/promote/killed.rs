//! `kill -9` of `airlock promote --yes` at every tag that it writes, then the same command again.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::faulty_registry::{Answer, FaultyRegistry};
use crate::platform::{FIRST, Platform, SECOND};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_at_any_tag_the_same_command_completes_the_rollback() {
    let platform = Platform::new();
    let first = platform.released(&FIRST).await;
    let second = platform.released(&SECOND).await;
    let candidate = || platform.named("acme/acme/release", "candidate");
    // The tags of a rollback: the release's, then those of billing's api and worker; the ledger's stands.
    let mut seen = 0;
    for at in 0..6 {
        let back = platform.airlock(&["promote", "acme", "2.3.0-r2", "--yes"]);
        assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
        // Before a write, or after it.
        let (number, after) = (at / 2, at % 2 == 1);
        let (held, written) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let flag = held.clone();
        let proxy = FaultyRegistry::start(Some(&platform.registry.host), move |request, _| {
            let tag = request.method == "PUT" && request.target.ends_with("/manifests/candidate");
            if !tag || written.fetch_add(1, Ordering::SeqCst) != number {
                return Answer::Forward;
            }
            if after { Answer::ForwardThenHold(flag.clone()) } else { Answer::Hold(flag.clone()) }
        });
        let mut child = platform
            .command(&proxy.host, &["promote", "acme", "2.3.0-r1", "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the built binary runs");
        while !held.load(Ordering::SeqCst) && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !held.load(Ordering::SeqCst) {
            continue;
        }
        seen += 1;
        child.kill().expect("killed");
        assert_eq!(child.wait().expect("a child").signal(), Some(9));
        let expected = if at == 0 { &second } else { &first };
        assert_eq!(candidate().await.as_ref(), Some(expected.release.digest()), "killed at {at}");

        let again = platform.airlock(&["promote", "acme", "2.3.0-r1", "--yes"]);
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(candidate().await.as_ref(), Some(first.release.digest()));
        for image in first.release.release().components.iter().flat_map(|component| &component.images) {
            let named = platform.named(&format!("acme/{}", image.repository), "candidate").await;
            assert_eq!(named.as_ref(), Some(&image.manifest), "killed at {at}: {}", image.repository);
        }
    }
    // billing/worker's tag stands already after the first round, as the second release has no such image.
    assert!(seen >= 4, "only {seen} kills");
}
