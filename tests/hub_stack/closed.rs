//! Closed means closed: the probe can tell, and stacks don't meet.

use airlock::cancel::Cancel;
use airlock::engine::ClosedNetwork;
use airlock::hub::closed_world::measure;
use airlock::hub::stack::Stack;

use crate::bench::{Bench, Service};

fn docker(arguments: &[&str]) -> String {
    let output = std::process::Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a network as a person would, and probes it.
async fn probed(bench: &Bench, options: &[&str]) -> Vec<String> {
    let label = format!("airlock.test={}", bench.name);
    let mut arguments = vec!["network", "create", "--label", &label];
    arguments.extend(options);
    arguments.push(&bench.name);
    let id = docker(&arguments);
    let gateway = docker(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", &id]);
    let network = ClosedNetwork { id, name: bench.name.clone(), link: gateway.parse().into_iter().collect() };
    let measured = measure(&bench.parts(), &[network]).await.unwrap();
    assert!(!measured.holds());
    measured.failures()
}

#[tokio::test]
async fn an_internal_network_with_an_address_of_the_hosts_is_not_closed() {
    let bench = Bench::new().await;
    let failures = probed(&bench, &["--internal"]).await;
    assert!(
        failures.iter().any(|line| line.contains("NOT HELD: the network's gateway cannot be reached")),
        "{failures:?}"
    );
    // A firewall may be silent for the host; the link is not.
    assert!(failures.iter().any(|line| line.contains("NOT HELD: nobody else is on the")), "{failures:?}");
}

#[tokio::test]
async fn a_network_of_a_name_that_is_taken_is_not_made_beside_it() {
    let bench = Bench::new().await;
    bench.engine.create_closed_network(&bench.name, &bench.labels).await.unwrap();
    let again = bench.engine.create_closed_network(&bench.name, &bench.labels).await.unwrap_err();
    insta::assert_snapshot!(bench.redact(&airlock::failure::Failure::from(again).to_string()));
}

#[tokio::test]
async fn an_ordinary_network_is_not_closed() {
    let bench = Bench::new().await;
    let failures = probed(&bench, &[]).await;
    assert!(
        failures.iter().any(|line| line.contains("NOT HELD: the host cannot be reached")),
        "{failures:?}"
    );
}

#[tokio::test]
async fn two_stacks_at_once_do_not_meet() {
    let (one, two) = (Bench::new().await, Bench::new().await);
    let serve = || Service::new("api", "cd /tmp && exec python3 -m http.server 8080");
    let (parts, compiled) = (one.parts(), one.stack(&[serve()]));
    let _first = Stack::up(&parts, &compiled, &one.log, &Cancel::listen().unwrap()).await.unwrap();
    let target = one.engine.observe_project(&one.name).await.unwrap().remove(0).id;
    let addresses = docker(&[
        "inspect",
        "--format",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
        &target,
    ]);
    let (parts, compiled) = (two.parts(), two.stack(&[Service::new("other", "exec sleep 600")]));
    let _second = Stack::up(&parts, &compiled, &two.log, &Cancel::listen().unwrap()).await.unwrap();
    let asking = two.engine.observe_project(&two.name).await.unwrap().remove(0).id;
    for host in addresses.split_whitespace().chain(["api"]) {
        let script = format!(
            "import socket\ntry:\n  socket.create_connection(('{host}', 8080), 3); print('met')\nexcept OSError as e: print('not met')"
        );
        assert_eq!(docker(&["exec", &asking, "python3", "-c", &script]), "not met", "{host}");
    }
}
