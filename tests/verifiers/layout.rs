//! `airlock verify` on a directory of OCI layouts, and two builds of one commit.

use std::fs;
use std::process::{Command, Output};

use crate::published::component_that_runs;
use crate::support::staging::{AIRLOCK, Host, REPOSITORY, text};
use crate::tools::{accepts, redacted, said};

#[test]
fn two_builds_without_a_cache_are_the_same_to_the_byte_and_a_layout_is_verified_like_a_registry() {
    let mut host = Host::with_layout();
    let repository = component_that_runs();
    publish(&host, &repository);
    // Another store and another state directory: nothing of the first build is known to the second.
    let settings = fs::read_to_string(&host.settings).expect("settings");
    let again = settings
        .replace(text(&host.path("store")), text(&host.path("store-again")))
        .replace(text(&host.path("state")), text(&host.path("state-again")));
    assert_ne!(settings, again);
    fs::write(host.path("again.toml"), again).expect("settings");
    host.settings = host.path("again.toml");
    publish(&host, &repository);
    let (first, second) = (index(&host, "store"), index(&host, "store-again"));
    assert_eq!(digest(&first), digest(&second));

    let staged = format!("{REPOSITORY}:staged");
    let verify = |arguments: &[&str]| -> Output {
        Command::new(AIRLOCK)
            .current_dir(host.directory.path())
            .env_clear()
            .args(["verify", "--trust", "trust.toml"])
            .args(arguments)
            .output()
            .expect("the built binary runs")
    };
    for layout in ["store", "./store", "state/../store-again", text(&host.path("store"))] {
        accepts(layout, &verify(&["--layout", layout, &staged]));
    }
    let by_digest = format!("{REPOSITORY}@{}", digest(&first));
    let output = verify(&["--layout", "store", &by_digest]);
    accepts("by digest", &output);
    insta::assert_snapshot!("a_layout_is_verified", redacted(&String::from_utf8_lossy(&output.stdout)));

    let refused = |name: &str, code: i32, arguments: &[&str]| {
        let output = verify(arguments);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", said(&output));
        assert_eq!(output.stdout, b"");
        insta::assert_snapshot!(name, redacted(&said(&output)));
    };
    refused("layout_is_absent", 2, &["--layout", "nowhere", &staged]);
    refused("layout_is_a_file", 2, &["--layout", "trust.toml", &staged]);
    refused("layout_has_no_such_repository", 11, &["--layout", "store", "acme/other:staged"]);
    refused("layout_has_no_such_tag", 11, &["--layout", "store", &format!("{REPOSITORY}:latest")]);
    refused("layout_with_a_registry", 2, &["--layout", "store", "--ca", "x.pem", &staged]);
}

fn publish(host: &Host, repository: &crate::support::git_repository::GitRepository) {
    let project = host.serve(repository);
    host.gitlab.enqueue(&host.staging_job(&project, repository));
    host.runner().run_one().expect_success();
}

fn index(host: &Host, store: &str) -> serde_json::Value {
    let file = host.path(store).join(REPOSITORY).join("index.json");
    serde_json::from_slice(&fs::read(file).expect("an index")).expect("JSON")
}

fn digest(index: &serde_json::Value) -> String {
    let manifests = index["manifests"].as_array().expect("manifests");
    let named = |m: &&serde_json::Value| m["annotations"]["org.opencontainers.image.ref.name"] == "staged";
    manifests.iter().find(named).expect("`staged`")["digest"].as_str().expect("a digest").to_owned()
}
