//! Change sets and overrides: what comes from where, under the same evidence.

use super::bench::{Bench, FIRST, Image, SECOND, candidate, rules};
use crate::domain::digest::Digest;
use crate::domain::hub::HubInputs;
use crate::domain::release::ComponentOrigin;
use crate::failure::Outcome;
use crate::hub::snapshot::{Projects, Snapshot};
use crate::release::store::VerifiedRelease;

async fn taken(bench: &Bench, inputs: HubInputs, present: Option<VerifiedRelease>) -> Outcome<Snapshot> {
    bench.snapshot_with(inputs, present, &bench.keys.policy(), Projects::Published(&rules())).await
}

fn change_set(names: &[&str]) -> HubInputs {
    let change_set = names.iter().map(|name| (*name).to_owned()).collect();
    HubInputs { change_set, user_id: Some(5), ..HubInputs::default() }
}

fn overridden(repository: &str, digest: &Digest) -> HubInputs {
    let overrides = [(repository.parse().unwrap(), digest.clone())].into();
    HubInputs { overrides, user_id: Some(5), ..HubInputs::default() }
}

#[tokio::test]
async fn a_change_set_takes_the_rest_from_the_candidate_without_reading_its_tags() {
    let bench = Bench::staged().await;
    let present = candidate(&bench.snapshot().await.unwrap());
    for image in [
        Image::of("billing/api", SECOND, 510),
        Image::of("billing/worker", SECOND, 510),
        Image::of("ledger", FIRST, 511),
    ] {
        bench.stage(&image).await;
    }
    bench.store.reads.lock().unwrap().clear();
    let snapshot = taken(&bench, change_set(&["billing"]), Some(present)).await.unwrap();
    let origins: Vec<_> = snapshot.components.iter().map(|c| (c.origin, c.commit.as_str())).collect();
    assert_eq!(origins, [(ComponentOrigin::Staged, SECOND), (ComponentOrigin::Candidate, SECOND)]);
    let mut reads = bench.store.reads.lock().unwrap().clone();
    reads.sort();
    assert_eq!(reads, ["acme/billing/api:staged", "acme/billing/worker:staged"]);
    let inputs = snapshot.release_parts().unwrap().inputs;
    assert_eq!((inputs.change_set.as_slice(), inputs.user_id), (["billing".to_owned()].as_slice(), Some(5)));
}

#[tokio::test]
async fn a_change_set_without_a_candidate_or_with_one_that_lacks_the_component_is_refused() {
    let bench = Bench::staged().await;
    let mut told = String::new();
    let failure = taken(&bench, change_set(&["billing"]), None).await.expect_err("no candidate");
    told.push_str(&format!("── no candidate\n{failure}\n\n"));
    let mut snapshot = bench.snapshot().await.unwrap();
    snapshot.components.pop();
    let present = candidate(&snapshot);
    let failure = taken(&bench, change_set(&["billing"]), Some(present)).await.expect_err("no ledger");
    told.push_str(&format!("── not in the candidate\n{failure}\n"));
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn an_override_is_verified_like_any_image_and_may_go_back() {
    let bench = Bench::staged().await;
    let old = bench.publish(&Image::of("ledger", FIRST, 400)).await;
    let present = candidate(&bench.snapshot().await.unwrap());
    let snapshot = taken(&bench, overridden("ledger", &old), Some(present)).await.unwrap();
    let ledger = &snapshot.components[1];
    assert_eq!((ledger.origin, ledger.pipeline_id), (ComponentOrigin::Override, 400));
    assert_eq!(*ledger.images[0].image.digest(), old);
    let inputs = snapshot.release_parts().unwrap().inputs;
    assert_eq!(inputs.overrides, [format!("ledger@{old}")]);
}

#[tokio::test]
async fn overrides_without_evidence_or_of_another_commit_are_refused() {
    let bench = Bench::staged().await;
    let mut told = String::new();
    let bare = bench.push_unsigned(&Image::of("ledger", FIRST, 400)).await;
    let absent = Digest::of(b"nowhere");
    let other = bench.publish(&Image::of("billing/api", SECOND, 503)).await;
    for (name, repository, digest) in [
        ("without evidence", "ledger", bare),
        ("absent", "ledger", absent),
        ("one image of another commit", "billing/api", other),
    ] {
        let failure = taken(&bench, overridden(repository, &digest), None).await.expect_err(name);
        let text = failure.to_string();
        let place = crate::registry::ImageStore::place(&bench.store);
        told.push_str(&format!("── {name}\n{}\n\n", text.replace(&place, "<store>")));
    }
    insta::assert_snapshot!(told);
}
