//! `airlock host`: looks after a runner host.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use crate::executor::sweep;
use crate::failure::Outcome;

#[derive(Subcommand)]
pub enum HostVerb {
    /// Remove containers, networks, volumes and state that dead jobs left
    Sweep(SweepArguments),
}

#[derive(Args)]
pub struct SweepArguments {
    /// Host settings
    #[arg(long, default_value = super::DEFAULT_SETTINGS)]
    settings: PathBuf,
}

/// Runs the verb.
pub fn run(verb: HostVerb) -> Outcome<()> {
    let HostVerb::Sweep(arguments) = verb;
    let settings = super::read_settings(&arguments.settings)?;
    super::tracing_log::start(&settings.state_dir);
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let report = super::runtime()?.block_on(sweep::sweep(&settings, now))?;
    for key in &report.removed {
        super::say(format!("removed  job {key}"));
    }
    for key in &report.alive {
        super::say(format!("alive    job {key}"));
    }
    super::say(format!("{} removed, {} alive", report.removed.len(), report.alive.len()));
    Ok(())
}
