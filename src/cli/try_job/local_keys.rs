//! Throw-away keys and the trust policy that goes with them, so that what a try made can be verified.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::stores::{self, Mask, Signers};
use crate::domain::evidence::provenance::LOCAL_BUILDER_ID;
use crate::domain::trust::TrustPolicy;
use crate::executor::staging::Delivered;
use crate::executor::summary;
use crate::failure::{Failure, Outcome};
use crate::keys::file::{self, FileSigner};
use crate::settings::{Settings, StorePlace};

/// Signers with the policy that trusts them.
pub struct TryKeys {
    pub signers: Signers,
    pub policy: TrustPolicy,
    policy_file: PathBuf,
}

impl TryKeys {
    /// Returns the command that verifies the first image.
    pub fn verify_command(&self, settings: &Settings, delivered: &Delivered) -> String {
        let trust = self.policy_file.to_string_lossy();
        let mut options = vec!["--trust", &*trust];
        let (ca, auth_file) = match &settings.store.place {
            StorePlace::Layout(_) => (None, None),
            StorePlace::Registry { ca, auth_file, .. } => (ca.as_ref(), auth_file.as_ref()),
        };
        let (ca, auth_file) =
            (ca.map(|path| path.to_string_lossy()), auth_file.map(|path| path.to_string_lossy()));
        if let Some(path) = &ca {
            options.extend(["--ca", path]);
        }
        if let Some(path) = &auth_file {
            options.extend(["--auth-file", path]);
        }
        summary::verify_command(&settings.store.place, &options, delivered)
    }
}

impl TryKeys {
    /// Returns the command that shows the release of a platform.
    pub fn release_command(&self, settings: &Settings, platform: &str) -> String {
        let trust = self.policy_file.to_string_lossy();
        let words = ["airlock", "release", "show", "--trust", &*trust].map(str::to_owned);
        let place = match &settings.store.place {
            StorePlace::Layout(directory) => vec!["--layout".to_owned(), directory.display().to_string()],
            StorePlace::Registry { host, .. } => vec!["--registry".to_owned(), host.to_string()],
        };
        let words = words.into_iter().chain(place).chain([platform.to_owned()]);
        words.map(|word| summary::quoted(&word)).collect::<Vec<_>>().join(" ")
    }
}

/// Opens the keys that the host settings name.
pub fn of_settings(settings: &Settings, mask: Mask<'_>) -> Outcome<TryKeys> {
    Ok(TryKeys {
        signers: stores::open_signers(&settings.keys, mask)?,
        policy: stores::read_policy(&settings.trust)?,
        policy_file: settings.trust.clone(),
    })
}

/// Makes a pair for each use in `directory`, or takes the pairs that an earlier try left there.
pub fn throw_away(directory: Option<&Path>, settings: &Settings) -> Outcome<TryKeys> {
    let directory = match directory {
        Some(path) => super::clean_absolute(path).map_err(|e| unusable(path, &e))?,
        None => settings.state_dir.join("keys"),
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(&directory).map_err(|e| unusable(&directory, &e))?;
    let image = pair(&directory, "image")?;
    let attestation = pair(&directory, "attestation")?;
    let release = pair(&directory, "release")?;
    let policy_file = directory.join("trust.toml");
    std::fs::write(&policy_file, policy_text()).map_err(|e| unusable(&directory, &e))?;
    Ok(TryKeys {
        signers: Signers {
            image: Box::new(image),
            attestation: Box::new(attestation),
            release: Some(Box::new(release)),
        },
        policy: stores::read_policy(&policy_file)?,
        policy_file,
    })
}

fn pair(directory: &Path, name: &str) -> Outcome<FileSigner> {
    // The key protects nothing but this developer's own tries; the directory is his alone.
    let password = Zeroizing::new(String::new());
    let private = directory.join(format!("{name}.key"));
    if !private.exists() {
        let pair = file::generate(&password)?;
        std::fs::write(directory.join(format!("{name}.pub")), pair.public_pem)
            .map_err(|e| unusable(directory, &e))?;
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&private)
            .and_then(|mut file| std::io::Write::write_all(&mut file, pair.private_pem.as_bytes()))
            .map_err(|e| unusable(directory, &e))?;
    }
    Ok(FileSigner::open(&private, password)?)
}

fn policy_text() -> String {
    let key = |name: &str| {
        format!(
            "[[key]]\nname = \"try-{name}\"\nuse = \"{name}\"\npublic = \"{name}.pub\"\n\
             not_before = 2020-01-01T00:00:00Z\nnot_after = 2099-01-01T00:00:00Z\n\n"
        )
    };
    format!(
        "# Written by `airlock try`: trusts nothing but the throw-away keys beside it.\nschema = 1\n\n{}{}{}\
         [[require]]\nrepositories = [\"**\"]\nchannel = \"any\"\n\
         evidence = [\"spdx\", \"cyclonedx\", \"provenance\", \"test-result\"]\n\
         builder_id = \"{LOCAL_BUILDER_ID}\"\nproject_from_repository = false\nmin_hermetic = 1\n",
        key("image"),
        key("attestation"),
        key("release")
    )
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("cannot use the key directory `{}`", path.display())).because(error)
}
