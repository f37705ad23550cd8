//! Components with steps that run, on a base of one static file.

#![allow(dead_code, reason = "each test binary uses its own part, so `expect` cannot hold in all of them")]

use crate::support::git_repository::GitRepository;
use crate::support::staging::base_image;

/// The beginning of a Dockerfile whose image has a shell and nothing else.
pub fn busybox() -> String {
    format!("FROM scratch\nCOPY --from={} /bin/busybox /bin/busybox\n", base_image("HELPER"))
}

/// A `RUN` step in that shell.
pub fn run(script: &str) -> String {
    format!("RUN [\"/bin/busybox\", \"sh\", \"-c\", \"{script}\"]\n")
}

/// A component with these files and a test that passes.
pub fn component(files: &[(&str, &str)]) -> GitRepository {
    let mut repository = GitRepository::create("staging");
    repository.write("Makefile", "stage-unit-test:\n\ttest -s VERSION\n");
    repository.write("VERSION", "1.4.0\n");
    for (path, content) in files {
        repository.write(path, content);
    }
    repository.commit("first version");
    repository
}

/// A component whose image is another one each time.
pub fn clockwork() -> GitRepository {
    let dockerfile =
        busybox() + &run("/bin/busybox head -c 16 /dev/urandom > /when; /bin/busybox date >> /when");
    component(&[("Dockerfile", &dockerfile)])
}
