//! Bounded retries: how often, how long between, and when it is over in any case.

use std::time::Duration;

use tokio::time::Instant;

use crate::registry::StoreError;

/// How patiently a registry is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times a request is sent at most.
    pub attempts: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause, also where the registry asks for a longer one (`Retry-After`).
    pub longest_pause: Duration,
    /// How long a connection may be silent.
    pub silence: Duration,
    /// How long one operation may take with all its attempts, before the time for its bytes is added.
    pub total: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_pause: Duration::from_millis(300),
            longest_pause: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            total: Duration::from_secs(120),
        }
    }
}

/// The slowest transfer that is waited for, in bytes per second.
const SLOWEST: u64 = 128 * 1024;

/// How an attempt failed.
pub(super) enum Trouble {
    /// Another attempt would end the same.
    Final(StoreError),
    /// The next attempt may do better; the registry may have said when.
    Passing { error: StoreError, pause: Option<Duration> },
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Final(error)
    }
}

impl RetryPolicy {
    /// Runs `attempt` until it succeeds, fails for good, or the policy's bounds are reached; `bytes`
    /// is the most that one operation moves.
    pub(super) async fn run<T, F, Fut>(
        &self,
        place: &str,
        bytes: u64,
        mut attempt: F,
    ) -> Result<T, StoreError>
    where
        F: FnMut(u32) -> Fut,
        Fut: Future<Output = Result<T, Trouble>>,
    {
        let limit = self.total + Duration::from_secs(bytes / SLOWEST);
        let deadline = Instant::now() + limit;
        let mut number = 0;
        loop {
            number += 1;
            let trouble = match tokio::time::timeout_at(deadline, attempt(number)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(trouble)) => trouble,
                Err(_) => {
                    return Err(StoreError::Unreachable {
                        place: place.to_owned(),
                        attempts: number,
                        source: format!("no whole answer within {} s", limit.as_secs_f32().ceil()).into(),
                    });
                }
            };
            let (error, asked) = match trouble {
                Trouble::Final(error) => return Err(error),
                Trouble::Passing { error, pause } => (error, pause),
            };
            let pause = self.pause(number, asked);
            if number >= self.attempts || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, number, ?pause, "asking the registry again");
            tokio::time::sleep(pause).await;
        }
    }

    fn pause(&self, number: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << (number - 1).min(16));
        asked.map_or(doubled, |asked| asked.max(doubled)).min(self.longest_pause)
    }
}

/// Returns whether a status may be another one at the next attempt.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_obey_the_registry_within_bounds() {
        let policy = RetryPolicy::default();
        let millis =
            |number, asked: Option<u64>| policy.pause(number, asked.map(Duration::from_secs)).as_millis();
        assert_eq!([millis(1, None), millis(2, None), millis(3, None)], [300, 600, 1200]);
        assert_eq!([millis(1, Some(2)), millis(1, Some(86_400)), millis(1, Some(0))], [2000, 10_000, 300]);
        assert_eq!(millis(4_000_000, None), 10_000);
    }
}
