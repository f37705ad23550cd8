//! `airlock host`: looks after a runner host.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use time::OffsetDateTime;

use crate::executor::sweep;
use crate::failure::{Failure, Outcome};
use crate::job_log::printable;

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
    for key in &report.foreign {
        super::say(format!("foreign  `{}` names no job and is left alone", printable(key)));
    }
    super::say(format!("{} removed, {} alive", report.removed.len(), report.alive.len()));
    if report.failed.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::system("cannot remove all that dead jobs left");
    for (key, why) in &report.failed {
        failure = failure.because(format!("job {key}: {}", why.causes().join("\n")));
    }
    Err(failure.hint("remove what holds the things that are named, then run `airlock host sweep` again"))
}
