//! The one summary at the end of a hub job.

use std::time::Duration;

use crate::domain::release::ComponentOrigin;
use crate::executor::hub_job::{Integrated, RECORDS};
use crate::executor::reports;
use crate::job_log::JobLog;

/// Writes the summary; `next` is the command that shows the release.
pub fn write(log: &JobLog, integrated: &Integrated, place: &str, next: &str) {
    let row = |name: &str, text: String| log.line(format!("  {name:<11} {text}"));
    let promoted = &integrated.promoted;
    let release = promoted.release.release();
    log.line("");
    log.line(format!("━━ {} {}: tested together, signed, promoted ━━", release.platform, release.version));
    log.line("");
    if promoted.already {
        row("already", "these very images were the candidate; nothing new was signed".to_owned());
    }
    row("release", format!("{}:{}", promoted.release.repository(), release.version));
    row("digest", promoted.release.digest().to_string());
    row("stored in", place.to_owned());
    row("candidate", "the release's `:candidate` names it; the components' tags follow".to_owned());
    match &release.previous {
        Some(previous) => row("follows", format!("sha256:{}…", previous.short())),
        None => row("follows", "no release: it is the first".to_owned()),
    }
    for component in &release.components {
        let origin = match component.origin {
            ComponentOrigin::Staged => "staged",
            ComponentOrigin::Candidate => "of the candidate before",
            ComponentOrigin::Override => "by override",
        };
        row("component", format!("{} {}  {origin}", component.name, component.version));
    }
    for sidecar in &release.sidecars {
        row(
            "sidecar",
            format!("{} {}@sha256:{}…", sidecar.name, sidecar.repository, sidecar.manifest.short()),
        );
    }
    row("tests", reports::summary(&integrated.report));
    row(
        "closed",
        format!(
            "{} services on {} networks, none of which reaches the host or the world: measured",
            integrated.services, integrated.closed_networks
        ),
    );
    row("signed by", promoted.release.key().to_owned());
    row("records", format!("`{RECORDS}/`: logs, health, the compiled file, reports"));
    let all: Duration = integrated.times.iter().map(|(_, time)| *time).sum();
    let parts: Vec<String> =
        integrated.times.iter().map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64())).collect();
    row("time", format!("{:.1} s: {}", all.as_secs_f64(), parts.join(" · ")));
    log.line("");
    log.line(format!("  look next   {next}"));
}
