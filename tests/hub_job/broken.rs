//! A hub job that is killed or cancelled: everything is down, `:candidate` names the old or the new, and the
//! same job again completes it.

use crate::site::Site;
use crate::support::gitlab::JobStatus;
use crate::support::runner::{CallEnd, JobState};

#[test]
fn a_killed_hub_job_leaves_nothing_and_the_next_one_is_green() {
    let site = Site::staged();
    for told in [
        "\nimage   ",
        "\nnetwork ",
        "waiting for the services",
        "\nready   ",
        "\nstored  by digest",
        "\ntag     acme/acme/release:2",
    ] {
        site.host.gitlab.enqueue(&site.job(20));
        let outcome = site
            .host
            .runner()
            .kill_driver_when("build_script", move |moment| moment.trace.contains(told))
            .run_one_with_the_small_runner();
        println!("{}", outcome.trace);
        site.assert_nothing_left();
        let killed = outcome.call("build_script").end == CallEnd::Signaled(9);
        let there = site.candidate();
        // After the last write the driver may have ended before the signal came.
        assert!(killed || !there.is_null(), "{told}");
        if !there.is_null() {
            assert_eq!(there["release"]["components"].as_array().map(Vec::len), Some(2), "{told}");
            assert!(told.contains("tag  "), "{told}");
        }
    }
    site.run(&site.job(20)).expect_success();
    let release = site.candidate();
    for name in ["billing", "ledger"] {
        let verified = site.host.verify(&format!("acme/{name}:candidate"), &["--json"]);
        let verified: serde_json::Value = serde_json::from_slice(&verified.stdout).expect("JSON");
        let components = release["release"]["components"].as_array().expect("components");
        let component = components.iter().find(|component| component["name"] == name).expect("a component");
        assert_eq!(component["images"][0]["manifest"], verified["digest"], "{name}");
    }
}

#[test]
fn a_cancelled_hub_job_takes_its_stack_down_and_promotes_nothing() {
    let site = Site::staged();
    for told in ["waiting for the services", "$ make integration-test"] {
        let id = site.host.gitlab.enqueue(&site.job(20));
        site.host.gitlab.cancel_when(id, told, JobStatus::Canceling);
        let outcome = site.host.runner().run_one();
        println!("{}", outcome.trace);
        assert!(!matches!(outcome.state, JobState::Success), "{told}");
        site.assert_nothing_left();
        assert!(site.candidate().is_null(), "{told}");
    }
}
