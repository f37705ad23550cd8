//! Removes what dead jobs left: after a crash of the runner or a reboot no cleanup stage ever comes.
//!
//! A job is dead when its deadline, set at prepare from GitLab's own time limit, has passed, or when
//! the host has booted since.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::executor::cleanup::remove_job;
use crate::executor::job_record::JobKey;
use crate::executor::{BOOT_LABEL, DEADLINE_LABEL, JOB_LABEL, boot_id};
use crate::failure::{Failure, Outcome};
use crate::settings::Settings;

/// What a sweep did.
#[derive(Debug, Default)]
pub struct SweepReport {
    pub removed: Vec<String>,
    pub alive: Vec<String>,
    /// What carries the label, or stands among the jobs' state, and names no job: left alone.
    pub foreign: Vec<String>,
    /// Dead jobs of which something stays, and why.
    pub failed: Vec<(String, Failure)>,
}

/// Removes everything of jobs that are dead at `now_unix`.
pub async fn sweep(settings: &Settings, now_unix: i64) -> Outcome<SweepReport> {
    let engine = Engine::connect(&settings.engine_socket).await?;
    let boot = boot_id();
    let mut jobs: BTreeMap<String, bool> = BTreeMap::new();
    for leftover in engine.list_by_label(JOB_LABEL, None).await? {
        let labels = leftover.labels;
        let Some(key) = labels.get(JOB_LABEL) else { continue };
        let deadline = labels.get(DEADLINE_LABEL).and_then(|text| text.parse::<i64>().ok());
        let dead =
            deadline.is_none_or(|deadline| deadline < now_unix) || labels.get(BOOT_LABEL) != Some(&boot);
        let entry = jobs.entry(key.clone()).or_insert(true);
        *entry = *entry && dead;
    }
    // A directory whose job has nothing in the engine is left over when it is old enough.
    let directory = settings.state_dir.join("jobs");
    for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let age = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|time| time.elapsed().ok())
            .map_or(0, |age| age.as_secs());
        jobs.entry(name).or_insert(age > 24 * 3600);
    }
    let mut report = SweepReport::default();
    for (key, dead) in jobs {
        let Some(job) = JobKey::parse(&key) else {
            tracing::warn!(key, "a label or directory that names no job is left alone");
            report.foreign.push(key);
            continue;
        };
        if !dead {
            report.alive.push(key);
            continue;
        }
        match remove_job(settings, &job).await {
            Ok(()) => report.removed.push(key),
            Err(failure) => report.failed.push((key, failure)),
        }
    }
    Ok(report)
}
