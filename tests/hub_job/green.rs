//! From two staged components to `:candidate`; a broken contract leaves the old candidate standing.

use crate::documented;
use crate::site::{LEDGER, Site, write_server};
use crate::support::runner::JobState;

#[test]
fn a_green_hub_promotes_the_same_digests_and_a_broken_contract_leaves_the_candidate_standing() {
    let mut site = Site::staged();
    let outcome = site.run(&site.job(20)).expect_success();
    for told in [
        "closed  no network of the stack reaches the host or the world",
        "ledger says {'open': 119}",
        "tag     acme/acme/release:candidate",
    ] {
        assert!(outcome.trace.contains(told), "{told}");
    }
    let first = site.candidate();
    let release = &first["release"];
    assert_eq!((release["version"].as_str(), release["sequence"].as_u64()), (Some("2.3.0-r1"), Some(1)));
    assert_eq!(release["hub"]["pipelineId"], 20);
    let staged = site.host.verify("acme/billing:staged", &["--json"]);
    let staged: serde_json::Value = serde_json::from_slice(&staged.stdout).expect("JSON");
    let billing = &release["components"][0]["images"][0];
    // Not rebuilt: the digest and the evidence are those of staging.
    assert_eq!(billing["manifest"], staged["digest"]);
    for kind in ["spdx", "cyclonedx", "provenance"] {
        let told = staged["evidence"]
            .as_array()
            .expect("evidence")
            .iter()
            .find(|e| e["kind"] == kind)
            .expect("told");
        assert_eq!(billing["evidence"][kind], told["envelope"], "{kind}");
    }
    assert!(site.host.verify("acme/billing:candidate", &[]).status.success());
    documented::are_true(&site, &first);
    assert_eq!(
        site.statuses(),
        [
            "17 airlock/integration success: in release 2.3.0-r1",
            "18 airlock/integration success: in release 2.3.0-r1"
        ]
    );

    // The same digests again: nothing new is signed.
    let outcome = site.run(&site.job(21)).expect_success();
    assert!(outcome.trace.contains("holds these very images already"), "{}", outcome.trace);
    assert_eq!(site.candidate(), first);

    // Billing keeps its own tests green and breaks what the ledger reads.
    write_server(&site.billing, "return {'total': 119}");
    site.billing.commit("rename a field");
    site.stage_billing(30);
    let outcome = site.run(&site.job(31));
    assert!(matches!(outcome.state, JobState::Failed { .. }), "{:?}", outcome.state);
    assert!(
        outcome.trace.contains("did not become ready") || outcome.trace.contains("integration test"),
        "{}",
        outcome.trace
    );
    assert_eq!(site.candidate(), first, "the old candidate stands");
    let statuses = site.statuses();
    let last = statuses.last().expect("a status");
    assert!(last.starts_with("17 airlock/integration failed: "), "{statuses:?}");
    assert_eq!(statuses.len(), 3, "only the component that changed is told: {statuses:?}");

    // The ledger follows: both are green together, and the release names its predecessor.
    write_server(&site.ledger, &LEDGER.replace("gross", "total"));
    site.ledger.commit("follow billing");
    site.stage_ledger(32);
    site.run(&site.job(33)).expect_success();
    let second = site.candidate();
    assert_eq!(second["release"]["version"], "2.3.0-r2");
    assert_eq!(second["release"]["previous"], first["digest"]);
    let diff = site.release(&["diff", "acme", "2.3.0-r1"]);
    assert!(diff.contains("changed     billing") && diff.contains("changed     ledger"), "{diff}");
    let list = site.release(&["list", "acme"]);
    assert_eq!(list.lines().filter(|line| line.starts_with("candidate")).count(), 1, "{list}");
}
