//! Says every now and then that a long thing still goes on.
//!
//! A log that is silent looks dead, and GitLab hears of a cancelled job sooner while the log moves (runner
//! contract §2.2).

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::job_log::JobLog;

/// How long a thing may take in silence.
const FIRST: Duration = Duration::from_secs(2);
/// The longest silence of a thing that takes very long.
const LONGEST: Duration = Duration::from_secs(10);

/// The present state of a long thing, for example `31 MiB`; empty where there is nothing to tell.
#[derive(Debug, Default)]
pub struct Progress(Mutex<String>);

impl Progress {
    /// Notes the present state.
    pub fn set(&self, state: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state.into();
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Does `work`; after two seconds, then ever less often, the log tells that `what` goes on.
pub async fn beating<T>(log: &JobLog, what: &str, work: impl Future<Output = T>) -> T {
    beating_with(log, what, &Progress::default(), work).await
}

/// Does the same and tells the present state of the work too.
pub async fn beating_with<T>(
    log: &JobLog,
    what: &str,
    progress: &Progress,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    let started = Instant::now();
    for moment in moments() {
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = tokio::time::sleep_until(started + moment) => log.line(line(what, &progress.get(), moment)),
        }
    }
    work.await
}

/// When the log tells, from the start on: after 2 s, 6 s, 14 s, then every 10 s.
fn moments() -> impl Iterator<Item = Duration> {
    let pauses = std::iter::successors(Some(FIRST), |pause| Some((*pause * 2).min(LONGEST)));
    pauses.scan(Duration::ZERO, |at, pause| {
        *at += pause;
        Some(*at)
    })
}

fn line(what: &str, state: &str, after: Duration) -> String {
    let colon = if state.is_empty() { "" } else { ": " };
    format!("  … {what}{colon}{state} ({} s)", after.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_after_two_seconds_and_then_ever_less_often() {
        let seconds: Vec<u64> = moments().take(7).map(|moment| moment.as_secs()).collect();
        assert_eq!(seconds, [2, 6, 14, 24, 34, 44, 54]);
    }

    #[test]
    fn names_the_thing_its_state_and_the_time() {
        let second = Duration::from_secs(2);
        assert_eq!(
            line("reading the image", "2 of 3 layers", second),
            "  … reading the image: 2 of 3 layers (2 s)"
        );
        assert_eq!(line("building", "", second), "  … building (2 s)");
    }
}
