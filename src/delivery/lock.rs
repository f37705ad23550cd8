//! One delivery of a project at a time on a host: evidence tags are read, extended and written back,
//! which a registry cannot do in one step.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, Outcome};

/// How often a delivery that waits for another looks again.
const TURN: Duration = Duration::from_millis(50);

/// The right to deliver. Given back when dropped or when the process ends. Deliveries of other hosts
/// are met by the looks before and after each write alone.
#[derive(Debug)]
pub struct DeliveryLock {
    _file: File,
}

impl DeliveryLock {
    /// Waits for its turn.
    pub async fn acquire(state_dir: &Path, project_id: u64) -> Outcome<Self> {
        let path = state_dir.join(format!("delivery-{project_id}.lock"));
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
