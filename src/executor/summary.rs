//! The one summary at the end of a staging job.

use std::time::Duration;

use crate::delivery::DeliveredImage;
use crate::executor::reports;
use crate::executor::staging::Delivered;
use crate::job_log::JobLog;

/// Writes the summary; `place` is where the images are, `verify` the command that checks the first.
pub fn write(log: &JobLog, delivered: &Delivered, place: &str, verify: &str) {
    log.line("");
    for image in &delivered.images {
        one(log, delivered, image, place);
    }
    log.line(format!("  look next   {verify}"));
}

fn one(log: &JobLog, delivered: &Delivered, image: &DeliveredImage, place: &str) {
    let row = |name: &str, text: String| log.line(format!("  {name:<11} {text}"));
    log.line(format!("━━ {} ━━", image.repository));
    row("version", image.version.to_string());
    row("digest", image.digest.to_string());
    row("stored in", place.to_owned());
    row("packages", format!("{} in the SBOM (SPDX 2.3, CycloneDX 1.6)", image.packages));
    row("size", format!("{:.1} MiB compressed", image.bytes as f64 / f64::from(1 << 20)));
    let level = delivered.hermetic.level();
    row("hermetic", format!("{level}, measured"));
    for reason in delivered.hermetic.kept_from_higher() {
        row("", format!("not higher: {reason}"));
    }
    row("tests", reports::summary(&delivered.report));
    row("signed by", format!("{} (image), {} (attestations)", image.image_key, image.attestation_key));
    if let Some(difference) = &image.not_reproducible {
        row("kept", format!("the first image of this commit; not reproducible: {difference}"));
    }
    row("staged", format!("the tag {}", image.staged.describe()));
    let times: Vec<String> = delivered
        .times
        .iter()
        .chain(&image.times)
        .map(|(name, time)| format!("{name} {}", seconds(*time)))
        .collect();
    row("time", times.join(" · "));
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
