//! `airlock.toml`: no path leaves the component, and nothing is without a bound.
#![no_main]

use airlock::domain::component::{ComponentManifest, MAX_IMAGES, MAX_REPORT_PATTERNS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(manifest) = ComponentManifest::parse(text, "acme/billing") else { return };
    let inside = |path: &str| path == "." || path.split('/').all(|p| !matches!(p, "" | "." | ".."));
    assert!(inside(manifest.version_file().as_str()));
    assert!((1..=MAX_IMAGES).contains(&manifest.images().len()));
    assert!(manifest.junit().len() <= MAX_REPORT_PATTERNS);
    for image in manifest.images() {
        assert!(inside(image.dockerfile.as_str()) && inside(image.context.as_str()));
    }
    let _ = manifest.is_report("reports/unit.xml");
});
