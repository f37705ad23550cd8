//! What the policy's dates, uses and rules refuse, and images that are not there or not whole.

use super::*;

async fn told_by(bench: &Bench, edit: impl Fn(String) -> String) -> String {
    bench.told(bench.verify_by(&bench.keys.policy_with(edit)).await)
}

#[tokio::test]
async fn expired_and_not_yet_valid_keys_are_refused() {
    let bench = Bench::new().await;
    let after = |text: String| text.replace("2028-01-01T00:00:00Z", "2026-11-22T12:00:00Z");
    let before = |text: String| text.replace("2026-01-01T00:00:00Z", "2026-11-22T12:00:01Z");
    let told = [told_by(&bench, after).await, told_by(&bench, before).await];
    insta::assert_snapshot!(told.join("\n\n"));
}

#[tokio::test]
async fn keys_of_another_use_are_refused() {
    let bench = Bench::new().await;
    let swapped = |text: String| {
        text.replace("use = \"image\"", "use = \"release\"")
            .replace("use = \"attestation\"", "use = \"image\"")
    };
    insta::assert_snapshot!(told_by(&bench, swapped).await);
}

#[tokio::test]
async fn an_old_failure_outlives_its_key() {
    let bench = Bench::new().await;
    // The new attestation key says passed, the old one, expired now, said failed.
    let failed = changed(&bench.envelopes()[3], |text| text.replace("PASSED", "FAILED"));
    let failed = envelope(&bench.keys.stranger, failed).await;
    bench.refer(KeyBundle::new(failed, bench.keys.stranger.public_key()).to_json());
    let with_old_key = |text: String| {
        text.replace(
            "[[require]]",
            "[[key]]\nname = \"attestation-2025\"\nuse = \"attestation\"\npublic = \"old\"\nnot_before = 2025-01-01T00:00:00Z\nnot_after = 2026-01-01T00:00:00Z\n[[require]]",
        )
    };
    insta::assert_snapshot!(told_by(&bench, with_old_key).await);
}

#[tokio::test]
async fn an_image_that_no_rule_covers_is_refused() {
    let bench = Bench::new().await;
    let elsewhere = told_by(&bench, |text| text.replace("acme/**", "acme/*")).await;
    let policy = bench.keys.policy_with(|text| text.replace("\"any\"", "\"latest\""));
    let channel = bench.told(bench.verify_as(&policy, Channel::Staged, Completeness::Any).await);
    insta::assert_snapshot!(format!("{elsewhere}\n\n{channel}"));
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() {
    let bench = Bench::unsigned().await;
    bench.sign_legacy(&bench.keys.image, &bench.digest).await;
    let lenient = "[[require]]\nrepositories = [\"acme/billing/*\"]\nchannel = \"any\"\nevidence = []\n";
    let first = bench.keys.policy_with(|text| text.replace("[[require]]", &format!("{lenient}[[require]]")));
    bench.verify_by(&first).await.unwrap();
    let last = bench.keys.policy_with(|text| format!("{text}{lenient}"));
    insta::assert_snapshot!(bench.told(bench.verify_by(&last).await));
}

#[tokio::test]
async fn provenance_demands_name_expected_and_found() {
    let bench = Bench::new().await;
    let hermetic = told_by(&bench, |text| text.replace("min_hermetic = 1", "min_hermetic = 2")).await;
    insta::assert_snapshot!(hermetic);
}

#[tokio::test]
async fn images_that_are_absent_or_not_whole_are_refused() {
    let mut told = Vec::new();
    let bench = Bench::new().await;
    for reference in
        [ManifestReference::Tag("staged".parse().unwrap()), ManifestReference::Digest(Digest::of(b"absent"))]
    {
        let (policy, repository) = (bench.keys.policy(), repository());
        let outcome =
            verify(&bench.store, &repository, &reference, &policy, Channel::Staged, Completeness::Any, NOW);
        told.push(bench.told(outcome.await));
    }
    for (digest, _, _) in image("a").layers {
        bench.store.content().blobs.remove(&digest);
    }
    told.push(bench.told(bench.verify().await));
    bench.store.content().blobs.remove(&Digest::of(&image("a").config));
    told.push(bench.told(bench.verify().await));
    for (media_type, bytes) in [
        ("application/vnd.oci.image.index.v1+json", "{}"),
        ("text/html", "<html>"),
        (OCI_MANIFEST, "{\"schemaVersion\":2}"),
        (
            OCI_MANIFEST,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":{"mediaType":"x","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1},"layers":[]}"#,
        ),
    ] {
        let mut odd = Bench::new().await;
        odd.digest = Digest::of(bytes.as_bytes());
        let bytes = Bytes::from_static(bytes.as_bytes());
        odd.store.content().manifests.insert(odd.digest.clone(), (media_type.into(), bytes));
        told.push(odd.told(odd.verify().await));
    }
    // A store that answers a digest with other bytes.
    let swapped = Bench::new().await;
    let other = swapped.keys.signed(image("b"), &input()).await;
    let bytes = other.image().manifest.clone();
    swapped.store.content().manifests.insert(swapped.digest.clone(), (OCI_MANIFEST.into(), bytes));
    told.push(swapped.told(swapped.verify().await));
    insta::assert_snapshot!(told.join("\n\n"));
}
