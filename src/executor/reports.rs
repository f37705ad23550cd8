//! The declared JUnit reports: counted for the test result, copied back for GitLab's artifacts.
//!
//! They are the tenant's own words: they can turn passed into failed, never the reverse.

use std::io::Read;

use bytes::Bytes;
use futures_util::stream;

use crate::domain::image::NamePattern;
use crate::domain::test_report::TestReport;
use crate::engine::EngineError;
use crate::executor::BUILDS_DIR;
use crate::executor::containers::JobContainer;
use crate::executor::test_job::TestJob;
use crate::failure::{EXIT_TESTS_FAILED, Failure, Outcome};

/// Largest archive of a directory with reports.
const MAX_ARCHIVE_BYTES: u64 = 64 * 1024 * 1024;
/// Most report files.
const MAX_FILES: usize = 1000;

/// Takes the reports out of the job container; copies of them go below `into` in GitLab's workspace, the
/// project's own directory where it is empty.
pub async fn collect(
    job: &TestJob<'_>,
    container: &JobContainer,
    patterns: &[NamePattern],
    into: &str,
) -> Outcome<TestReport> {
    let mut report = TestReport::default();
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    let project = format!("{BUILDS_DIR}/{}", job.facts.project_path);
    for directory in directories(patterns) {
        let path = if directory.is_empty() { project.clone() } else { format!("{project}/{directory}") };
        let archive = match job.engine.get_archive(&container.id, &path, MAX_ARCHIVE_BYTES).await {
            Ok(archive) => archive,
            Err(error) if error.is_absent() => continue,
            Err(EngineError::TooLarge { .. }) => {
                return Err(unusable(format!(
                    "`{}` holds more than {MAX_ARCHIVE_BYTES} bytes, at most so many are read",
                    if directory.is_empty() { "." } else { &directory }
                ))
                .hint("let the tests write their reports into a directory of their own"));
            }
            Err(error) => return Err(error.into()),
        };
        read_archive(&archive, &directory, patterns, &mut found)
            .map_err(|e| unusable("the reports cannot be read").because(e))?;
    }
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    if found.len() > MAX_FILES {
        return Err(unusable(format!("there are more than {MAX_FILES} reports")));
    }
    for (path, bytes) in &found {
        report.add(path, bytes)?;
    }
    let below = |path: String| if into.is_empty() { path } else { format!("{into}/{path}") };
    let found: Vec<_> = found.into_iter().map(|(path, bytes)| (below(path), bytes)).collect();
    copy_back(job, &found).await?;
    Ok(report)
}

/// Refuses a green script whose own reports tell of failures.
pub fn refuse_failures(report: &TestReport) -> Outcome<()> {
    if !report.has_failures() {
        return Ok(());
    }
    Err(Failure::job(
        EXIT_TESTS_FAILED,
        "the tests failed: the script ended with 0, its reports tell of failures",
    )
    .because(counts(report))
    .hint("see the failing cases in the reports; make the script end with another status than 0 when a test fails")
    .note("this is your job's result"))
}

/// Returns the counts in words, with their origin.
pub fn summary(report: &TestReport) -> String {
    if report.files().is_empty() {
        return "passed by exit status; no report is declared or written".to_owned();
    }
    format!("passed by exit status; the reports count {} (the tenant's own words)", counts(report))
}

/// Returns the counts alone.
pub fn counts(report: &TestReport) -> String {
    let counts = report.totals();
    format!(
        "{} tests, {} failed, {} in error, {} skipped",
        counts.tests, counts.failures, counts.errors, counts.skipped
    )
}

fn unusable(what: impl Into<String>) -> Failure {
    Failure::job(EXIT_TESTS_FAILED, format!("cannot use the declared test reports: {}", what.into()))
        .hint("mend the report, or the list `junit` in `airlock.toml`; the reports of a hub are `reports/*.xml`")
        .note("this is your job's result")
}

/// The directories that hold everything the patterns can match, without their wildcards.
fn directories(patterns: &[NamePattern]) -> Vec<String> {
    let mut directories: Vec<String> = patterns
        .iter()
        .map(|pattern| {
            let parts: Vec<&str> = pattern.as_str().split('/').collect();
            let literal = parts.iter().take(parts.len() - 1).take_while(|part| !part.contains('*'));
            literal.copied().collect::<Vec<_>>().join("/")
        })
        .collect();
    directories.sort();
    directories.dedup();
    directories
}

fn read_archive(
    archive: &Bytes,
    directory: &str,
    patterns: &[NamePattern],
    found: &mut Vec<(String, Vec<u8>)>,
) -> std::io::Result<()> {
    for entry in tar::Archive::new(&archive[..]).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path()?.to_string_lossy().into_owned();
        // The engine's archive begins with the directory's own name.
        let Some((_, inside)) = path.trim_start_matches("./").split_once('/') else { continue };
        let path = crate::domain::commit::join(directory, inside);
        if path.split('/').any(|part| part.is_empty() || part == "..") {
            continue;
        }
        if patterns.iter().any(|pattern| pattern.matches(&path)) && found.len() <= MAX_FILES {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            found.push((path, bytes));
        }
    }
    Ok(())
}

/// Writes files into the project's directory in GitLab's workspace, where artifacts are taken from.
pub(super) async fn copy_back(job: &TestJob<'_>, found: &[(String, Vec<u8>)]) -> Outcome<()> {
    let Some(workspace) = job.workspace.filter(|_| !found.is_empty()) else { return Ok(()) };
    let project = format!("{BUILDS_DIR}/{}", job.facts.project_path);
    let failure = |error: std::io::Error| Failure::system("cannot copy the reports back").because(error);
    let uid = u64::from(job.settings.sandbox.uid);
    let mut tar = tar::Builder::new(Vec::new());
    let mut directories = std::collections::BTreeSet::new();
    for (path, bytes) in found {
        for (slash, _) in path.match_indices('/') {
            if directories.insert(path[..slash].to_owned()) {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_uid(uid);
                header.set_gid(uid);
                header.set_size(0);
                tar.append_data(&mut header, format!("{}/", &path[..slash]), std::io::empty())
                    .map_err(failure)?;
            }
        }
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(uid);
        header.set_gid(uid);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, &bytes[..]).map_err(failure)?;
    }
    let bytes = Bytes::from(tar.into_inner().map_err(failure)?);
    let body = stream::iter([Ok::<_, std::io::Error>(bytes)]);
    // A job without get_sources has no project directory to put them into: then nobody asks for them.
    if let Err(error) = job.engine.put_archive(&workspace.parse()?, &project, body).await {
        job.log.line(format!("the reports were not copied to GitLab's workspace: {error}"));
    }
    Ok(())
}
