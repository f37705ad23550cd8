//! The order of writes on a real registry, and what the containers of a publishing job carry meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use super::containers::Seen;
use super::faulty_registry::{Answer, FaultyRegistry, Request};
use crate::support::registry::{Kind, Registry};
use crate::support::runner::JobState;
use crate::support::staging::{Host, Place, SCRIPT, redact, small_component};

/// A component of two images whose test tells what it sees.
const MANIFEST: &str = "schema = 1\n\n[[image]]\nrepository = \"billing\"\n\n\
    [[image]]\nrepository = \"billing/worker\"\n";
const MAKEFILE: &str = "stage-unit-test:\n\t@env | sed 's/^/variable /' | sort\n\
    \t@find . -type f | sed 's/^/file /' | sort\n";

/// What of a request is a write; reads and questions are left out.
fn write(request: &Request) -> Option<String> {
    let path = request.target.split('?').next().unwrap_or_default();
    match request.method.as_str() {
        "PUT" if path.contains("/manifests/") => Some(path.replace("/v2/acme/", "")),
        "PUT" | "POST" | "PATCH" if path.contains("/blobs/uploads/") => {
            let repository = path.split("/blobs/").next().unwrap_or_default();
            Some(format!("{}/blobs", repository.replace("/v2/acme/", "")))
        }
        "GET" | "HEAD" => None,
        method => Some(format!("{method} {path}")),
    }
}

fn writes(registry: &FaultyRegistry) -> Vec<String> {
    let mut writes: Vec<String> = registry.requests().iter().filter_map(write).collect();
    // How many requests an upload takes is the registry's business.
    writes.dedup();
    writes
}

#[test]
fn writes_come_in_the_one_safe_order_and_no_container_carries_a_secret() {
    let real = Registry::start(Kind::PlainOpen);
    let registry = FaultyRegistry::start(Some(&real.host), |_, _| Answer::Forward);
    let auth = "dGhlLXRlc3Q6aXRzLW93bi1jcmVkZW50aWFs";
    let directory = tempfile::tempdir().expect("a directory");
    let auth_file = directory.path().join("auth.json");
    let entry = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host);
    fs::write(&auth_file, entry).expect("a file");
    fs::set_permissions(&auth_file, fs::Permissions::from_mode(0o600)).expect("a mode");
    let host = Host::new(Place::Address(registry.host.clone()), |settings| {
        settings
            .replace("repositories = [\"billing\"]", "repositories = [\"billing\", \"billing/worker\"]")
            .replace("prefix = ", &format!("auth_file = \"{}\"\nprefix = ", auth_file.display()))
    });
    let mut repository = small_component();
    repository.write("airlock.toml", MANIFEST);
    repository.write("Makefile", MAKEFILE);
    let commit = repository.commit("two images");
    let project = host.serve(&repository);
    let job = host.staging_job(&project, &repository).variable("AUTHORS_OWN", "from .gitlab-ci.yml");
    host.gitlab.enqueue(&job);
    let token = job.token();
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let (looking, state) = (seen.clone(), host.path("state"));
    let outcome = host
        .runner()
        .kill_driver_when("build_script", move |_| {
            looking.lock().expect("a lock").look(&state);
            false
        })
        .run_one();
    assert_eq!(outcome.state, JobState::Success, "{}", outcome.trace);

    let order = writes(&registry);
    assert_order(&order);
    insta::assert_snapshot!(shown(&order));

    let time =
        repository.git(&["show", "--no-patch", "--format=%cd", "--date=format-local:%Y%m%d%H%M%S", "HEAD"]);
    let version = format!("1.4.0-{}.g{}", time.trim(), &commit[..12]);
    assert_eq!(
        order[order.len() - 4..],
        [
            format!("billing/manifests/{version}"),
            format!("billing/worker/manifests/{version}"),
            "billing/manifests/staged".to_owned(),
            "billing/worker/manifests/staged".to_owned(),
        ]
    );

    let told = |what: &str| -> String {
        let lines = outcome.trace.lines().filter(|line| line.starts_with(what));
        lines.map(|line| format!("{}\n", line.trim_end())).collect()
    };
    insta::assert_snapshot!(format!("{}{}", told("variable "), told("file ")));

    let seen = seen.lock().expect("a lock");
    let parts: Vec<&str> = seen.inspected.keys().map(String::as_str).collect();
    for part in ["fetch", "helper", "job"] {
        assert!(parts.contains(&part), "`{part}` was not seen among {parts:?}");
    }
    let key = fs::read_to_string(host.path("image.key")).expect("a key");
    let key = key.lines().nth(1).expect("a line of the key");
    seen.assert_closed(&["a test's own password", auth, key]);
    for part in ["fetch", "job"] {
        let carried = format!("{} {}", seen.inspected[part], seen.processes[part]);
        assert!(!carried.contains(&token), "`{part}` carries the job's token where it can be read");
        assert!(!carried.contains("AUTHORS_OWN"), "`{part}` carries a variable of the author");
    }

    // The same component with a test that fails: nothing is written at all.
    repository.write("Makefile", "stage-unit-test:\n\tfalse\n");
    repository.commit("a failing test");
    let project = host.serve(&repository);
    host.gitlab.enqueue(&host.staging_job(&project, &repository));
    let before = registry.requests().len();
    let outcome = host.runner().run_one();
    assert_eq!(outcome.state, JobState::Failed { reason: "script_failure".into(), exit_code: Some(2) });
    assert!(outcome.trace.contains(&format!("$ {SCRIPT}")));
    let after: Vec<String> = registry.requests()[before..].iter().filter_map(write).collect();
    assert_eq!(after, Vec::<String>::new());
}

/// For each image: content before the manifest, then the evidence, the signature last.
fn assert_order(order: &[String]) {
    for image in ["billing", "billing/worker"] {
        let at = |is: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let of_image = |line: &String| line.strip_prefix(&format!("{image}/")).map(str::to_owned);
            let found = order.iter().enumerate().filter(|(_, line)| of_image(line).is_some_and(|l| is(&l)));
            found.map(|(i, _)| i).collect()
        };
        let manifest = at(&|line| line.starts_with("manifests/sha256:"))[0];
        let attestation = at(&|line| line.starts_with("manifests/sha256-") && line.ends_with(".att"))[0];
        let signature = at(&|line| line.starts_with("manifests/sha256-") && line.ends_with(".sig"))[0];
        let version = at(&|line| line.starts_with("manifests/1.4.0-"))[0];
        let staged = at(&|line| line == "manifests/staged")[0];
        let first_blob = at(&|line| line.starts_with("blobs"))[0];
        assert!(first_blob < manifest && manifest < attestation, "{image}: {order:?}");
        assert!(attestation < signature && signature < version && version < staged, "{image}: {order:?}");
        // Nothing of the image is written between its version tag and its channel tag, or after.
        let later = at(&|line| line.starts_with("blobs") || line.starts_with("manifests/sha256"));
        assert!(later.iter().all(|i| *i < version), "{image}: {order:?}");
    }
    let last = |what: &str| order.iter().rposition(|line| line.ends_with(what)).expect(what);
    let first = |what: &str| order.iter().position(|line| line.contains(what)).expect(what);
    assert!(last(".sig") < first("manifests/1.4.0-"), "an image was tagged before all were complete");
}

/// Tags of evidence are named after the digest, which differs from run to run.
fn shown(order: &[String]) -> String {
    let digest = regex::Regex::new("sha256-[0-9a-f]{64}").expect("a pattern");
    digest.replace_all(&redact(&order.join("\n")), "sha256-<digest>").into_owned()
}
