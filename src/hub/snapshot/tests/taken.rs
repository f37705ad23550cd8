//! Snapshots that are taken.

use super::bench::{Bench, FIRST, Image, SECOND, candidate, full};
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::provenance::{LOCAL_BUILDER_ID, Origin};
use crate::domain::hub::{HubInputs, IntegrationVerdict};
use crate::domain::release::ComponentOrigin;
use crate::hub::snapshot::Projects;
use crate::registry::{ImageStore as _, ManifestReference};

#[tokio::test]
async fn two_components_of_two_projects_are_taken_and_every_tag_is_read_once() {
    let bench = Bench::staged().await;
    let snapshot = bench.snapshot().await.unwrap();
    insta::assert_snapshot!(bench.told(None));
    let services: Vec<(&str, &str)> = snapshot
        .components
        .iter()
        .flat_map(|component| component.images.iter())
        .map(|image| (image.service.as_str(), image.repository.as_str()))
        .collect();
    let expected = [
        ("api", "billing/api"),
        ("migrate", "billing/api"),
        ("worker", "billing/worker"),
        ("ledger", "ledger"),
    ];
    assert_eq!(services, expected);
    let mut reads = bench.store.reads.lock().unwrap().clone();
    reads.sort();
    assert_eq!(reads, ["acme/billing/api:staged", "acme/billing/worker:staged", "acme/ledger:staged"]);
}

#[tokio::test]
async fn no_tag_is_read_after_the_snapshot_was_taken_and_a_moved_one_changes_nothing() {
    let bench = Bench::staged().await;
    let before = bench.snapshot().await.unwrap().release_parts().unwrap();
    let reads = bench.store.reads.lock().unwrap().len();
    let snapshot = bench.snapshot().await.unwrap();
    bench.stage(&Image::of("ledger", FIRST, 600)).await;
    let parts = snapshot.release_parts().unwrap();
    assert_eq!(parts, before);
    assert_eq!(bench.store.reads.lock().unwrap().len(), 2 * reads);
}

#[tokio::test]
async fn the_release_parts_carry_the_digests_of_the_evidence_and_each_image_once() {
    let bench = Bench::staged().await;
    let snapshot = bench.snapshot().await.unwrap();
    let parts = snapshot.release_parts().unwrap();
    let [billing, ledger] = parts.components.as_slice() else { panic!("two components") };
    let repositories: Vec<&str> = billing.images.iter().map(|image| image.repository.as_str()).collect();
    assert_eq!(repositories, ["billing/api", "billing/worker"]);
    assert_eq!((ledger.version.as_str(), ledger.source.commit.as_str()), ("1.1.0-b", SECOND));
    assert_eq!((ledger.source.project_id, ledger.source.project.as_str()), (18, "acme/ledger"));
    assert_eq!(snapshot.verified_images().len(), 3);
    let image = &ledger.images[0];
    assert_eq!(image.platform, "linux/amd64");
    let verdict = snapshot.components[1].images[0].image.verdict();
    let envelope = |kind| verdict.evidence_of(kind).unwrap().envelope();
    assert_eq!(image.evidence.spdx, *envelope(EvidenceKind::Spdx));
    assert_eq!(image.evidence.cyclonedx, *envelope(EvidenceKind::CycloneDx));
    assert_eq!(image.evidence.provenance, *envelope(EvidenceKind::Provenance));
    assert_eq!(image.evidence.test_result, *envelope(EvidenceKind::TestResult));
    // What the manifest says of its config is what the release says.
    let reference = ManifestReference::Digest(image.manifest.clone());
    let stored = bench.store.inner.manifest(&full("ledger"), &reference).await.unwrap().unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&stored.bytes).unwrap();
    assert_eq!(stored["config"]["digest"], image.config.as_str());
}

#[tokio::test]
async fn a_component_between_two_commits_is_resolved_again_until_it_is_of_one() {
    let bench = Bench::staged().await;
    let worker = bench.publish(&Image::of("billing/worker", SECOND, 503)).await;
    bench.stage(&Image::of("billing/api", SECOND, 503)).await;
    // The staging job moves its second tag after the hub has read both.
    bench.store.later.lock().unwrap().push((3, full("billing/worker"), worker));
    let snapshot = bench.snapshot().await.unwrap();
    assert_eq!(snapshot.components[0].commit, SECOND);
    insta::assert_snapshot!(bench.told(None));
}

#[tokio::test]
async fn junk_beside_the_evidence_changes_nothing() {
    let bench = Bench::staged().await;
    let before = bench.snapshot().await.unwrap().release_parts().unwrap();
    for component in &before.components {
        for image in &component.images {
            for n in 0..40 {
                let bytes = serde_json::json!({
                    "schemaVersion": 2, "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                    "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.manifest, "size": 1},
                    "layers": [{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                        "digest": format!("sha256:{n:064}"), "size": 3}],
                });
                let media_type = "application/vnd.oci.image.manifest.v1+json";
                let repository = full(image.repository.as_str());
                let store = &bench.store.inner;
                store
                    .put_referrer(&repository, &image.manifest, media_type, bytes.to_string().into())
                    .await
                    .unwrap();
            }
        }
    }
    assert_eq!(bench.snapshot().await.unwrap().release_parts().unwrap(), before);
}

#[tokio::test]
async fn the_same_images_as_in_the_candidate_or_later_ones_are_no_step_back() {
    let bench = Bench::staged().await;
    let present = candidate(&bench.snapshot().await.unwrap());
    let again = |present| async {
        let policy = bench.keys.policy();
        bench
            .snapshot_with(
                HubInputs::default(),
                Some(present),
                &policy,
                Projects::Published(&super::bench::rules()),
            )
            .await
    };
    again(present.clone()).await.unwrap();
    bench.stage(&Image::of("ledger", FIRST, 502)).await;
    let snapshot = again(present).await.unwrap();
    assert_eq!(snapshot.components[1].commit, FIRST);
    assert_eq!(snapshot.predecessor.map(|release| release.release().sequence), Some(42));
}

#[tokio::test]
async fn a_local_try_takes_images_that_were_built_by_hand_and_says_so() {
    let bench = Bench::empty();
    for (repository, commit) in [("billing/api", FIRST), ("billing/worker", FIRST), ("ledger", SECOND)] {
        let mut image = Image::of(repository, commit, 0);
        image.origin = Origin::Local;
        image.project.id = 0;
        bench.stage(&image).await;
    }
    // The sample's builder stands for the developer's own.
    let policy = bench.keys.policy_with(|text| {
        assert!(!text.contains(LOCAL_BUILDER_ID));
        text
    });
    let snapshot = bench.snapshot_with(HubInputs::default(), None, &policy, Projects::Local).await.unwrap();
    assert!(snapshot.components.iter().all(|component| component.pipeline_id == 0));
    assert!(snapshot.components.iter().all(|component| component.origin == ComponentOrigin::Staged));
    insta::assert_snapshot!(bench.told(None));
}

#[tokio::test]
async fn only_changed_components_are_told_and_of_the_first_release_all() {
    let bench = Bench::staged().await;
    let first = bench.snapshot().await.unwrap();
    let told = |snapshot: &crate::hub::snapshot::Snapshot, verdict: &IntegrationVerdict| -> Vec<String> {
        let statuses = snapshot.statuses(verdict, None);
        statuses
            .iter()
            .map(|s| format!("{} {} {} {}", s.component, s.project_id, s.commit, s.state()))
            .collect()
    };
    let green = IntegrationVerdict::Green { release: "1.0.0-r1".into() };
    let billing = format!("billing 17 {FIRST} success");
    assert_eq!(told(&first, &green), [billing, format!("ledger 18 {SECOND} success")]);
    bench.stage(&Image::of("ledger", FIRST, 503)).await;
    let policy = bench.keys.policy();
    let rules = super::bench::rules();
    let projects = Projects::Published(&rules);
    let second = bench.snapshot_with(HubInputs::default(), Some(candidate(&first)), &policy, projects).await;
    let red = IntegrationVerdict::Red { reason: "contract broken".into() };
    assert_eq!(told(&second.unwrap(), &red), [format!("ledger 18 {FIRST} failed")]);
}
