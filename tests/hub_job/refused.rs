//! Hub jobs that are refused, each with its message; nothing of them runs.

use crate::site::{HUB_SCRIPT, Site};
use crate::support::gitlab::JobPayload;
use crate::support::runner::JobState;
use crate::support::staging::redact;

/// What Airlock said from its error on.
fn refusal(site: &Site, job: &JobPayload) -> String {
    let outcome = site.run(job);
    assert!(matches!(outcome.state, JobState::Failed { .. }), "{:?}", outcome.state);
    assert!(site.candidate().is_null());
    let said = outcome
        .calls
        .iter()
        .rev()
        .find_map(|call| call.stderr.find("error: ").map(|at| call.stderr[at..].trim_end().to_owned()))
        .unwrap_or_else(|| panic!("no error in\n{}", outcome.trace));
    redact(&said)
}

#[test]
fn what_a_hub_job_may_not_ask_for_is_refused_with_the_reason() {
    let mut site = Site::new();
    let mut told = String::new();
    let mut tell = |name: &str, said: String| told.push_str(&format!("── {name}\n{said}\n\n"));
    tell("nothing is staged", refusal(&site, &site.job(20)));
    tell("another script", refusal(&site, &site.job(20).script(&["true"])));
    let by_nobody = site.job(20).variable("AIRLOCK_CHANGE_SET", "billing").set("/job_info/user_id", 6);
    tell("a change set by an unlisted user", refusal(&site, &by_nobody));
    let twice =
        site.job(20).variable("AIRLOCK_CHANGE_SET", "billing").variable("AIRLOCK_CHANGE_SET", "ledger");
    tell("a variable twice", refusal(&site, &twice));
    site.hub.write("airlock-hub.toml", "schema = 1\nplatform = \"../x\"\n");
    site.hub.commit("a platform that climbs");
    tell("a manifest with mistakes", refusal(&site, &site.job(20)));
    insta::assert_snapshot!(told);
}

#[test]
fn an_unprotected_branch_runs_as_any_job_and_promotes_nothing() {
    let site = Site::new();
    // As any job that no rule matches: GitLab's own script in a sandbox without a network.
    let outcome = site.run(&site.job(20).protected(Some(false)).script(&["echo plain"]));
    assert_eq!(outcome.state, JobState::Success, "{}", outcome.trace);
    assert!(outcome.trace.contains("promotes nothing: the ref is not protected"), "{}", outcome.trace);
    assert!(!outcome.trace.contains(HUB_SCRIPT) && site.candidate().is_null());
}

#[test]
fn a_compose_file_that_reaches_for_the_host_is_refused_before_anything_starts() {
    let mut site = Site::staged();
    site.hub.write(
        "compose.yaml",
        "services:\n  seed:\n    image: x\n    privileged: true\n  billing:\n    image: x\n    ports: [\"8080:8080\"]\n    \
         volumes: [\"/var/run/docker.sock:/var/run/docker.sock\"]\n  ledger:\n    image: x\n    network_mode: host\n",
    );
    site.hub.commit("reach for the host");
    insta::assert_snapshot!(refusal(&site, &site.job(20)));
}
