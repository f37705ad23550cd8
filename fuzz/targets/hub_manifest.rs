//! `airlock-hub.toml`: no path leaves the hub, a service stands once, and nothing is without a bound.
#![no_main]

use std::collections::BTreeSet;

use airlock::domain::hub::{HubManifest, MAX_COMPONENTS, MAX_READY_TIMEOUT_S, MAX_SERVICES, MAX_SIDECARS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(manifest) = HubManifest::parse(text) else { return };
    let inside = |path: &str| path.split('/').all(|p| !matches!(p, "" | "." | ".."));
    assert!(inside(manifest.compose.as_str()) && inside(manifest.version_file.as_str()));
    assert!((1..=MAX_READY_TIMEOUT_S).contains(&manifest.ready_timeout_s));
    assert!((1..=MAX_COMPONENTS).contains(&manifest.components.len()));
    assert!(manifest.sidecars.len() <= MAX_SIDECARS);
    let mut services = BTreeSet::new();
    for (name, component) in &manifest.components {
        assert!(component.project_id > 0 && (1..=MAX_SERVICES).contains(&component.services.len()));
        for (service, repository) in &component.services {
            assert!(services.insert(service));
            assert_eq!(manifest.owner_of(repository), Some(name.as_str()));
        }
    }
    assert!(manifest.sidecars.keys().all(|service| services.insert(service)));
});
