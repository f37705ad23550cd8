//! Opens the adapters that settings and arguments name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::delivery::sign;
use crate::domain::image::RegistryHost;
use crate::domain::trust::TrustPolicy;
use crate::failure::{Failure, Outcome};
use crate::keys::{self, Signer};
use crate::registry::ImageStore;
use crate::registry::layout::LayoutDirectory;
use crate::registry::remote::{RemoteRegistry, RemoteSettings, RetryPolicy};
use crate::settings::{KeySettings, StorePlace};

/// Told every secret that is read, so that a log can mask it.
pub type Mask<'a> = &'a dyn Fn(&str);

/// Opens the place where images are kept.
pub fn open_store(place: &StorePlace, mask: Mask<'_>) -> Outcome<Arc<dyn ImageStore>> {
    match place {
        StorePlace::Layout(directory) => Ok(Arc::new(LayoutDirectory::open(directory.clone())?)),
        StorePlace::Registry { host, ca, auth_file } => {
            open_registry(host, ca.clone(), auth_file.clone(), mask)
        }
    }
}

/// Opens a directory of layouts that a person named; one that is not there is a slip, not an empty store.
pub fn open_layout(directory: PathBuf) -> Outcome<Arc<dyn ImageStore>> {
    if !directory.is_dir() {
        return Err(Failure::usage(format!("cannot read the layout `{}`", directory.display()))
            .because("there is no such directory")
            .hint("give the directory that `[store] layout` or `airlock try --layout` names"));
    }
    open_store(&StorePlace::Layout(directory), &|_| ())
}

/// Opens a remote registry.
pub fn open_registry(
    host: &RegistryHost,
    ca: Option<PathBuf>,
    auth_file: Option<PathBuf>,
    mask: Mask<'_>,
) -> Outcome<Arc<dyn ImageStore>> {
    let settings = RemoteSettings { host: host.clone(), ca, auth_file, retry: RetryPolicy::default() };
    let registry = RemoteRegistry::connect(settings)?;
    if let Some(password) = registry.password() {
        mask(password);
    }
    Ok(Arc::new(registry))
}

/// The signers of a host: a delivery needs the first two, a promotion the last two.
pub struct Signers {
    pub image: Box<dyn Signer>,
    pub attestation: Box<dyn Signer>,
    pub release: Option<Box<dyn Signer>>,
}

/// Opens the keys that the host settings name.
pub fn open_signers(settings: &KeySettings, mask: Mask<'_>) -> Outcome<Signers> {
    let password = match &settings.password_file {
        Some(path) => super::key::password_of(path)?,
        None => super::key::password_of_environment().unwrap_or_else(|| Zeroizing::new(String::new())),
    };
    mask(&password);
    let release = match &settings.release {
        Some(url) => Some(keys::open(url, password.clone())?),
        None => None,
    };
    let signers = Signers {
        image: keys::open(&settings.image, password.clone())?,
        attestation: keys::open(&settings.attestation, password)?,
        release,
    };
    // Told before anything runs, and once more where it would do harm.
    sign::different_keys(signers.attestation.as_ref(), signers.image.as_ref())?;
    Ok(signers)
}

/// Reads and checks a trust policy and the public keys that it names.
pub fn read_policy(path: &Path) -> Outcome<TrustPolicy> {
    let text = super::read_small(path, "the trust policy").map_err(|failure| {
        failure.hint("name one with --trust; `executor-config/trust.toml` is one to start from")
    })?;
    let file = path.display().to_string();
    let directory = path.parent().unwrap_or(Path::new("/"));
    let read_key = |name: &str| std::fs::read_to_string(directory.join(name));
    Ok(TrustPolicy::parse(&text, &file, &read_key)?)
}
