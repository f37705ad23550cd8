//! A sign of life while one thing goes on that says nothing itself.
//!
//! GitLab hears of a cancelled job sooner when the log moves (runner contract §2.2).

use std::future::Future;
use std::time::{Duration, Instant};

use crate::job_log::JobLog;

const FIRST: Duration = Duration::from_secs(2);
const LATER: Duration = Duration::from_secs(5);

/// Waits for `work`; says after two seconds, and then every five, that it still goes on.
pub async fn beating<T>(log: &JobLog, what: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let mut work = std::pin::pin!(work);
    let mut pause = FIRST;
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = tokio::time::sleep(pause) => {
                log.line(format!("  … {what} ({} s)", started.elapsed().as_secs()));
                pause = LATER;
            }
        }
    }
}
