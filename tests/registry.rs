//! The two image stores against real parts: a registry, a directory, and registries that misbehave.

#[path = "support/faulty_registry.rs"]
mod faulty_registry;
#[path = "support/registry.rs"]
mod registry_fixture;

#[path = "registry/conformance.rs"]
mod conformance;
#[path = "registry/hostile.rs"]
mod hostile;
#[path = "registry/layout.rs"]
mod layout;
#[path = "registry/remote.rs"]
mod remote;

use std::time::Duration;

use airlock::domain::digest::Digest;
use airlock::domain::image::{RegistryHost, Repository};
use airlock::failure::Failure;
use airlock::registry::StoreError;
use airlock::registry::remote::{RemoteRegistry, RemoteSettings, RetryPolicy};
use bytes::Bytes;
use serde_json::json;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Fast enough for tests, with every bound in place.
fn hasty() -> RetryPolicy {
    RetryPolicy {
        attempts: 4,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(50),
        silence: Duration::from_secs(5),
        total: Duration::from_secs(10),
    }
}

fn plain(host: &str) -> RemoteRegistry {
    let host: RegistryHost = host.parse().unwrap();
    RemoteRegistry::connect(RemoteSettings { host, ca: None, auth_file: None, retry: hasty() }).unwrap()
}

fn secured(registry: &registry_fixture::Registry) -> RemoteRegistry {
    RemoteRegistry::connect(RemoteSettings {
        host: registry.host.parse().unwrap(),
        ca: registry.ca.clone(),
        auth_file: registry.auth_file.clone(),
        retry: hasty(),
    })
    .unwrap()
}

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

/// An image manifest over the empty config; `name` makes it another one.
fn image(name: &str) -> Bytes {
    let config = json!({ "mediaType": EMPTY, "digest": Digest::of(b"{}"), "size": 2 });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "annotations": { "name": name },
    });
    serde_json::to_vec(&manifest).unwrap().into()
}

/// A manifest that refers to `subject`.
fn referring(subject: &Bytes, name: &str) -> Bytes {
    let mut manifest: serde_json::Value = serde_json::from_slice(&image(name)).unwrap();
    manifest["artifactType"] = "application/vnd.example".into();
    manifest["subject"] =
        json!({ "mediaType": MANIFEST, "digest": Digest::of(subject), "size": subject.len() });
    serde_json::to_vec(&manifest).unwrap().into()
}

/// A message as a person sees it, with `host` and the like made the same each time.
fn told(error: StoreError, names: &[(&str, &str)]) -> String {
    let mut text = Failure::from(error).to_string();
    for (from, to) in names {
        text = text.replace(from, to);
    }
    text
}
