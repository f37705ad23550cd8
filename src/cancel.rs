//! SIGTERM and SIGINT: noted once, heard wherever the work waits.

use std::future::Future;

use tokio::sync::watch;

use crate::failure::{Failure, Outcome};

/// Tells whether GitLab or a person has asked to stop.
#[derive(Clone)]
pub struct Cancel {
    seen: watch::Receiver<bool>,
}

impl Cancel {
    /// Starts listening for SIGTERM and SIGINT.
    pub fn listen() -> Outcome<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let handler =
            |kind| signal(kind).map_err(|e| Failure::system("cannot listen for signals").because(e));
        let (mut term, mut int) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
        let (tell, seen) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
                tell.send_replace(true);
            }
        });
        Ok(Self { seen })
    }

    /// Makes one that a test cancels through the sender.
    #[cfg(test)]
    pub(crate) fn by_hand() -> (watch::Sender<bool>, Self) {
        let (tell, seen) = watch::channel(false);
        (tell, Self { seen })
    }

    /// Returns whether a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        *self.seen.borrow()
    }

    /// Waits until a stop is asked for.
    pub async fn cancelled(&self) {
        let mut seen = self.seen.clone();
        if seen.wait_for(|seen| *seen).await.is_err() {
            // The listener lives as long as the process; without it nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }

    /// Runs `work` unless a stop is asked for first; `work` is then dropped where it waits.
    pub async fn or<T>(&self, what: &str, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(Failure::cancelled(format!("{what}: the job was cancelled"))),
            result = work => result,
        }
    }
}
