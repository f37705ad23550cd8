//! The small runner of the tests, held to the contract's table of what a real GitLab Runner does.

mod support;

use support::gitlab::FakeGitLab;
use support::runner::{JobState, Runner, RunnerSettings};

#[test]
fn smoke() {
    let gitlab = FakeGitLab::start();
    gitlab.enqueue(&gitlab.job());
    let outcome = Runner::new(&gitlab, RunnerSettings::new("/bin/true")).run_one();
    println!("{outcome:#?}");
    assert_eq!(outcome.state, JobState::Success);
}
