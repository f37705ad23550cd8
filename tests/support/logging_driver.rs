//! A driver in bash that notes each call with its environment and does what the test tells it to.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::runner::RunnerSettings;

/// Sources `on_NAME` if there is one; else a `run` call executes the script with bash, and others succeed.
const DRIVER: &str = r#"#!/usr/bin/env bash
folder=${0%/*}
stage=$1 script=${2-} name=${3-$1}
number=$(ls "$folder/calls" | wc -l)
env -0 > "$folder/calls/$(printf %03d "$number")-$name"
run_script() {
    bash "$script"
    code=$?
    [ "$code" = 0 ] && return
    echo "$code" > "$BUILD_EXIT_CODE_FILE"
    exit 1
}
if [ -e "$folder/on_$name" ]; then
    . "$folder/on_$name"
elif [ "$stage" = run ]; then
    run_script
fi
"#;

/// The driver's folder, with a builds folder on the host.
pub struct LoggingDriver {
    folder: tempfile::TempDir,
}

impl LoggingDriver {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the driver");
        for name in ["calls", "builds", "cache", "home"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder of the driver");
        }
        let program = folder.path().join("driver.sh");
        std::fs::write(&program, DRIVER).expect("write the driver");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .expect("make it executable");
        Self { folder }
    }

    /// Lets the call of this name do `lines` of bash; `run_script` runs the runner's script.
    pub fn on(self, name: &str, lines: &str) -> Self {
        std::fs::write(self.path().join(format!("on_{name}")), lines).expect("write what a call does");
        self
    }

    /// Returns the driver's folder, `$folder` in what calls do.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the builds folder.
    pub fn builds(&self) -> PathBuf {
        self.path().join("builds")
    }

    /// Returns settings that use this driver.
    pub fn settings(&self) -> RunnerSettings {
        let mut settings = RunnerSettings::new(self.path().join("driver.sh"));
        settings.builds_dir = self.builds().display().to_string();
        settings.cache_dir = self.path().join("cache").display().to_string();
        settings.environment.push(("HOME".to_owned(), self.path().join("home").display().to_string()));
        settings
    }

    /// Returns the environment that the last call of this name saw.
    pub fn environment(&self, name: &str) -> HashMap<String, String> {
        let suffix = format!("-{name}");
        let entries = std::fs::read_dir(self.path().join("calls")).expect("read the calls");
        let names = entries.map(|entry| entry.expect("read a call").path());
        let last = names.filter(|path| path.to_string_lossy().ends_with(&suffix)).max();
        let bytes = std::fs::read(last.unwrap_or_else(|| panic!("no call `{name}`"))).expect("read a call");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}
