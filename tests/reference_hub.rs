//! The reference hub in `integration-hub/`: its stack under the real Compose, closed as Airlock closes one,
//! its tests in a container like Airlock's, and what they say when a component breaks its contract.
//!
//! Repositories, images and containers are made as a platform team would make them; the images come from
//! Airlock's own builder, without network.

#[path = "reference_hub/database.rs"]
mod database;
#[path = "reference_hub/platform.rs"]
mod platform;
#[path = "reference_hub/stack.rs"]
mod stack;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use platform::{COMPONENTS, Platform, base_image, root, stdout};
use stack::{ALLOWED_OF_A_SERVICE, Stack};

#[tokio::test]
async fn the_stack_comes_up_closed_and_the_integration_test_is_green() {
    let platform = Platform::new().await;
    let stack = Stack::up(&platform).await;
    let test = stack.integration_test();
    assert!(test.passed, "{}", test.output);
    assert!(test.output.contains("== all 7 parts passed"), "{}", test.output);
    for (report, at_least) in [
        ("comparison.xml", 9),
        ("migrations.xml", 6),
        ("expectations.xml", 2),
        ("interoperability.xml", 7),
        ("contract-billing.xml", 5),
        ("contract-ledger.xml", 5),
        ("contract-gateway.xml", 4),
    ] {
        let text = std::fs::read_to_string(test.reports.join(report)).expect(report);
        assert!(text.matches("<testcase").count() >= at_least, "{report}: {text}");
        assert!(!text.contains("<failure") && !text.contains("<error"), "{report}: {text}");
    }
}

#[tokio::test]
async fn a_broken_contract_is_green_on_its_own_and_red_in_the_hub_which_names_the_field() {
    let platform = Platform::new().await;
    let billing = platform.repository("billing");
    stdout(Command::new(root().join("scripts/break-contract")).arg(&billing));
    let unit_tests = unit_tests("billing", &billing, "PYTHON");
    assert!(unit_tests.contains("failures=\"0\" errors=\"0\""), "{unit_tests}");

    let test = Stack::up(&platform).await.integration_test();
    assert!(!test.passed, "{}", test.output);
    let (_, summary) = test.output.split_once("parts failed").expect("a summary");
    for consumer in ["ledger", "gateway"] {
        let reason = format!(
            "{consumer} expects field `gross` in the 200 response of `GET /invoices/{{number}}` of billing, \
             which has `currency`, `customer`, `lines`, `net`, `number`, `total`, `vat`"
        );
        assert!(summary.contains(&reason), "{summary}");
    }
    assert!(summary.contains("billing's invoice has no field gross"), "{summary}");
    assert!(!summary.contains("contract of billing"), "billing keeps what it documents: {summary}");
}

#[test]
fn the_unit_tests_of_ledger_and_gateway_pass_in_their_base_images() {
    // Billing's are in `bootstrap.rs`.
    let directory = tempfile::tempdir().expect("a directory");
    for (name, image, at_least) in [("ledger", "PYTHON", 25), ("gateway", "GO", 9)] {
        let repository = directory.path().join(name);
        sample_repository(name, &repository);
        let report = unit_tests(name, &repository, image);
        assert!(report.contains("failures=\"0\" errors=\"0\" skipped=\"0\""), "{report}");
        assert!(report.matches("<testcase").count() >= at_least, "{report}");
    }
}

/// Runs the rule in a sealed container, as a staging job does, and returns its JUnit report.
fn unit_tests(name: &str, repository: &Path, image: &str) -> String {
    let mount = format!("{}:/source:ro", repository.display());
    let script = format!(
        "cp -r /source /builds/{name} && cd /builds/{name} && make stage-unit-test >/tmp/log 2>&1 \
         || {{ cat /tmp/log; exit 1; }}; cat reports/unit.xml"
    );
    stdout(
        Command::new("docker")
            .args(["run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--user=1000:1000"])
            .args(["--security-opt=no-new-privileges", "--memory=2g", "--label=airlock.test=reference-hub"])
            .args(["--tmpfs=/builds:exec,uid=1000,gid=1000,mode=0755", "--tmpfs=/tmp:exec,size=512m"])
            .args(["--volume", &mount, &base_image(image), "sh", "-c", &script]),
    )
}

#[test]
fn every_sample_repository_is_the_same_commit_each_time_and_names_this_machines_images() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in COMPONENTS.into_iter().chain(["hub"]) {
        let mut commits = Vec::new();
        for turn in ["first", "second"] {
            let place = directory.path().join(format!("{name}-{turn}"));
            sample_repository(name, &place);
            let git =
                |reference| stdout(Command::new("git").arg("-C").arg(&place).args(["rev-parse", reference]));
            commits.push(git("staging"));
            commits.push(git("main"));
            let zeros = Command::new("grep").args(["-rl", &"0".repeat(64)]).arg(&place).output();
            assert_eq!(zeros.expect("grep").status.code(), Some(1), "{name} has a placeholder left");
        }
        commits.dedup();
        assert_eq!(commits.len(), 1, "{name}: {commits:?}");
    }
}

#[test]
fn breaking_the_contract_is_one_commit_on_staging_and_only_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("billing");
    sample_repository("billing", &place);
    let script = root().join("scripts/break-contract");
    stdout(Command::new(&script).arg(&place));
    let log = stdout(Command::new("git").arg("-C").arg(&place).args(["log", "--format=%s", "main..staging"]));
    assert_eq!(log.lines().count(), 1, "{log}");
    let again = Command::new(&script).arg(&place).output().expect("the script");
    assert_eq!(again.status.code(), Some(2), "there is nothing left to break");
    let elsewhere = Command::new(&script).arg(directory.path()).output().expect("the script");
    assert_eq!(elsewhere.status.code(), Some(2), "not a repository of billing");
}

#[test]
fn the_manifest_names_every_service_and_the_compose_file_asks_for_nothing_that_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("hub");
    sample_repository("hub", &place);
    let compose = stack::configuration(&place);
    let services = compose["services"].as_object().expect("services");
    for (name, service) in services {
        for key in service.as_object().expect("a service").keys() {
            assert!(ALLOWED_OF_A_SERVICE.contains(&key.as_str()), "{name} asks for `{key}`");
        }
    }
    for (name, network) in compose["networks"].as_object().expect("networks") {
        assert_eq!(network["internal"], true, "{name}");
    }

    let manifest = std::fs::read_to_string(place.join("airlock-hub.toml")).expect("the manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let mut named: BTreeSet<&str> =
        manifest["sidecars"].as_table().expect("a table").keys().map(String::as_str).collect();
    let components = manifest["components"].as_table().expect("a table");
    assert_eq!(components.keys().map(String::as_str).collect::<BTreeSet<_>>(), COMPONENTS.into());
    for component in components.values() {
        named.extend(component["services"].as_table().expect("a table").keys().map(String::as_str));
    }
    assert_eq!(named, services.keys().map(String::as_str).collect());
}

fn sample_repository(name: &str, destination: &Path) {
    stdout(Command::new(root().join("scripts/sample-repository")).arg(name).arg(destination));
}
