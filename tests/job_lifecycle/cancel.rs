//! Cancel while the script runs, before the delivery's commit point, and after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::faulty_registry::{Answer, FaultyRegistry};
use crate::support::git_repository::GitRepository;
use crate::support::gitlab::JobStatus;
use crate::support::lifecycle::{assert_nothing_left, said, wait_until};
use crate::support::registry::{Kind, Registry};
use crate::support::runner::{CallEnd, JobOutcome, JobState};
use crate::support::staging::{Host, Place, REPOSITORY, small_component, write_small_component};
use crate::{Plain, script_failure};

/// A component whose test starts a child, says so and never ends.
fn endless_component() -> GitRepository {
    let mut repository = GitRepository::create("staging");
    write_small_component(&repository);
    let makefile = "stage-unit-test:\n\t@setsid python3 -c 'import time; time.sleep(1000)' detached-child &\n\
                    \t@echo the test has begun; sleep 1000\n";
    repository.write("Makefile", makefile);
    repository.commit("an endless test");
    repository
}

#[test]
fn a_cancel_in_the_test_ends_its_processes_runs_after_script_and_publishes_nothing() {
    let host = Host::with_layout();
    let repository = endless_component();
    let project = host.serve(&repository);
    let after = "echo \"processes left: $(cat /proc/[0-9]*/cmdline | grep -c -e 'detached-chil[d]' -e 'sleep.100[0]')\"";
    let job = host.staging_job(&project, &repository).after_script(&[after, "echo status $CI_JOB_STATUS"]);
    let id = host.gitlab.enqueue(&job);
    host.gitlab.cancel_when(id, "\nthe test has begun", JobStatus::Canceling);
    let outcome = host.runner().run_one();
    assert_eq!(outcome.state, JobState::Canceled, "{}", outcome.trace);
    assert_eq!(
        outcome.sequence()[4..],
        ["build_script", "after_script", "cleanup_file_variables", "cleanup"]
    );
    assert_eq!(outcome.call("build_script").end, CallEnd::Exited(1));
    for text in ["processes left: 0", "status canceled"] {
        assert!(outcome.trace.contains(text), "no `{text}` in\n{}", outcome.trace);
    }
    insta::assert_snapshot!(said(&outcome.call("build_script").stderr));
    assert_eq!(host.tags(), Vec::<String>::new());
    assert_nothing_left(&host, id);
}

#[test]
fn a_stopped_script_has_the_number_for_cancelled() {
    let plain = Plain::new();
    let id = plain.host.gitlab.enqueue(&plain.job(&["echo the script has begun", "sleep 1000"]));
    let mut runner = plain
        .host
        .runner()
        .stop_driver_when("build_script", |moment| moment.trace.contains("\nthe script has begun"));
    let outcome = runner.run_one();
    assert_eq!(outcome.state, script_failure(105), "{}", outcome.trace);
    insta::assert_snapshot!(said(&outcome.call("build_script").stderr));
    assert_nothing_left(&plain.host, id);
}

/// A registry that holds the request of the moment to cancel until a test lets it go.
struct HeldRegistry {
    registry: Registry,
    proxy: FaultyRegistry,
    hold_at: Arc<Mutex<String>>,
    reached: Arc<AtomicBool>,
    go_on: Arc<AtomicBool>,
}

impl HeldRegistry {
    fn start() -> Self {
        let registry = Registry::start(Kind::PlainOpen);
        let (hold_at, reached, go_on) =
            (Arc::<Mutex<String>>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let proxy = {
            let (hold_at, reached, go_on) = (hold_at.clone(), reached.clone(), go_on.clone());
            FaultyRegistry::start(Some(&registry.host), move |request, _| {
                let wanted = hold_at.lock().expect("not poisoned").clone();
                let line = format!("{} {}", request.method, request.target);
                if !wanted.is_empty() && line.contains(&wanted) && !reached.swap(true, Ordering::SeqCst) {
                    wait_until("the test lets the request go", || go_on.load(Ordering::SeqCst));
                }
                Answer::Forward
            })
        };
        Self { registry, proxy, hold_at, reached, go_on }
    }

    /// Runs the queued job and cancels it while the registry holds the first request with this text; the
    /// request goes on when the trace has `until`, or, without such a text, when the job has ended.
    fn cancel_at(&self, host: &Host, id: u64, text: &str, until: Option<&str>) -> JobOutcome {
        text.clone_into(&mut self.hold_at.lock().expect("not poisoned"));
        self.reached.store(false, Ordering::SeqCst);
        self.go_on.store(false, Ordering::SeqCst);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_until(text, || self.reached.load(Ordering::SeqCst));
                host.gitlab.set_status(id, JobStatus::Canceling);
                if let Some(until) = until {
                    wait_until(until, || host.gitlab.trace(id).contains(until));
                    self.go_on.store(true, Ordering::SeqCst);
                }
            });
            host.runner().run_one()
        });
        self.go_on.store(true, Ordering::SeqCst);
        outcome
    }

    fn tags(&self) -> Vec<String> {
        let tags = self
            .registry
            .storage
            .join("docker/registry/v2/repositories")
            .join(REPOSITORY)
            .join("_manifests/tags");
        let mut tags: Vec<String> = std::fs::read_dir(tags)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|tag| !tag.starts_with("sha256-"))
            .collect();
        tags.sort();
        tags
    }
}

#[test]
fn a_cancel_before_the_commit_point_tags_nothing_and_one_after_it_leaves_both_tags_complete() {
    let held = HeldRegistry::start();
    let host = Host::new(Place::Address(held.proxy.host.clone()), |settings| settings);
    let repository = small_component();
    let project = host.serve(&repository);

    let id = host.gitlab.enqueue(&host.staging_job(&project, &repository));
    let outcome = held.cancel_at(&host, id, "PUT /v2/acme/billing/manifests/", None);
    assert_eq!(outcome.state, JobState::Canceled, "{}", outcome.trace);
    assert_eq!(outcome.call("build_script").end, CallEnd::Exited(1));
    insta::assert_snapshot!("cancelled_before_the_commit_point", said(&outcome.call("build_script").stderr));
    assert_eq!(held.tags(), Vec::<String>::new());
    assert_nothing_left(&host, id);

    // The retry of the very commit goes through, but for the cancel between its two tags.
    let id = host.gitlab.enqueue(&host.staging_job(&project, &repository));
    let outcome = held.cancel_at(&host, id, "/v2/acme/billing/manifests/staged", Some("cancel noted"));
    assert_eq!(outcome.state, JobState::Canceled, "{}", outcome.trace);
    let stdout = &outcome.call("build_script").stdout;
    let tagging = &stdout[stdout.find("Tags: the version, then :staged").expect("the section")..];
    insta::assert_snapshot!(
        "cancelled_after_the_commit_point",
        said(&tagging[..tagging.find("section_end").expect("its end")])
    );
    let tags = held.tags();
    assert_eq!(tags.len(), 2, "{tags:?}");
    assert!(tags.contains(&"staged".to_owned()), "{tags:?}");
    let trust = host.path("trust.toml");
    let reference = format!("{}/{REPOSITORY}:staged", held.registry.host);
    let verified = crate::support::staging::airlock(&[
        "verify",
        "--trust",
        crate::support::staging::text(&trust),
        &reference,
    ]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert_nothing_left(&host, id);
}
