//! Where the records of a run go: GitLab's workspace, or a developer's own state.

use std::path::Path;

use super::{HubJob, RECORDS};
use crate::compose::CompiledStack;
use crate::domain::closed_world::ClosedWorld;
use crate::executor::reports;
use crate::failure::{Failure, Outcome};
use crate::hub::records;

/// Leaves logs, health, the compiled file and the closed-world report where artifacts are taken from.
pub(super) async fn keep_records(
    job: &HubJob<'_>,
    compiled: &CompiledStack,
    closed_world: Option<&ClosedWorld>,
) -> Outcome<()> {
    let files = records::collect(job.test.engine, compiled, closed_world).await?;
    match job.test.workspace {
        Some(_) => {
            let files: Vec<_> =
                files.into_iter().map(|(path, bytes)| (format!("{RECORDS}/{path}"), bytes)).collect();
            reports::copy_back(&job.test, &files).await?;
            job.test.log.line(format!("records {} files in `{RECORDS}/` of the workspace", files.len()));
        }
        None => {
            let directory = job.test.settings.state_dir.join("hub");
            write_records(&directory, &files).map_err(|error| {
                Failure::system(format!("cannot write the records into `{}`", directory.display()))
                    .because(error)
            })?;
            job.test.log.line(format!("records {} files in {}", files.len(), directory.display()));
        }
    }
    Ok(())
}

fn write_records(directory: &Path, files: &[records::Record]) -> std::io::Result<()> {
    // Those of an earlier try would be taken for this one's.
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    for (path, bytes) in files {
        let at = directory.join(path);
        if let Some(parent) = at.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(at, bytes)?;
    }
    Ok(())
}
