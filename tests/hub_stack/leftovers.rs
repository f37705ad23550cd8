//! What a run leaves when it is killed, and that all of it goes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use airlock::cancel::Cancel;
use airlock::compose::DependencyCondition::{Healthy, Started};
use airlock::hub::stack::Stack;

use crate::bench::{Bench, LABEL, Service};

/// Names the stack to the process that is killed.
const STACK: &str = "AIRLOCK_TEST_STACK";

#[tokio::test]
#[ignore = "it is the process that another test starts and kills"]
async fn process_that_is_killed() {
    let Ok(name) = std::env::var(STACK) else { return };
    let bench = Bench::running(name).await;
    let services = [
        Service::new("store", "exec sleep 600")
            .health("[ -e /tmp/healthy ] || { touch /tmp/healthy; exit 1; }"),
        Service::new("api", "exec sleep 600").after("store", Healthy),
        Service::new("gateway", "exec sleep 600").after("api", Started),
        Service::new("never", "exec sleep 600").health("exit 1").after("gateway", Started),
    ];
    let (parts, compiled) = (bench.parts(), bench.stack(&services));
    let _ = Stack::up(&parts, &compiled, &bench.log, &Cancel::listen().unwrap()).await;
}

fn start(name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "leftovers::process_that_is_killed"])
        .env(STACK, name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The processes whose command line names the stack: Compose's own among them.
fn processes(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(name) && line.contains("compose"))
        .collect()
}

/// Kills a run as soon as the engine has so many of its networks and services, and what is left goes by its
/// label.
async fn killed_at(number: usize, networks: usize, services: usize) {
    let name = format!("airlock-hubkill-{}-{number}", std::process::id());
    let mut child = start(&name);
    // Owns the name from here on: its end removes whatever a failed test left.
    let bench = Bench::named(name).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let left = bench.left().await;
        let made = left.iter().filter(|thing| thing.starts_with("network")).count();
        let started = bench.engine.observe_project(&bench.name).await.unwrap().len();
        if made >= networks && started >= services {
            break;
        }
        assert!(Instant::now() < deadline, "{left:?}");
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let report = bench.engine.remove_by_label(LABEL, &bench.name).await;
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(bench.left().await, Vec::<String>::new());
    // Neither does anything come back, and what Compose was doing has ended.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(bench.left().await, Vec::<String>::new());
    assert_eq!(processes(&bench.name), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_that_is_killed_while_networks_are_made_leaves_nothing_behind_its_label() {
    killed_at(0, 1, 0).await;
}

#[tokio::test]
async fn a_run_that_is_killed_while_compose_creates_leaves_nothing_behind_its_label() {
    killed_at(1, 2, 1).await;
}

#[tokio::test]
async fn a_run_that_is_killed_while_compose_waits_leaves_nothing_behind_its_label() {
    killed_at(2, 2, 4).await;
}
