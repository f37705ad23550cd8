//! The config stage: tells GitLab Runner where the workspace is (runner contract §1.8).

use serde::Serialize;

use super::{BUILDS_DIR, CACHE_DIR};

/// What GitLab Runner reads from standard output; exactly one JSON object.
#[derive(Serialize)]
pub struct ConfigAnswer {
    builds_dir: &'static str,
    cache_dir: &'static str,
    builds_dir_is_shared: bool,
    hostname: &'static str,
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
}

/// Returns the answer; it depends on nothing that a job says.
pub fn config() -> ConfigAnswer {
    ConfigAnswer {
        builds_dir: BUILDS_DIR,
        cache_dir: CACHE_DIR,
        builds_dir_is_shared: false,
        hostname: "airlock",
        driver: Driver { name: "airlock", version: env!("CARGO_PKG_VERSION") },
    }
}
