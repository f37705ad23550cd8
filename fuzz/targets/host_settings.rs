//! Host settings: what is accepted is safe to act on, whatever else stands in the file.
#![no_main]

use airlock::settings::{Settings, StorePlace};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(settings) = Settings::parse(text) else { return };
    assert!(settings.sandbox.uid > 0);
    assert!(settings.state_dir.is_absolute() && settings.trust.is_absolute());
    for pattern in &settings.images.allow {
        let (host, _) = pattern.as_str().split_once('/').expect("a host and a pattern");
        assert!(!host.contains('*'));
    }
    if let StorePlace::Layout(directory) = &settings.store.place {
        assert!(directory.is_absolute());
    }
    assert!(settings.compose_program.is_absolute());
    if let Some(hub) = &settings.hub {
        assert!(settings.keys.release.is_some() && !hub.script.is_empty());
        let same = |rule: &&airlock::domain::job::PublishRule| {
            rule.project_id == hub.project_id && rule.ref_name == hub.ref_name && rule.job == hub.job
        };
        assert_eq!(settings.publish.iter().filter(same).count(), 0);
    }
    for (i, rule) in settings.publish.iter().enumerate() {
        assert!(!rule.script.is_empty() && !rule.repositories.is_empty());
        let same = |other: &&airlock::domain::job::PublishRule| {
            other.project_id == rule.project_id && other.ref_name == rule.ref_name && other.job == rule.job
        };
        assert_eq!(settings.publish[..i].iter().filter(same).count(), 0);
    }
});
