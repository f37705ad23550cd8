//! Looks for secrets wherever a job could: containers, their processes, Airlock's arguments, logs, state.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::staging::Host;

/// What a watch found, and what it looked at, so that an empty find means something.
#[derive(Default)]
pub struct Sightings {
    /// `where: which secret`.
    pub found: BTreeSet<String>,
    /// Names of containers that were inspected.
    pub containers: BTreeSet<String>,
    /// Stages of the driver whose arguments were read.
    pub drivers: BTreeSet<String>,
}

/// Looks until `stop`; `secrets` are pairs of a name and a value.
pub fn watch(host: &Host, key: &str, secrets: &[(&str, String)], stop: &AtomicBool) -> Sightings {
    let mut seen = Sightings::default();
    while !stop.load(Ordering::SeqCst) {
        look_at_containers(key, secrets, &mut seen);
        look_at_driver(host, secrets, &mut seen);
        look_at_files(&host.path("state"), secrets, &mut seen);
        // Each round starts a few docker clients; the job needs the processors too.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    seen
}

fn note(place: &str, text: &str, secrets: &[(&str, String)], seen: &mut Sightings) {
    for (name, secret) in secrets {
        if text.contains(secret.as_str()) {
            seen.found.insert(format!("{place}: {name}"));
        }
    }
}

fn look_at_containers(key: &str, secrets: &[(&str, String)], seen: &mut Sightings) {
    // A container may be gone between two of these calls.
    let said = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().expect("the docker client");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let label = format!("label=airlock.job={key}");
    for name in said(&["ps", "--all", "--filter", &label, "--format", "{{.Names}}"]).lines() {
        let part = name.rsplit('-').next().unwrap_or(name).to_owned();
        note(&format!("inspect of {part}"), &said(&["inspect", name]), secrets, seen);
        // GitLab's own get_sources puts the job's token into git's arguments; nothing of Airlock's may.
        let own: Vec<_> =
            secrets.iter().filter(|(name, _)| part != "helper" || *name != "job token").cloned().collect();
        note(&format!("processes of {part}"), &said(&["top", name, "-eo", "pid,args"]), &own, seen);
        seen.containers.insert(part);
    }
}

fn look_at_driver(host: &Host, secrets: &[(&str, String)], seen: &mut Sightings) {
    let settings = host.settings.display().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if arguments.contains(&settings) {
            note("the driver's arguments", &arguments, secrets, seen);
            seen.drivers.extend(arguments.split(' ').nth(2).map(str::to_owned));
        }
    }
}

fn look_at_files(directory: &Path, secrets: &[(&str, String)], seen: &mut Sightings) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => look_at_files(&path, secrets, seen),
            Ok(kind) if kind.is_file() && entry.metadata().is_ok_and(|meta| meta.len() < 1 << 20) => {
                let bytes = fs::read(&path).unwrap_or_default();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                note(&format!("file {name}"), &String::from_utf8_lossy(&bytes), secrets, seen);
            }
            _ => {}
        }
    }
}
