//! One delivery of a project, and one promotion of a platform, at a time on a host: evidence tags are read, extended and written back,
//! which a registry cannot do in one step.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, Outcome};

/// How often a delivery that waits for another looks again.
const TURN: Duration = Duration::from_millis(50);

/// The right to deliver or promote. Given back when dropped or when the process ends. Deliveries of other hosts
/// are met by the looks before and after each write alone.
#[derive(Debug)]
pub struct DeliveryLock {
    _file: File,
}

impl DeliveryLock {
    /// Waits for its turn to write a project's images.
    pub async fn acquire(state_dir: &Path, project_id: u64) -> Outcome<Self> {
        Self::acquire_file(state_dir, &format!("delivery-{project_id}.lock")).await
    }

    /// Waits for its turn to promote a platform.
    pub async fn of_promotion(state_dir: &Path, platform: &str) -> Outcome<Self> {
        Self::acquire_file(state_dir, &format!("promotion-{platform}.lock")).await
    }

    async fn acquire_file(state_dir: &Path, name: &str) -> Outcome<Self> {
        let path = state_dir.join(name);
        let failed = |error: std::io::Error| {
            Failure::system(format!("cannot lock `{}`", path.display())).because(error)
        };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(TURN).await,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}
