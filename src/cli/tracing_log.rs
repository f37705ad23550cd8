//! Diagnostics for the host's log: a file below the state directory, never a job's log.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

/// Starts writing diagnostics to `<state_dir>/airlock.log`; without such a file there are none.
pub fn start(state_dir: &Path) {
    let directory = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
    let open = directory.and_then(|()| {
        std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(state_dir.join("airlock.log"))
    });
    let Ok(file) = open else { return };
    let filter = tracing_subscriber::EnvFilter::new("info,hyper=warn,bollard=warn,oci_client=warn");
    let subscriber =
        tracing_subscriber::fmt().with_writer(Mutex::new(file)).with_ansi(false).with_env_filter(filter);
    // A second start in one process (tests) keeps the first.
    let _ = subscriber.try_init();
}
