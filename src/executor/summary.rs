//! The one summary at the end of a staging job.

use std::time::Duration;

use crate::delivery::DeliveredImage;
use crate::delivery::push_log::in_units;
use crate::executor::reports;
use crate::executor::staging::Delivered;
use crate::job_log::JobLog;
use crate::settings::StorePlace;

/// Writes the summary; `place` is where the images are, `verify` the command that checks the first.
pub fn write(log: &JobLog, delivered: &Delivered, place: &str, verify: &str) {
    for image in &delivered.images {
        one(log, delivered, image, place);
    }
    log.line("");
    log.line(format!("  look next   {verify}"));
}

/// Returns the command that verifies the first image, as a person pastes it into a shell; `options` are
/// those of `airlock verify` that its reader needs, name and value in turn.
pub fn verify_command(place: &StorePlace, options: &[&str], delivered: &Delivered) -> String {
    let Some(image) = delivered.images.first() else { return String::new() };
    let mut words = vec!["airlock".to_owned(), "verify".to_owned()];
    words.extend(options.iter().map(|word| (*word).to_owned()));
    let name = format!("{}:{}", image.repository, image.version);
    match place {
        StorePlace::Layout(directory) => {
            words.extend(["--layout".to_owned(), directory.display().to_string(), name]);
        }
        StorePlace::Registry { host, .. } => words.push(format!("{host}/{name}")),
    }
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// Returns a word as a POSIX shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn one(log: &JobLog, delivered: &Delivered, image: &DeliveredImage, place: &str) {
    let row = |name: &str, text: String| log.line(format!("  {name:<11} {text}"));
    log.line("");
    log.line(format!("━━ {}: tested, described, signed, published ━━", image.repository));
    log.line("");
    row("version", image.version.to_string());
    row("digest", image.digest.to_string());
    row("stored in", place.to_owned());
    row("staged", format!("the tag `:staged` {}", image.staged.describe()));
    if let Some(difference) = &image.not_reproducible {
        row("kept", "the first image of this commit, published earlier; this build gave another".to_owned());
        row("", format!("not reproducible: first difference {difference}"));
    }
    row("size", format!("{} compressed", in_units(image.bytes)));
    row("packages", format!("{} in the SBOM (SPDX 2.3 and CycloneDX 1.6)", image.packages));
    row("tests", reports::summary(&delivered.report));
    row("hermetic", format!("{}, measured", delivered.hermetic.level()));
    for reason in delivered.hermetic.kept_from_higher() {
        row("", format!("not higher: {reason}"));
    }
    row("signed by", format!("{} (image), {} (attestations)", image.image_key, image.attestation_key));
    let times: Vec<(&str, Duration)> = delivered.times.iter().chain(&image.times).copied().collect();
    let all = times.iter().map(|(_, time)| *time).sum();
    let parts: Vec<String> = times.iter().map(|(name, time)| format!("{name} {}", seconds(*time))).collect();
    row("time", format!("{}: {}", seconds(all), parts.join(" · ")));
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_of_a_command_survives_a_shell() {
        assert_eq!(quoted("/srv/store"), "/srv/store");
        assert_eq!(quoted("/srv/a b"), "'/srv/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
        assert_eq!(quoted(""), "''");
    }
}
