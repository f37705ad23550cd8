//! The command line: the clap tree, one file per verb; the only writer to standard output.

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::{Failure, Outcome};
use crate::settings::{MAX_SETTINGS_BYTES, Settings};

mod executor;
mod host;
mod key;
mod promote;
mod release;
mod releases;
mod stores;
mod tracing_log;
mod try_job;
mod verify;

/// A GitLab Runner custom executor that lets only tested, described, signed and traceable images out
#[derive(Parser)]
#[command(name = "airlock", version, about, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The four stages that GitLab Runner calls; see `executor-config/config.toml`
    #[command(subcommand)]
    Executor(executor::Stage),
    /// Run the staging job of this repository's commit here, with throw-away keys unless told otherwise
    Try(try_job::TryArguments),
    /// Judge an image by its evidence and the trust policy
    Verify(verify::VerifyArguments),
    /// Look at releases
    #[command(subcommand)]
    Release(release::ReleaseVerb),
    /// Point `:candidate` at a release: repair its component tags, or roll back to an older one
    Promote(promote::PromoteArguments),
    /// Make keys
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Look after a runner host
    #[command(subcommand)]
    Host(host::HostVerb),
}

/// Parses the command line, runs the verb and returns its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.verb {
        Verb::Executor(stage) => executor::run(stage),
        Verb::Try(arguments) => finish(try_job::run(arguments)),
        Verb::Verify(arguments) => finish(verify::run(arguments)),
        Verb::Release(verb) => finish(release::run(verb)),
        Verb::Promote(arguments) => finish(promote::run(arguments)),
        Verb::Key(verb) => finish(key::run(verb)),
        Verb::Host(verb) => finish(host::run(verb)),
    }
}

fn finish(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Notes say to whom a job's log speaks; here there is one reader.
            let failure = failure.without_notes();
            complain(&failure.to_string());
            ExitCode::from(failure.cli_exit_code())
        }
    }
}

fn complain(failure: &str) {
    use std::io::Write;
    // A closed standard error must not turn into a panic; the exit code still tells.
    // One write: in a job's log standard output could otherwise come between the words.
    let _ = std::io::stderr().write_all(format!("{failure}\n").as_bytes());
}

/// Writes data to standard output.
fn say(text: impl AsRef<str>) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

/// Writes a document as people and programs read it.
fn as_json(document: &impl serde::Serialize) -> Outcome<String> {
    serde_json::to_string_pretty(document)
        .map_err(|e| Failure::internal("the report cannot be written as JSON").because(e))
}

/// Reads a small file whole.
fn read_small(path: &Path, what: &str) -> Outcome<String> {
    use std::io::Read;
    let failure = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot read {what} `{}`", path.display())).because(why)
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| failure(&e))?;
    file.take(MAX_SETTINGS_BYTES + 1).read_to_string(&mut text).map_err(|e| failure(&e))?;
    if text.len() as u64 > MAX_SETTINGS_BYTES {
        return Err(failure(&format!("it has more than {MAX_SETTINGS_BYTES} bytes")));
    }
    Ok(text)
}

/// Reads and checks the host settings.
fn read_settings(path: &Path) -> Outcome<Settings> {
    let text = read_small(path, "the host settings").map_err(|failure| {
        failure
            .hint("for the runner's administrator: `executor-config/host.toml` is the template of this file")
    })?;
    Settings::parse(&text).map_err(|error| error.into_failure(&path.display().to_string()))
}

/// Starts the runtime that everything asynchronous runs on.
fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::system("cannot start the runtime").because(e))
}

/// Where the host settings are unless told otherwise.
const DEFAULT_SETTINGS: &str = "/etc/airlock/host.toml";
