//! The probe measures: a sealed container holds, any other is named for what it is.

use std::net::SocketAddr;

use airlock::domain::hermetic::{Check, CheckId, HermeticLevel, HermeticReport};
use airlock::domain::sandbox::{SandboxNetwork, SandboxSpec};

use crate::bench::Bench;

async fn probe(bench: &Bench, further: &[SocketAddr]) -> Vec<Check> {
    let name = format!("{}-probe", bench.name);
    let measured =
        bench.engine.probe(&name, &bench.container, &bench.sandbox, &bench.helper.id, further).await.unwrap();
    measured.checks(&bench.sandbox)
}

#[tokio::test]
async fn a_sealed_container_is_measured_as_h1_and_its_build_keeps_it_from_h2() {
    let bench = Bench::new("PYTHON", |_| {}).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut checks = probe(&bench, &[listener.local_addr().unwrap()]).await;
    for id in [CheckId::SourceIsCommit, CheckId::ImagesByDigest, CheckId::FreshState] {
        checks.push(Check::held(id));
    }
    let build = Check::not_held(CheckId::BuildNetwork, "the engine that builds is shared and has a route");
    let report = HermeticReport::new(checks.iter().cloned().chain([build]));
    assert_eq!(report.level(), HermeticLevel::H1, "{report:#?}");
    insta::assert_snapshot!(report.kept_from_higher().join("\n"));
    let whole = HermeticReport::new(checks.into_iter().chain([Check::held(CheckId::BuildNetwork)]));
    assert_eq!(whole.level(), HermeticLevel::H2, "{whole:#?}");
    assert_eq!(bench.processes().await, 0);
}

#[tokio::test]
async fn a_container_on_a_bridge_is_h0_and_the_reasons_name_the_network() {
    let open = |spec: &mut SandboxSpec| spec.network = SandboxNetwork::Open;
    let bench = Bench::new("PYTHON", open).await;
    let report = HermeticReport::new(probe(&bench, &[]).await);
    assert_eq!(report.level(), HermeticLevel::H0);
    let reasons = report.kept_from_higher().join("\n");
    assert!(reasons.contains("`only-loopback` does not hold: interface `eth0`"), "{reasons}");
    assert!(reasons.contains("`no-route` does not hold: route over `eth0`"), "{reasons}");
    assert!(reasons.contains("`no-connection` does not hold: "), "{reasons}");
    for held in ["no-capability", "unprivileged-user", "no-foreign-mount"] {
        assert!(!reasons.contains(held), "{reasons}");
    }
}
