//! What the probe wrote (`executor-config/helper-image/rootfs/opt/airlock/probe`), and what it means.
//!
//! The probe is our own, but it runs beside the job: its words are untrusted and bounded.

use std::collections::BTreeMap;

use super::{Check, CheckId};
use crate::domain::sandbox::Sandbox;

/// Largest output that is read.
const MAX_BYTES: usize = 512 * 1024;
/// Most lines that are read.
const MAX_LINES: usize = 10_000;
/// Longest value that a reason quotes.
const MAX_QUOTE: usize = 80;

/// Mount points that the container runtime makes itself.
const RUNTIME_MOUNTS: [&str; 14] = [
    "/",
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sbin/docker-init",
    "/sys",
    "/sys/firmware",
    "/sys/fs/cgroup",
    // The same file where `/sbin` is a link, as on Debian.
    "/usr/sbin/docker-init",
];
/// Directories below which the container runtime mounts what it hides, and nothing else can be mounted.
const RUNTIME_BELOW: [&str; 2] = ["/proc/", "/sys/fs/cgroup/"];

/// The facts that the probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measurement {
    complete: bool,
    broken: Option<String>,
    witness: bool,
    same_network: bool,
    listed: bool,
    dns_done: bool,
    interfaces: Vec<String>,
    routes4: Vec<String>,
    routes6: Vec<String>,
    unix_sockets: Vec<String>,
    status: BTreeMap<String, String>,
    mounts: Vec<(String, String)>,
    variables: Vec<String>,
    resolvers: Vec<(String, String)>,
    connections: Vec<(String, String)>,
}

impl Measurement {
    /// Reads the probe's output; whatever is wrong with it is kept and turns every check into one that
    /// was not measured.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        if bytes.len() > MAX_BYTES {
            found.broken = Some(format!("the probe wrote more than {MAX_BYTES} bytes"));
            return found;
        }
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        if lines.next() != Some("airlock-probe 1") {
            found.broken = Some("the probe did not begin with its name".to_owned());
            return found;
        }
        for (number, line) in lines.enumerate() {
            if number >= MAX_LINES {
                found.broken = Some(format!("the probe wrote more than {MAX_LINES} lines"));
                return found;
            }
            if found.complete || !found.take(line) {
                found.broken = Some(format!("the probe wrote what is no fact: `{}`", quoted(line)));
                return found;
            }
        }
        if !found.complete {
            found.broken = Some("the probe was cut off".to_owned());
        }
        found
    }

    fn take(&mut self, line: &str) -> bool {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let pair = || rest.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        match (word, rest) {
            ("witness", "found") => self.witness = true,
            ("namespace", "net same") => self.same_network = true,
            ("listed", "") => self.listed = true,
            ("complete", "") => self.complete = true,
            ("dns", "done") => self.dns_done = true,
            ("interface", _) => self.interfaces.push(rest.trim().to_owned()),
            ("route4", _) => self.routes4.push(rest.to_owned()),
            ("route6", _) => self.routes6.push(rest.to_owned()),
            ("unix", _) => self.unix_sockets.push(rest.to_owned()),
            ("env", _) => self.variables.push(rest.to_owned()),
            ("status", _) => {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                self.status.insert(key.to_owned(), value.to_owned());
            }
            ("mount", _) => {
                // proc(5), mountinfo: id, parent, device, root, mount point, options, …
                let fields: Vec<&str> = rest.split(' ').collect();
                let (Some(point), Some(options)) = (fields.get(4), fields.get(5)) else { return false };
                self.mounts.push(((*point).to_owned(), (*options).to_owned()));
            }
            ("dns", _) => match pair() {
                Some(pair) => self.resolvers.push(pair),
                None => return false,
            },
            ("connect", _) => match pair() {
                Some(pair) => self.connections.push(pair),
                None => return false,
            },
            _ => return false,
        }
        true
    }

    /// Judges the facts against the sandbox that was meant.
    pub fn checks(&self, sandbox: &Sandbox) -> Vec<Check> {
        let measured: [(CheckId, Result<Vec<String>, &str>); 12] = [
            (CheckId::OnlyLoopback, self.interfaces_beside_loopback()),
            (CheckId::NoRoute, self.network_fact(self.routes())),
            (CheckId::NoDns, self.answering_resolvers()),
            (CheckId::NoConnection, self.reached()),
            (CheckId::NoProxyVariables, self.proxy_variables()),
            (CheckId::UnprivilegedUser, self.other_user(sandbox)),
            (CheckId::NoCapability, self.capabilities()),
            (CheckId::NoNewPrivileges, self.status_is("NoNewPrivs", "1")),
            (CheckId::SeccompFilter, self.status_is("Seccomp", "2")),
            (CheckId::NoForeignMount, self.foreign_mounts(sandbox)),
            (CheckId::ReadOnlyRoot, self.writable_root()),
            (CheckId::NoSharedSocket, self.network_fact(self.unix_sockets.clone())),
        ];
        measured
            .into_iter()
            .map(|(id, found)| match (&self.broken, found) {
                (Some(broken), _) => Check::not_measured(id, broken.clone()),
                (None, Err(why)) => Check::not_measured(id, why),
                (None, Ok(against)) if against.is_empty() => Check::held(id),
                (None, Ok(against)) => Check::not_held(id, listed(&against)),
            })
            .collect()
    }

    fn network_fact(&self, against: Vec<String>) -> Result<Vec<String>, &'static str> {
        match (self.same_network, self.listed) {
            (true, true) => Ok(against),
            (false, _) => Err("the probe was not in the job's network namespace"),
            (_, false) => Err("the probe could not list the network"),
        }
    }

    fn interfaces_beside_loopback(&self) -> Result<Vec<String>, &'static str> {
        if !self.interfaces.iter().any(|name| name == "lo") {
            return Err("the probe saw no interface at all");
        }
        let others = self.interfaces.iter().filter(|name| *name != "lo");
        self.network_fact(others.map(|name| format!("interface `{}`", quoted(name))).collect())
    }

    fn routes(&self) -> Vec<String> {
        let others = self.routes6.iter().filter(|interface| *interface != "lo");
        self.routes4.iter().chain(others).map(|name| format!("route over `{}`", quoted(name))).collect()
    }

    fn answering_resolvers(&self) -> Result<Vec<String>, &'static str> {
        if !self.dns_done {
            return Err("the probe did not try name servers");
        }
        let answering = self
            .resolvers
            .iter()
            .filter(|(_, outcome)| !matches!(outcome.as_str(), "unreachable" | "refused" | "silent"));
        self.network_fact(
            answering.map(|(server, outcome)| format!("`{}`: {}", quoted(server), quoted(outcome))).collect(),
        )
    }

    fn reached(&self) -> Result<Vec<String>, &'static str> {
        if self.connections.is_empty() {
            return Err("the probe tried no address");
        }
        // On loopback, which is the job's own, a refusal is as good as no way; elsewhere it is an answer.
        let reached = self.connections.iter().filter(|(target, outcome)| {
            let loopback = target.starts_with("127.") || target.starts_with("[::1]");
            !(outcome == "unreachable" || loopback && outcome == "refused")
        });
        self.network_fact(
            reached.map(|(target, outcome)| format!("`{}`: {}", quoted(target), quoted(outcome))).collect(),
        )
    }

    fn witnessed(&self) -> Result<(), &'static str> {
        if self.witness { Ok(()) } else { Err("the probe did not find its witness in the job's container") }
    }

    fn proxy_variables(&self) -> Result<Vec<String>, &'static str> {
        self.witnessed()?;
        if self.variables.is_empty() {
            return Err("the probe could not read the environment");
        }
        let proxies = self.variables.iter().filter(|name| name.to_ascii_lowercase().ends_with("_proxy"));
        Ok(proxies.map(|name| format!("variable `{}`", quoted(name))).collect())
    }

    fn other_user(&self, sandbox: &Sandbox) -> Result<Vec<String>, &'static str> {
        self.witnessed()?;
        let mut against = Vec::new();
        for (key, wanted) in [("Uid", sandbox.user().uid()), ("Gid", sandbox.user().gid())] {
            let found = self.status.get(key).ok_or("the probe could not read the user")?;
            if found.split_whitespace().count() != 4
                || found.split_whitespace().any(|id| id != wanted.to_string())
            {
                against.push(format!("{key}: expected {wanted}, found {}", quoted(found)));
            }
        }
        Ok(against)
    }

    fn capabilities(&self) -> Result<Vec<String>, &'static str> {
        self.witnessed()?;
        let mut against = Vec::new();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let mask = self.status.get(set).ok_or("the probe could not read the capabilities")?;
            if mask.is_empty() || mask.bytes().any(|b| b != b'0') {
                against.push(format!("{set} is {}", quoted(mask)));
            }
        }
        Ok(against)
    }

    fn status_is(&self, key: &str, wanted: &str) -> Result<Vec<String>, &'static str> {
        self.witnessed()?;
        let found = self.status.get(key).ok_or("the probe could not read the process status")?;
        Ok(if found == wanted {
            Vec::new()
        } else {
            vec![format!("{key}: expected {wanted}, found {}", quoted(found))]
        })
    }

    fn foreign_mounts(&self, sandbox: &Sandbox) -> Result<Vec<String>, &'static str> {
        self.witnessed()?;
        if self.mounts.is_empty() {
            return Err("the probe could not read the mounts");
        }
        let declared = sandbox.mount_points();
        let foreign = self.mounts.iter().map(|(point, _)| point.as_str()).filter(|point| {
            !declared.contains(point)
                && !RUNTIME_MOUNTS.contains(point)
                && !RUNTIME_BELOW.iter().any(|directory| point.starts_with(directory))
        });
        Ok(foreign.map(|point| format!("mount at `{}`", quoted(point))).collect())
    }

    fn writable_root(&self) -> Result<Vec<String>, &'static str> {
        self.witnessed()?;
        let root = self.mounts.iter().rfind(|(point, _)| point == "/");
        let (_, options) = root.ok_or("the probe could not read the mounts")?;
        let read_only = options.split(',').any(|option| option == "ro");
        Ok(if read_only { Vec::new() } else { vec![format!("`/` is mounted {}", quoted(options))] })
    }
}

fn quoted(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_QUOTE).collect()
}

fn listed(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        text += &format!(" and {} more", items.len() - SHOWN);
    }
    text
}
