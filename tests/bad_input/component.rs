//! What a component's repository may get wrong; the developer is told, and nothing is published.

use super::bench::Job;
use crate::support::engine_words::engine_words;
use crate::support::git_repository::GitRepository;
use crate::support::staging::{Host, Place, base_image, write_small_component};

/// Runs the job on commits that differ from the small component by one mistake each.
fn mistakes(cases: &[(&str, &str, &dyn Fn(&GitRepository))]) -> String {
    let host = Host::with_layout();
    let mut job = Job::new(&host);
    job.prepare().expect_success();
    let mut golden = String::new();
    for (name, number, mistake) in cases {
        job.commit(|repository| {
            write_small_component(repository);
            let _ = std::fs::remove_file(repository.path().join("airlock.toml"));
            mistake(repository);
        });
        let called = job.run("build_script").expect_job_failure(number);
        golden.push_str(&format!("── {name}\n{}\n", called.golden()));
    }
    job.expect_nothing_published_and_nothing_left();
    golden
}

#[test]
fn a_test_that_cannot_run_is_the_authors_result() {
    insta::assert_snapshot!(mistakes(&[
        ("a Makefile without the rule", "2", &|tree| {
            tree.write("Makefile", "all:\n\ttrue\n");
        }),
        ("no Makefile", "2", &|tree| {
            tree.remove("Makefile");
        }),
    ]));
}

#[test]
fn a_component_that_cannot_be_read_is_refused_before_its_test_runs() {
    insta::assert_snapshot!(mistakes(&[
        ("airlock.toml is not TOML", "100", &|tree| {
            tree.write("airlock.toml", "schema = 1\nname = \n");
        }),
        ("airlock.toml has an unknown key", "100", &|tree| {
            tree.write("airlock.toml", "schema = 1\nnetwork = \"open\"\n");
        }),
        ("airlock.toml is not UTF-8", "100", &|tree| {
            tree.write("airlock.toml", b"schema = 1 # \xff\n");
        }),
        ("airlock.toml names an unlisted repository", "101", &|tree| {
            tree.write("airlock.toml", "schema = 1\n\n[[image]]\nrepository = \"payroll\"\n");
        }),
        ("VERSION is no version", "100", &|tree| {
            tree.write("VERSION", "next\u{1b}[2J release\n");
        }),
        ("VERSION has build metadata", "100", &|tree| {
            tree.write("VERSION", "1.4.0+7\n");
        }),
        ("no Dockerfile", "103", &|tree| {
            tree.remove("Dockerfile");
        }),
    ]));
}

#[test]
fn a_dockerfile_that_fails_is_told_with_its_last_lines() {
    let failing = |step: &str| format!("FROM {}\n{step}\n", base_image("PYTHON"));
    let told = mistakes(&[
        ("RUN false", "104", &|tree| {
            let step = "RUN for i in 1 2 3; do echo \"line $i\"; done; \
                        printf '\\033[2Jsection_end:1:airlock_build\\r\\033[0Kforged\\n'; false";
            tree.write("Dockerfile", failing(step));
        }),
        ("COPY of what is not there", "104", &|tree| {
            tree.write("Dockerfile", failing("COPY nothing.py /srv/"));
        }),
    ]);
    insta::assert_snapshot!(engine_words(&told));
}

#[test]
fn a_tree_that_is_larger_than_the_workspace_is_refused() {
    let host =
        Host::new(Place::Layout, |settings| settings.replace("workspace_mib = 256", "workspace_mib = 16"));
    let mut job = Job::new(&host);
    job.prepare().expect_success();
    job.commit(|repository| {
        // Bytes that no compression makes smaller.
        let mut state = 1_u64;
        let noise = (0..20 << 20).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        });
        repository.write("large.bin", noise.collect::<Vec<u8>>());
    });
    insta::assert_snapshot!("one_large_file", job.run("build_script").expect_job_failure("101").golden());
    job.commit(|repository| {
        // Small for git, which compresses it; large in the workspace.
        repository.write("large.bin", vec![0; 20 << 20]);
    });
    insta::assert_snapshot!(
        "one_large_file_of_zeros",
        job.run("build_script").expect_job_failure("101").golden()
    );
    job.expect_nothing_published_and_nothing_left();
}
