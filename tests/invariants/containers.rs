//! What the containers of a running job carry, as the engine and the kernel tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Everything that was ever seen of one job's containers, by the part of the name behind the key.
#[derive(Default)]
pub struct Seen {
    pub inspected: BTreeMap<String, Value>,
    /// Command lines and environments of processes inside, by container.
    pub processes: BTreeMap<String, String>,
    ids: BTreeMap<String, String>,
    /// Keys of the jobs that were looked at: other tests have jobs with the same numbers.
    pub keys: BTreeSet<String>,
}

impl Seen {
    /// Looks at the containers of the jobs in `state` as they are now.
    pub fn look(&mut self, state: &Path) {
        for job in fs::read_dir(state.join("jobs")).into_iter().flatten().flatten() {
            self.keys.insert(job.file_name().to_string_lossy().into_owned());
        }
        let format = "{{.ID}} {{.Names}}";
        let listed = docker(&["ps", "--no-trunc", "--filter", "label=airlock.job", "--format", format]);
        for line in listed.lines() {
            let (id, name) = line.split_once(' ').expect("an id and a name");
            let part = |key: &String| name.strip_prefix(&format!("airlock-{key}-")).map(str::to_owned);
            let Some(part) = self.keys.iter().find_map(part) else { continue };
            if self.ids.insert(id.to_owned(), part.clone()).is_none() {
                // It may be gone by now; another look sees the next one.
                let found: Value = serde_json::from_str(&docker(&["inspect", id])).unwrap_or_default();
                if found[0].is_object() {
                    self.inspected.insert(part, found[0].clone());
                }
            }
        }
        for process in fs::read_dir("/proc").expect("/proc").flatten() {
            let read = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
            let group = String::from_utf8_lossy(&read("cgroup")).into_owned();
            let Some((_, part)) = self.ids.iter().find(|(id, _)| group.contains(id.as_str())) else {
                continue;
            };
            let said = self.processes.entry(part.clone()).or_default();
            for bytes in [read("cmdline"), read("environ")] {
                let text = String::from_utf8_lossy(&bytes).replace('\0', "\n");
                if !said.contains(&text) {
                    said.push_str(&text);
                }
            }
        }
    }

    /// Returns what of the jobs is still in the engine.
    pub fn left(&self) -> Vec<String> {
        let of = |what: &[&str], key: &String| -> Vec<String> {
            let filter = format!("label=airlock.job={key}");
            docker(&[what, &["--filter", &filter]].concat()).lines().map(str::to_owned).collect()
        };
        let all =
            |key| [of(&["ps", "--all", "--quiet"], key), of(&["volume", "ls", "--quiet"], key)].concat();
        self.keys.iter().flat_map(all).collect()
    }

    /// Panics where a container mounts a host path, has a device or a power, or carries one of `secrets`.
    pub fn assert_closed(&self, secrets: &[&str]) {
        for (part, container) in &self.inspected {
            let host = &container["HostConfig"];
            for list in ["Binds", "Devices", "DeviceRequests", "CapAdd", "VolumesFrom", "PortBindings"] {
                let empty = match &host[list] {
                    Value::Null => true,
                    Value::Array(items) => items.is_empty(),
                    Value::Object(items) => items.is_empty(),
                    _ => false,
                };
                assert!(empty, "{part}: {list} is {}", host[list]);
            }
            assert_eq!(host["Privileged"], false, "{part}");
            assert_eq!(host["ReadonlyRootfs"], true, "{part}");
            for mount in container["Mounts"].as_array().expect("mounts") {
                assert_eq!(mount["Type"], "volume", "{part}: {mount}");
                let labelled = docker(&["volume", "inspect", mount["Name"].as_str().expect("a name")]);
                let options =
                    serde_json::from_str::<Value>(&labelled).unwrap_or_default()[0]["Options"].clone();
                assert_ne!(options["type"], "none", "{part}: a volume that is a host path: {options}");
                assert_ne!(options["o"], "bind", "{part}: a volume that is a host path: {options}");
            }
            let text = container.to_string();
            let processes = self.processes.get(part).map(String::as_str).unwrap_or_default();
            for secret in secrets {
                assert!(!text.contains(secret), "{part} carries a secret in its description");
                assert!(!processes.contains(secret), "{part} carries a secret in a process");
            }
        }
    }
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the docker client");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
