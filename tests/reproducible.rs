//! The same commit gives the same digest; where it does not, the first image stays and the log says why.
//! Shapes of components and what a large image costs.

#[path = "reproducible/components.rs"]
mod components;
#[path = "reproducible/shapes.rs"]
mod shapes;
#[path = "support/site.rs"]
mod site;
mod support;
#[path = "reproducible/versions.rs"]
mod versions;

use std::path::Path;
use std::process::Command;

use crate::site::Site;
use crate::support::git_repository::GitRepository;
use crate::support::staging::{Place, REPOSITORY, base_image};

/// The sample component as `scripts/sample-repository` makes it: its base image is this machine's.
fn sample_component() -> GitRepository {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration-hub/components/billing");
    let mut repository = GitRepository::create("staging");
    repository.copy_from(&folder);
    for (file, images) in [("Dockerfile", &["python", "python-pg"][..]), ("airlock.toml", &["python"])] {
        let mut text = std::fs::read_to_string(folder.join(file)).expect("a file of the sample");
        for image in images {
            let zeros = format!("127.0.0.1:5055/base/{image}@sha256:{}", "0".repeat(64));
            assert!(text.contains(&zeros), "`{file}` names no base image `{image}`");
            text = text.replace(&zeros, &base_image(&image.to_uppercase().replace('-', "_")));
        }
        repository.write(file, text);
    }
    repository.commit("the sample component");
    repository
}

#[test]
fn the_sample_component_built_on_two_fresh_hosts_is_one_image_and_it_runs() {
    let site = Site::with(Place::Layout, sample_component(), |settings| settings);
    let mut digests = Vec::new();
    for name in ["first", "second"] {
        site.run(7).expect_success();
        digests.push(site.complete_digest("staged"));
        // The next delivery finds neither an image nor anything that this host remembers.
        for part in ["store", "state"] {
            std::fs::rename(site.host.path(part), site.host.path(&format!("{part}-{name}"))).expect("move");
        }
    }
    assert_eq!(digests[0], digests[1]);
    let layout = site.host.path("store-second").join(REPOSITORY);
    let answer = answer_of_the_service(&layout);
    assert!(answer.contains("\"status\""), "{answer}");
}

/// Starts the image without a network and returns what its service answers to a health request.
fn answer_of_the_service(layout: &Path) -> String {
    let name = format!("airlock-test-{}:service", std::process::id());
    let skopeo = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/skopeo");
    let from = format!("oci:{}:staged", layout.display());
    succeeds(
        Command::new(skopeo)
            .args(["--insecure-policy", "copy", "-q", &from])
            .arg(format!("docker-daemon:{name}")),
    );
    let ask = "import time, urllib.request\n\
        for _ in range(200):\n\
        \x20   try:\n\
        \x20       print(urllib.request.urlopen('http://127.0.0.1:8080/health').read().decode())\n\
        \x20       break\n\
        \x20   except OSError:\n\
        \x20       time.sleep(0.05)\n";
    let container =
        succeeds(Command::new("docker").args(["run", "-d", "--network", "none", "--read-only", &name]));
    let answer = Command::new("docker").args(["exec", container.trim(), "python3", "-c", ask]).output();
    succeeds(Command::new("docker").args(["rm", "-f", container.trim()]));
    succeeds(Command::new("docker").args(["rmi", &name]));
    String::from_utf8(answer.expect("the docker client").stdout).expect("text")
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
