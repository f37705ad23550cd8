//! A job that publishes nothing: keys, policy and registry do not exist for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::containers::Seen;
use super::faulty_registry::{Answer, FaultyRegistry};
use crate::support::runner::JobState;
use crate::support::staging::{Host, Place, small_component};

/// Adds every path below `directory` that others than its owner may use.
fn open_to_others(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_file() && meta.permissions().mode() & 0o077 != 0 {
            found.push(format!("{} {:o}", entry.path().display(), meta.permissions().mode() & 0o777));
        }
        if meta.is_dir() {
            open_to_others(&entry.path(), found);
        }
    }
}

#[test]
fn a_plain_job_is_green_without_keys_policy_and_registry_and_leaves_its_state_closed() {
    let registry = FaultyRegistry::start(None, |_, _| Answer::HangUp);
    let host = Host::new(Place::Address(registry.host.clone()), |settings| settings);
    for name in ["image.key", "attestation.key", "password", "trust.toml"] {
        fs::remove_file(host.path(name)).expect("it was there");
    }
    let repository = small_component();
    let project = host.serve(&repository);
    // The very job that publishes, but on a branch that is not protected.
    let job = host.staging_job(&project, &repository).protected(Some(false));
    host.gitlab.enqueue(&job);
    let token = job.token();
    let state = host.path("state");
    let seen: Arc<Mutex<(Seen, Vec<String>)>> = Arc::default();
    let (looking, secret) = (seen.clone(), token.clone());
    let outcome = host
        .runner()
        .on_substage("build_script", move |moment| {
            let (seen, wrong) = &mut *looking.lock().expect("a lock");
            seen.look(&state);
            if !moment.trace.contains("publishes nothing: the ref is not protected") {
                wrong.push("the log does not say why nothing is published".to_owned());
            }
            let mode = |path: &Path| fs::metadata(path).map(|m| m.permissions().mode() & 0o777).unwrap_or(0);
            let jobs = state.join("jobs");
            let directory = fs::read_dir(&jobs).into_iter().flatten().flatten().next().expect("a job").path();
            for closed in [&state, &jobs, &directory, &directory.join("work")] {
                if mode(closed) != 0o700 {
                    wrong.push(format!("{} has mode {:o}", closed.display(), mode(closed)));
                }
            }
            open_to_others(&state, wrong);
            let record = fs::read_to_string(directory.join("record.json")).expect("a record");
            if record.contains(&secret) {
                wrong.push("the job record holds the job's token".to_owned());
            }
            let log = fs::read_to_string(state.join("airlock.log")).unwrap_or_default();
            if log.contains(&secret) {
                wrong.push("the host's log holds the job's token".to_owned());
            }
        })
        .run_one();
    assert_eq!(outcome.state, JobState::Success, "{}", outcome.trace);
    let (seen, wrong) = &*seen.lock().expect("a lock");
    assert_eq!(*wrong, Vec::<String>::new());
    let parts: Vec<&str> = seen.inspected.keys().map(String::as_str).collect();
    assert_eq!(parts, ["helper", "job"], "no other container serves a plain job");
    seen.assert_closed(&["a test's own password", "PRIVATE KEY", &token]);
    assert_eq!(registry.requests().len(), 0, "a plain job spoke to the registry: {:?}", registry.requests());
    assert_eq!(host.jobs_in_state(), Vec::<String>::new());
    assert_eq!(seen.keys.len(), 1);
    assert_eq!(seen.left(), Vec::<String>::new());
}
