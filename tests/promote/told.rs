//! What the verbs say, to the letter, and what they write.

use std::process::Output;

use airlock::registry::{ImageStore as _, ManifestReference};

use crate::platform::{FIRST, Platform, SECOND, redact};

/// Exit code, output and errors as they stand in a golden file.
fn told(platform: &Platform, words: &[&str]) -> String {
    let Output { status, stdout, stderr } = platform.airlock(words);
    let text = format!(
        "$ airlock {}\n{}{}exit {}\n",
        words.join(" "),
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
        status.code().expect("it ended by itself")
    );
    redact(&text, platform.directory.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_listed_shown_and_compared() {
    let platform = Platform::new();
    let mut all = told(&platform, &["release", "list", "acme"]);
    platform.released(&FIRST).await;
    platform.released(&SECOND).await;
    for words in [
        &["release", "list", "acme"][..],
        &["release", "list", "acme", "--json"],
        &["release", "show", "acme"],
        &["release", "diff", "acme", "2.3.0-r1"],
        &["release", "diff", "acme", "2.3.0-r1", "--json"],
        &["release", "diff", "acme", "candidate", "2.3.0-r2"],
        &["release", "show", "acme", "2.3.0-r9"],
        &["release", "show", "acme", "no tag"],
        &["release", "list", "../x"],
    ] {
        all += &format!("\n{}", told(&platform, words));
    }
    insta::assert_snapshot!(all);
}

#[tokio::test(flavor = "multi_thread")]
async fn promote_says_what_it_would_write_and_writes_it_only_when_told() {
    let platform = Platform::new();
    let first = platform.released(&FIRST).await;
    let second = platform.released(&SECOND).await;
    let candidate = || platform.named("acme/acme/release", "candidate");
    let ledger = || platform.named("acme/ledger", "candidate");
    let api = || platform.named("acme/billing/api", "candidate");
    let mut all = told(&platform, &["promote", "acme", "--yes"]);

    // Somebody moved a component's tag: the release says where it belongs.
    let store = platform.client(&platform.registry.host);
    let billing = "acme/billing/api".parse().unwrap();
    let old = first.release.release().components[0].images[0].manifest.clone();
    let manifest = store.manifest(&billing, &ManifestReference::Digest(old.clone())).await.unwrap().unwrap();
    let tag = "candidate".parse().unwrap();
    store.put_manifest(&billing, &manifest.media_type, manifest.bytes, Some(&tag)).await.unwrap();
    all += &told(&platform, &["promote", "acme"]);
    assert_eq!(api().await.as_ref(), Some(&old), "a dry run writes nothing");
    all += &told(&platform, &["promote", "acme", "--yes"]);
    assert_eq!(api().await.as_ref(), Some(&second.release.release().components[0].images[0].manifest));

    // Back to the first release, then bytes that nobody signed under `:candidate`, then forward again.
    all += &told(&platform, &["promote", "acme", "2.3.0-r1"]);
    assert_eq!(candidate().await.as_ref(), Some(second.release.digest()));
    all += &told(&platform, &["promote", "acme", "2.3.0-r1", "--yes"]);
    assert_eq!(candidate().await.as_ref(), Some(first.release.digest()));
    assert_eq!(ledger().await.as_ref(), Some(&first.release.release().components[1].images[0].manifest));
    let junk = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let releases = "acme/acme/release".parse().unwrap();
    store.put_manifest(&releases, media_type, junk.as_slice().into(), Some(&tag)).await.unwrap();
    for words in [
        &["release", "list", "acme"][..],
        &["release", "show", "acme"],
        &["promote", "acme"],
        &["promote", "acme", "2.3.0-r2"],
        &["promote", "acme", "2.3.0-r2", "--yes"],
        &["promote", "acme", "2.3.0-r2", "--yes"],
        &["promote", "acme", "2.3.0-r9", "--yes"],
    ] {
        all += &told(&platform, words);
    }
    assert_eq!(candidate().await.as_ref(), Some(second.release.digest()));
    insta::assert_snapshot!(all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_not_taken_for_a_release_that_is_not_trusted() {
    let mut platform = Platform::new();
    platform.released(&FIRST).await;
    platform.registry.process.kill().unwrap();
    platform.registry.process.wait().unwrap();
    let mut all = String::new();
    for words in [&["release", "list", "acme"][..], &["promote", "acme", "--yes"]] {
        all += &told(&platform, words);
    }
    insta::assert_snapshot!(all);
}
