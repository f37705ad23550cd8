//! Host settings `/etc/airlock/host.toml`: typed, then checked once.
//!
//! Nothing that a repository configures can weaken what stands here. This module parses text; the
//! caller reads the file.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use crate::domain::hub::HubRule;
use crate::domain::image::{NamePattern, PinnedImage, RegistryHost, Repository};
use crate::domain::job::PublishRule;
use crate::failure::Failure;

mod hub;
mod publish;

/// Largest settings file, in bytes.
pub const MAX_SETTINGS_BYTES: u64 = 64 * 1024;

/// The one schema number that is understood.
const SCHEMA: i64 = 1;

/// Where distributions install Docker Compose v2.
pub const DEFAULT_COMPOSE: &str = "/usr/libexec/docker/cli-plugins/docker-compose";

/// Host settings that were checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub engine_socket: String,
    pub store: StoreSettings,
    pub keys: KeySettings,
    pub gitlab: GitLabSettings,
    pub images: ImageSettings,
    pub helper: HelperSettings,
    pub sandbox: SandboxLimits,
    pub publish: Vec<PublishRule>,
    /// The hub whose green job promotes; its presence means that there is a release key.
    pub hub: Option<HubRule>,
    /// Docker Compose v2 on the host, which only ever reads what Airlock itself wrote.
    pub compose_program: PathBuf,
    pub builder_id: String,
    pub state_dir: PathBuf,
    pub trust: PathBuf,
}

/// Where images go, and the prefix below which all repositories stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    pub place: StorePlace,
    pub prefix: Option<Repository>,
}

/// A remote registry or an OCI layout directory, never both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlace {
    Registry { host: RegistryHost, ca: Option<PathBuf>, auth_file: Option<PathBuf> },
    Layout(PathBuf),
}

/// URLs of the three keys and where their password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    pub image: String,
    pub attestation: String,
    pub release: Option<String>,
    pub password_file: Option<PathBuf>,
}

/// The GitLab instance whose jobs run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitLabSettings {
    pub url: Url,
    pub ca: Option<PathBuf>,
    /// An API token for commit statuses, in a file of mode 0600.
    pub status_token_file: Option<PathBuf>,
}

/// Which images jobs and builds may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSettings {
    pub allow: Vec<NamePattern>,
    pub default: Option<PinnedImage>,
}

impl ImageSettings {
    /// Returns whether the image's name is on the list; the default image always is.
    pub fn allows(&self, image: &PinnedImage) -> bool {
        self.default.as_ref() == Some(image)
            || self.allow.iter().any(|pattern| pattern.matches(&image.name()))
    }
}

/// The container that runs GitLab's own scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperSettings {
    pub image: PinnedImage,
    pub gitlab_runner: Option<PathBuf>,
}

/// Limits of one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Numeric user and group id of every process in a sandbox.
    pub uid: u32,
    pub memory_mib: u64,
    pub cpus: u32,
    pub pids: u32,
    pub workspace_mib: u64,
    pub tmp_mib: u64,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self { uid: 1000, memory_mib: 4096, cpus: 2, pids: 1024, workspace_mib: 4096, tmp_mib: 512 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    schema: i64,
    #[serde(default)]
    engine: RawEngine,
    store: RawStore,
    keys: RawKeys,
    gitlab: RawGitLab,
    #[serde(default)]
    images: RawImages,
    helper: RawHelper,
    #[serde(default)]
    sandbox: RawSandbox,
    #[serde(default)]
    publish: Vec<publish::RawPublish>,
    hub: Option<hub::RawHub>,
    provenance: RawProvenance,
    state_dir: Option<PathBuf>,
    trust: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawEngine {
    socket: Option<String>,
    compose: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    registry: Option<RegistryHost>,
    layout: Option<PathBuf>,
    prefix: Option<Repository>,
    ca: Option<PathBuf>,
    auth_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    image: String,
    attestation: String,
    release: Option<String>,
    password_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGitLab {
    url: Url,
    ca: Option<PathBuf>,
    status_token_file: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawImages {
    #[serde(default)]
    allow: Vec<String>,
    default: Option<PinnedImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHelper {
    image: PinnedImage,
    gitlab_runner: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSandbox {
    uid: Option<u32>,
    memory_mib: Option<u64>,
    cpus: Option<u32>,
    pids: Option<u32>,
    workspace_mib: Option<u64>,
    tmp_mib: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvenance {
    builder_id: String,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{0}")]
    Toml(String),
    #[error("`schema` is {found}, expected {SCHEMA}")]
    Schema { found: i64 },
    #[error("`{key}` is {found}, expected {expected}")]
    Value { key: String, found: String, expected: &'static str },
}

impl SettingsError {
    /// Turns the error into what the administrator reads.
    pub fn into_failure(self, file: &str) -> Failure {
        Failure::usage(format!("cannot use the host settings `{file}`")).because(self).hint(
            "for the runner's administrator: `executor-config/host.toml` shows every key with its meaning",
        )
    }
}

impl Settings {
    /// Parses and checks the text of a host settings file.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let raw: RawSettings = toml::from_str(text).map_err(|e| SettingsError::Toml(e.to_string()))?;
        raw.check()
    }
}

fn value(key: impl Into<String>, found: impl std::fmt::Display, expected: &'static str) -> SettingsError {
    SettingsError::Value { key: key.into(), found: found.to_string(), expected }
}

fn absolute(key: &str, path: Option<PathBuf>) -> Result<Option<PathBuf>, SettingsError> {
    match path {
        Some(path) if !path.is_absolute() => {
            Err(value(key, format!("`{}`", path.display()), "an absolute path"))
        }
        path => Ok(path),
    }
}

impl RawSettings {
    fn check(self) -> Result<Settings, SettingsError> {
        if self.schema != SCHEMA {
            return Err(SettingsError::Schema { found: self.schema });
        }
        let store = self.store.check()?;
        let limits = self.sandbox.check()?;
        let publish = publish::check(self.publish)?;
        let hub = hub::check(self.hub, &publish, self.keys.release.as_ref())?;
        if !matches!(self.gitlab.url.scheme(), "http" | "https") || self.gitlab.url.host_str().is_none() {
            return Err(value("gitlab.url", format!("`{}`", self.gitlab.url), "an http or https URL"));
        }
        if Url::parse(&self.provenance.builder_id).is_err() {
            return Err(value("provenance.builder_id", format!("`{}`", self.provenance.builder_id), "a URI"));
        }
        for pattern in &self.images.allow {
            let host = pattern.split('/').next().unwrap_or_default();
            if host.contains('*') || !pattern.contains('/') {
                return Err(value(
                    "images.allow",
                    format!("`{pattern}`"),
                    "a literal registry host followed by a pattern, as in `registry.example:5000/base/*`",
                ));
            }
        }
        Ok(Settings {
            engine_socket: self.engine.socket.unwrap_or_else(|| "unix:///var/run/docker.sock".into()),
            store,
            keys: KeySettings {
                image: self.keys.image,
                attestation: self.keys.attestation,
                release: self.keys.release,
                password_file: absolute("keys.password_file", self.keys.password_file)?,
            },
            gitlab: GitLabSettings {
                url: self.gitlab.url,
                ca: absolute("gitlab.ca", self.gitlab.ca)?,
                status_token_file: absolute("gitlab.status_token_file", self.gitlab.status_token_file)?,
            },
            images: ImageSettings {
                allow: self.images.allow.into_iter().map(NamePattern::new).collect(),
                default: self.images.default,
            },
            helper: HelperSettings {
                image: self.helper.image,
                gitlab_runner: absolute("helper.gitlab_runner", self.helper.gitlab_runner)?,
            },
            sandbox: limits,
            publish,
            hub,
            compose_program: absolute("engine.compose", self.engine.compose)?
                .unwrap_or_else(|| DEFAULT_COMPOSE.into()),
            builder_id: self.provenance.builder_id,
            state_dir: absolute("state_dir", self.state_dir)?.unwrap_or_else(|| "/var/lib/airlock".into()),
            trust: absolute("trust", self.trust)?.unwrap_or_else(|| "/etc/airlock/trust.toml".into()),
        })
    }
}

impl RawStore {
    fn check(self) -> Result<StoreSettings, SettingsError> {
        let place = match (self.registry, self.layout) {
            (Some(host), None) => StorePlace::Registry {
                host,
                ca: absolute("store.ca", self.ca)?,
                auth_file: absolute("store.auth_file", self.auth_file)?,
            },
            (None, Some(dir)) => {
                if let Some(key) = self.ca.map(|_| "ca").or(self.auth_file.map(|_| "auth_file")) {
                    return Err(value(format!("store.{key}"), "set", "nothing beside `store.layout`"));
                }
                StorePlace::Layout(absolute("store.layout", Some(dir))?.expect("a path was given"))
            }
            (Some(_), Some(_)) => {
                return Err(value(
                    "store",
                    "`registry` and `layout`",
                    "exactly one of `registry` and `layout`",
                ));
            }
            (None, None) => {
                return Err(value("store", "neither", "exactly one of `registry` and `layout`"));
            }
        };
        Ok(StoreSettings { place, prefix: self.prefix })
    }
}

impl RawSandbox {
    fn check(self) -> Result<SandboxLimits, SettingsError> {
        let default = SandboxLimits::default();
        let limits = SandboxLimits {
            uid: self.uid.unwrap_or(default.uid),
            memory_mib: self.memory_mib.unwrap_or(default.memory_mib),
            cpus: self.cpus.unwrap_or(default.cpus),
            pids: self.pids.unwrap_or(default.pids),
            workspace_mib: self.workspace_mib.unwrap_or(default.workspace_mib),
            tmp_mib: self.tmp_mib.unwrap_or(default.tmp_mib),
        };
        if limits.uid == 0 {
            return Err(value("sandbox.uid", 0, "an unprivileged user id, 1 or more"));
        }
        for (key, number, least) in [
            ("sandbox.memory_mib", limits.memory_mib, 64),
            ("sandbox.cpus", u64::from(limits.cpus), 1),
            ("sandbox.pids", u64::from(limits.pids), 16),
            ("sandbox.workspace_mib", limits.workspace_mib, 16),
            ("sandbox.tmp_mib", limits.tmp_mib, 16),
        ] {
            if number < least || number > 1 << 24 {
                return Err(value(
                    key,
                    number,
                    "a number in MiB, or a count, within what a host can have (at least 64 MiB of memory, 16 MiB of disk, 16 processes, 1 cpu)",
                ));
            }
        }
        Ok(limits)
    }
}
