//! The sealed description of one container: what it may reach is written here and nowhere else.
//!
//! A [`Sandbox`] is checked once and cannot be changed. [`Sandbox::to_create_request`] is the whole
//! body of the engine's create call; its snapshot is the page that shows what hermetic means.
//! There is no way to describe a privileged container, a host path, a device or an added capability.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

mod request;
mod seccomp;
#[cfg(test)]
mod tests;

pub use seccomp::{NotASeccompProfile, SeccompProfile};

/// Where the read-only tools volume is mounted in every container.
pub const TOOLS_DIRECTORY: &str = "/.airlock";
/// The static busybox of the tools volume: the only program that Airlock itself starts in a container.
pub const TOOLS_BUSYBOX: &str = "/.airlock/bin/busybox";
/// The writable home directory, a small tmpfs.
pub const HOME_DIRECTORY: &str = "/home/airlock";
/// The host name in every container.
pub const HOST_NAME: &str = "airlock";
/// A name server that cannot answer (RFC 5737): outside names stay unknown on a closed network.
pub const SILENT_RESOLVER: &str = "192.0.2.1";
/// The uid and gid of PID 1 and the idle process: not the job's, so that the job cannot signal them
/// and a signal to all of the job's processes spares them. It owns nothing.
pub const IDLE_UID: u32 = 65534;

/// Why a description is not a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    #[error("`{uid}:{gid}` is no user for a sandbox: expected numbers from 1 to {}", IDLE_UID - 1)]
    User { uid: u32, gid: u32 },
    #[error("`{0}` is no mount point: expected an absolute path below `/` without `.`, `..` or `:`")]
    Target(String),
    #[error("two things are mounted at `{0}`")]
    TargetTwice(String),
    #[error("`{0}` is no volume, network or container name")]
    Name(String),
    #[error("the environment variable `{0}` is fixed by the sandbox or is not a name")]
    Environment(String),
    #[error("the limit `{0}` must be greater than zero")]
    Limit(&'static str),
}

/// An unprivileged numeric user; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct SandboxUser {
    uid: u32,
    gid: u32,
}

impl SandboxUser {
    /// Creates a user; 0 and the idle process's own number are refused.
    pub fn new(uid: u32, gid: u32) -> Result<Self, SandboxError> {
        let allowed = 1..IDLE_UID;
        if allowed.contains(&uid) && allowed.contains(&gid) {
            Ok(Self { uid, gid })
        } else {
            Err(SandboxError::User { uid, gid })
        }
    }

    /// Returns the user number.
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// Returns the group number.
    pub fn gid(self) -> u32 {
        self.gid
    }
}

impl TryFrom<(u32, u32)> for SandboxUser {
    type Error = SandboxError;

    fn try_from((uid, gid): (u32, u32)) -> Result<Self, SandboxError> {
        Self::new(uid, gid)
    }
}

impl From<SandboxUser> for (u32, u32) {
    fn from(user: SandboxUser) -> Self {
        (user.uid, user.gid)
    }
}

impl std::fmt::Display for SandboxUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// What a container can reach over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxNetwork {
    /// Only its own loopback.
    None,
    /// Only the named network.
    Only(String),
    /// The engine's default bridge and so the world: the helper's, never a job's.
    Open,
    /// The network and process namespaces of another container: the probe's.
    Beside(String),
}

/// Whether a volume may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// A volume and where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeMount {
    pub volume: String,
    pub target: String,
    pub access: Access,
}

/// What a container may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, what is written to any tmpfs included; swap is never added.
    pub memory_bytes: u64,
    /// Processors, in thousandths.
    pub cpu_millis: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Size of `/tmp`.
    pub tmp_bytes: u64,
    /// Size of `/dev/shm`.
    pub shm_bytes: u64,
    /// Size of the home directory.
    pub home_bytes: u64,
    /// Open files of one process.
    pub open_files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            memory_bytes: 4096 * MIB,
            cpu_millis: 2000,
            pids: 1024,
            tmp_bytes: 512 * MIB,
            shm_bytes: 64 * MIB,
            home_bytes: 64 * MIB,
            open_files: 16_384,
        }
    }
}

/// What [`Sandbox::seal`] checks; its fields are only a form to fill in.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// The immutable image id, never a tag.
    pub image: Digest,
    /// The user of everything that is executed.
    pub user: SandboxUser,
    pub network: SandboxNetwork,
    /// The volume with [`TOOLS_BUSYBOX`], mounted read-only at [`TOOLS_DIRECTORY`].
    pub tools_volume: String,
    pub mounts: Vec<VolumeMount>,
    pub limits: Limits,
    pub seccomp: SeccompProfile,
    /// `SOURCE_DATE_EPOCH`: the commit's time in seconds.
    pub source_date_epoch: u64,
    /// Further variables; those that the sandbox fixes are refused.
    pub env: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// One sealed container, described.
#[derive(Debug, Clone)]
pub struct Sandbox {
    spec: SandboxSpec,
}

/// Variables of the image that would lead a program out of the sandbox; removed from its environment.
const PROXY_VARIABLES: [&str; 10] = [
    "ALL_PROXY",
    "FTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ftp_proxy",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

impl Sandbox {
    /// Checks the description and seals it.
    pub fn seal(spec: SandboxSpec) -> Result<Self, SandboxError> {
        let mut targets = vec!["/tmp", "/dev/shm", HOME_DIRECTORY, TOOLS_DIRECTORY];
        for mount in &spec.mounts {
            check_name(&mount.volume)?;
            check_target(&mount.target)?;
            if targets.contains(&mount.target.as_str()) {
                return Err(SandboxError::TargetTwice(mount.target.clone()));
            }
            targets.push(&mount.target);
        }
        check_name(&spec.tools_volume)?;
        match &spec.network {
            SandboxNetwork::None | SandboxNetwork::Open => {}
            SandboxNetwork::Only(name) | SandboxNetwork::Beside(name) => check_name(name)?,
        }
        // These names of the engine's are modes and not networks: `host` would be no sandbox at all.
        if let SandboxNetwork::Only(name) = &spec.network
            && matches!(name.as_str(), "host" | "bridge" | "none" | "default" | "container")
        {
            return Err(SandboxError::Name(name.clone()));
        }
        for name in spec.env.keys() {
            check_variable(name)?;
        }
        let limits = [
            ("memory_bytes", spec.limits.memory_bytes),
            ("cpu_millis", spec.limits.cpu_millis),
            ("pids", spec.limits.pids.into()),
            ("tmp_bytes", spec.limits.tmp_bytes),
            ("shm_bytes", spec.limits.shm_bytes),
            ("home_bytes", spec.limits.home_bytes),
            ("open_files", spec.limits.open_files.into()),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, value)| *value == 0) {
            return Err(SandboxError::Limit(name));
        }
        Ok(Self { spec })
    }

    /// Returns the probe of this sandbox as it runs in `container`: the helper image with the same
    /// user, filter and limits, inside the container's network and process namespaces, no volume.
    pub fn probe_beside(&self, container: &str, helper_image: Digest) -> Result<Self, SandboxError> {
        Self::seal(SandboxSpec {
            image: helper_image,
            network: SandboxNetwork::Beside(container.to_owned()),
            mounts: Vec::new(),
            env: BTreeMap::new(),
            ..self.spec.clone()
        })
    }

    /// Returns the image id.
    pub fn image(&self) -> &Digest {
        &self.spec.image
    }

    /// Returns the user of everything that is executed.
    pub fn user(&self) -> SandboxUser {
        self.spec.user
    }

    /// Returns what the container can reach.
    pub fn network(&self) -> &SandboxNetwork {
        &self.spec.network
    }

    /// Returns the labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.spec.labels
    }

    /// Returns every mount point that the description declares, in byte order.
    pub fn mount_points(&self) -> Vec<&str> {
        let mut points = vec!["/tmp", "/dev/shm", HOME_DIRECTORY, TOOLS_DIRECTORY];
        points.extend(self.spec.mounts.iter().map(|mount| mount.target.as_str()));
        points.sort_unstable();
        points
    }

    /// Returns the fixed environment; an empty value stands for a variable that is removed.
    pub fn environment(&self) -> Vec<String> {
        let mut variables: BTreeMap<&str, String> = BTreeMap::new();
        for (name, value) in &self.spec.env {
            variables.insert(name, format!("{name}={value}"));
        }
        for (name, value) in fixed_variables(self.spec.source_date_epoch) {
            variables.insert(name, format!("{name}={value}"));
        }
        // A name without `=` takes the image's own variable away.
        for name in PROXY_VARIABLES {
            variables.insert(name, name.to_owned());
        }
        variables.into_values().collect()
    }
}

fn fixed_variables(source_date_epoch: u64) -> [(&'static str, String); 5] {
    [
        ("HOME", HOME_DIRECTORY.to_owned()),
        ("HOSTNAME", HOST_NAME.to_owned()),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("SOURCE_DATE_EPOCH", source_date_epoch.to_string()),
        ("TZ", "UTC".to_owned()),
    ]
}

fn check_name(name: &str) -> Result<(), SandboxError> {
    let bytes = name.as_bytes();
    let valid = (2..=128).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if valid { Ok(()) } else { Err(SandboxError::Name(shown(name))) }
}

fn check_target(target: &str) -> Result<(), SandboxError> {
    let valid = target.len() <= 1024
        && target
            .strip_prefix('/')
            .is_some_and(|path| path.split('/').all(|part| !part.is_empty() && part != "." && part != ".."))
        && !target.contains(':')
        && !target.chars().any(char::is_control);
    if valid { Ok(()) } else { Err(SandboxError::Target(shown(target))) }
}

fn check_variable(name: &str) -> Result<(), SandboxError> {
    let is_name = !name.is_empty()
        && name.len() <= 128
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let fixed = PROXY_VARIABLES.contains(&name) || fixed_variables(0).iter().any(|(fixed, _)| *fixed == name);
    if is_name && !fixed { Ok(()) } else { Err(SandboxError::Environment(shown(name))) }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}
