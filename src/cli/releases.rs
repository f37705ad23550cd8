//! Where the verbs about releases read from: host settings, a registry, or a directory of layouts.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{DEFAULT_SETTINGS, stores};
use crate::domain::image::{RegistryHost, Repository};
use crate::domain::trust::TrustPolicy;
use crate::failure::{Failure, Outcome};
use crate::registry::{ImageStore, ManifestReference};

/// Where releases are, and by which policy they are judged.
#[derive(Args)]
pub struct Source {
    /// Take store, prefix and trust policy from these host settings
    #[arg(long, default_value = DEFAULT_SETTINGS)]
    settings: PathBuf,
    /// Read from this directory of OCI image layouts instead
    #[arg(long, conflicts_with = "registry")]
    layout: Option<PathBuf>,
    /// Read from this registry instead
    #[arg(long)]
    registry: Option<RegistryHost>,
    /// Prefix of all repositories, with --layout or --registry
    #[arg(long)]
    prefix: Option<Repository>,
    /// Trust policy; default: the settings', else /etc/airlock/trust.toml
    #[arg(long)]
    trust: Option<PathBuf>,
    /// CA certificates of a registry with a private CA, in PEM form
    #[arg(long, requires = "registry")]
    ca: Option<PathBuf>,
    /// Credentials in the form of Docker's config.json, mode 0600
    #[arg(long, requires = "registry")]
    auth_file: Option<PathBuf>,
}

/// The opened source.
pub struct Opened {
    pub store: Arc<dyn ImageStore>,
    pub policy: TrustPolicy,
    pub prefix: Option<Repository>,
    pub state_dir: PathBuf,
}

impl Source {
    /// Opens store and policy; nothing is read yet.
    pub fn open(&self) -> Outcome<Opened> {
        let trust = |other: PathBuf| self.trust.clone().unwrap_or(other);
        let default_trust = || PathBuf::from("/etc/airlock/trust.toml");
        if let Some(directory) = &self.layout {
            return Ok(Opened {
                store: stores::open_layout(directory.clone())?,
                policy: stores::read_policy(&trust(default_trust()))?,
                prefix: self.prefix.clone(),
                state_dir: state_dir()?,
            });
        }
        if let Some(host) = &self.registry {
            return Ok(Opened {
                store: stores::open_registry(host, self.ca.clone(), self.auth_file.clone(), &|_| ())?,
                policy: stores::read_policy(&trust(default_trust()))?,
                prefix: self.prefix.clone(),
                state_dir: state_dir()?,
            });
        }
        let settings = super::read_settings(&self.settings)?;
        Ok(Opened {
            store: stores::open_store(&settings.store.place, &|_| ())?,
            policy: stores::read_policy(&trust(settings.trust.clone()))?,
            prefix: settings.store.prefix.clone(),
            state_dir: settings.state_dir.clone(),
        })
    }
}

/// Where promotions of this user wait for each other, `airlock try`'s among them.
fn state_dir() -> Outcome<PathBuf> {
    let directory = super::try_job::local_state_dir()?;
    std::fs::create_dir_all(&directory).map_err(|error| {
        Failure::system(format!("cannot create `{}`", directory.display())).because(error)
    })?;
    Ok(directory)
}

/// Reads `candidate`, a version or a digest.
pub fn reference(text: &str) -> Outcome<ManifestReference> {
    if text.starts_with("sha256:") {
        return text.parse().map(ManifestReference::Digest).map_err(|error| {
            Failure::usage(format!("`{}` names no release", crate::job_log::printable(text))).because(error)
        });
    }
    text.parse().map(ManifestReference::Tag).map_err(|error| {
        Failure::usage(format!("`{}` names no release", crate::job_log::printable(text)))
            .because(error)
            .hint("give a version such as `2.3.0-r42`, a digest, or `candidate`")
    })
}
