//! The staging job from end to end: real engine, real registry, a small runner, a fake GitLab.

mod support;

use support::runner::JobState;
use support::staging::{Host, REPOSITORY, left_in_engine, small_component};

#[test]
fn a_staging_job_publishes_a_verified_image_and_leaves_nothing_behind() {
    let host = Host::with_registry();
    let repository = small_component();
    let project = host.serve(&repository);
    let job = host.staging_job(&project, &repository);
    let id = host.gitlab.enqueue(&job);
    let outcome = host.runner().run_one();
    println!("{}", outcome.trace);
    assert_eq!(outcome.state, JobState::Success);
    let tags = host.image_tags();
    assert_eq!(tags.len(), 2, "{tags:?}");
    assert!(tags.contains(&"staged".to_owned()));
    assert_eq!(left_in_engine(id), Vec::<String>::new());
    assert_eq!(host.jobs_in_state(), Vec::<String>::new());
    let verified = host.verify(&format!("{REPOSITORY}:staged"), &[]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
