//! A rule's own lines on a commit's own tree in a sealed container: what a staging job and a hub job share.
//!
//! Nothing that get_sources, caches, artifacts or hooks left is seen by the test: its directory is a fresh
//! volume filled from the commit. The verdict is the exit status.

use std::path::Path;

use crate::cancel::Cancel;
use crate::delivery::commit::{CommitTree, TarOwner};
use crate::domain::job::JobFacts;
use crate::domain::sandbox::SandboxNetwork;
use crate::engine::{ContainerId, Engine, Labels, ResolvedImage};
use crate::executor::containers::{self, JobContainer, TestRun};
use crate::failure::{EXIT_CANCELLED, EXIT_REFUSED_BEFORE_SCRIPT, Failure, FailureKind, Outcome};
use crate::job_log::JobLog;
use crate::settings::Settings;

/// What the test of one commit needs.
pub struct TestJob<'a> {
    pub engine: &'a Engine,
    pub settings: &'a Settings,
    pub facts: &'a JobFacts,
    pub image: &'a ResolvedImage,
    pub helper: &'a ResolvedImage,
    /// Label value of everything that this job makes in the engine.
    pub key: &'a str,
    pub labels: &'a Labels,
    pub work_dir: &'a Path,
    pub log: &'a JobLog,
    pub cancel: &'a Cancel,
    /// The container with GitLab's workspace, which receives reports and records.
    pub workspace: Option<&'a str>,
}

/// How a kind of test is spoken of.
pub struct TestWords {
    /// `unit test` or `integration test`.
    pub test: &'static str,
    /// What a red test means: `nothing is built or published`.
    pub consequence: &'static str,
    /// What the author can do on his own machine.
    pub hint: Option<&'static str>,
}

/// Told the container's id as soon as there is one.
pub type KeepContainer<'a> = &'a mut (dyn FnMut(&ContainerId) -> Outcome<()> + Send);

/// Starts the container on `network`, and fills its directory with the commit's files.
pub async fn start(
    job: &TestJob<'_>,
    tree: &CommitTree,
    network: SandboxNetwork,
    keep_container: KeepContainer<'_>,
) -> Outcome<JobContainer> {
    let container = containers::start_job(job, tree.commit().time(), network).await?;
    keep_container(&container.id)?;
    let tar = job.work_dir.join("tree.tar");
    let file = std::fs::File::create(&tar)
        .map_err(|e| Failure::system(format!("cannot write `{}`", tar.display())).because(e))?;
    let owner = TarOwner { uid: job.settings.sandbox.uid, gid: job.settings.sandbox.uid };
    let prefix = format!("{}/", job.facts.project_path);
    tree.write_tar("", &prefix, owner, &|_| true, std::io::BufWriter::new(file))?;
    containers::fill(job, &container, &tar).await?;
    let _ = std::fs::remove_file(&tar);
    job.log.line(format!(
        "tree    {} files, {} bytes, exactly those of commit {}",
        tree.len(),
        tree.bytes(),
        tree.commit().id().short()
    ));
    Ok(container)
}

/// Runs the rule's lines.
pub async fn run(
    job: &TestJob<'_>,
    container: &JobContainer,
    script: &[String],
    words: &TestWords,
) -> Outcome<()> {
    for line in script {
        job.log.line(format!("$ {line}"));
    }
    match containers::run_lines(job, container, script).await? {
        TestRun::Ended { status: 0 } => Ok(()),
        TestRun::Ended { status } => {
            // These numbers are Airlock's own words in a publishing job.
            let shown = match status {
                code @ EXIT_REFUSED_BEFORE_SCRIPT..=EXIT_CANCELLED => {
                    job.log.line(format!("the script's status {code} is reported as 1"));
                    1
                }
                code => code,
            };
            let failure = Failure::new(
                FailureKind::Job { exit_code: shown },
                format!(
                    "the {} `{}` ended with status {status}; {}",
                    words.test,
                    script.join("; "),
                    words.consequence
                ),
            );
            let failure = match meaning(status) {
                Some(meaning) => failure.because(meaning),
                None => failure,
            };
            let failure = match words.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            };
            Err(failure.note("this is your job's result"))
        }
        TestRun::Cancelled => {
            Err(Failure::cancelled(format!("the {} was cancelled; {}", words.test, words.consequence)))
        }
    }
}

/// What a status means by a shell's convention, where it means something.
fn meaning(status: u8) -> Option<&'static str> {
    match status {
        126 => Some("126: a program was found but cannot be run"),
        127 => Some(
            "127: a program was not found; the image must have `sh` and every program that these lines call",
        ),
        137 => {
            Some("137: it was killed, as happens when it needs more memory than `sandbox.memory_mib` gives")
        }
        143 => Some("143: it was ended by SIGTERM"),
        _ => None,
    }
}
