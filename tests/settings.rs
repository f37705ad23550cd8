//! Host settings: every file that a person could get wrong, and the words that tell him.

use std::path::{Path, PathBuf};

use airlock::settings::Settings;

fn files(folder: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/settings").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn every_invalid_file_is_refused_with_its_message() {
    let mut messages = String::new();
    for path in files("invalid") {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a file");
        let error = Settings::parse(&text).expect_err(&name);
        messages.push_str(&format!("── {name}\n{}\n\n", error.into_failure("/etc/airlock/host.toml")));
    }
    insta::assert_snapshot!(messages);
}

#[test]
fn every_valid_file_is_accepted() {
    for path in files("valid") {
        let text = std::fs::read_to_string(&path).expect("a file");
        if let Err(error) = Settings::parse(&text) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn the_settings_that_a_team_copies_are_valid_once_filled_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("executor-config/host.toml");
    let text = std::fs::read_to_string(path).expect("executor-config/host.toml");
    let settings = Settings::parse(&text).expect("the template parses as it stands");
    assert!(!settings.publish.is_empty(), "the template shows a publish rule");
}

#[test]
fn what_stands_behind_a_hash_in_that_template_is_valid_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("executor-config/host.toml");
    let text = std::fs::read_to_string(path).expect("executor-config/host.toml");
    let is_key = regex::Regex::new(r"(?m)^# (\[?[a-z_]+(\]| = .*))$").expect("a pattern");
    let whole = is_key.replace_all(&text, "$1");
    let settings = Settings::parse(&whole).expect("every key of the template is one");
    let hub = settings.hub.expect("the template shows a hub");
    assert_eq!((hub.project_id, hub.job.as_str()), (9, "integration"));
    assert!(settings.keys.release.is_some() && settings.gitlab.status_token_file.is_some());
    assert_eq!(settings.compose_program, Path::new(airlock::settings::DEFAULT_COMPOSE));
}
