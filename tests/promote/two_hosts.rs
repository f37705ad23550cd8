//! Two hosts promote the same platform at once: whoever ends last names the fork.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::faulty_registry::{Answer, FaultyRegistry};
use crate::platform::{Component, FIRST, Platform, SECOND, redact};

/// Another ledger than the first release's.
const LEDGER: [Component<'_>; 2] = [
    Component { name: "billing", version: "1.4.0", images: FIRST[0].images },
    Component { name: "ledger", version: "1.1.0", images: &[("ledger", &["libpq5 15.9"])] },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_two_hosts_write_at_once_is_named_as_a_fork_by_the_last_one() {
    let platform = Platform::new();
    let first = platform.released(&FIRST).await;
    let (slow, quick) = (platform.input(&SECOND).await, platform.input(&LEDGER).await);
    // The slow host has looked at everything when its write of `:candidate` is held up on the way.
    let ((arrived, arrival), (release, released)) = (channel(), channel::<()>());
    let released = Mutex::new(Some(released));
    let proxy = FaultyRegistry::start(Some(&platform.registry.host), move |request, _| {
        if request.method == "PUT"
            && request.target.ends_with("release/manifests/candidate")
            && let Some(released) = released.lock().unwrap().take()
        {
            arrived.send(()).unwrap();
            released.recv().unwrap();
        }
        Answer::Forward
    });
    let slowly = platform.promote(&proxy.host, "slow-host", slow);
    let quickly = async {
        tokio::task::spawn_blocking(move || arrival.recv().unwrap()).await.unwrap();
        let quick = platform.promote(&platform.registry.host, "quick-host", quick).await;
        release.send(()).unwrap();
        quick
    };
    let (slow, quick) = tokio::join!(slowly, quickly);
    let quick = quick.expect("it saw nothing of the other's candidate");
    assert_eq!(quick.release.release().previous.as_ref(), Some(first.release.digest()));
    let fork = slow.expect_err("a fork");
    insta::assert_snapshot!(redact(&fork.to_string(), platform.directory.path()));

    // What stands is one whole release with its components, and the next run begins from it.
    let list = platform.airlock(&["release", "list", "acme"]);
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.lines().filter(|line| line.starts_with("candidate")).count(), 1, "{list}");
    let plan = platform.airlock(&["promote", "acme"]);
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("nothing is to be written"), "{plan}");
}
