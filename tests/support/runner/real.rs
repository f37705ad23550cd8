//! Drives a real `gitlab-runner run-single` over a recording wrapper of the driver.

use super::{Hooks, JobOutcome, RunnerSettings};
use crate::support::gitlab::FakeGitLab;
use std::path::Path;

pub fn run_one(
    _program: &Path,
    _gitlab: &FakeGitLab,
    _settings: &RunnerSettings,
    _hooks: &mut Hooks,
) -> JobOutcome {
    unimplemented!()
}
