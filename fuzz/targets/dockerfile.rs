//! Dockerfiles: what is accepted names no remote source, and rewriting changes nothing but references.
#![no_main]

use airlock::dockerfile::CheckedDockerfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(checked) = CheckedDockerfile::check(bytes, "Dockerfile", None, &|_| true) else { return };
    assert!(!checked.bases().iter().enumerate().any(|(i, base)| checked.bases()[..i].contains(base)));
    assert!(checked.final_base().is_none_or(|base| checked.bases().contains(base)));
    for line in checked.text().lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default().to_ascii_lowercase();
        if first == "from" {
            // A name that a registry would have to resolve is a stage, a constant or pinned.
            let rest: Vec<&str> = words.collect();
            assert!(!rest.is_empty());
        }
    }
    let marked = checked.rewritten(&|_| "airlock.invalid/base".to_owned());
    assert_eq!(marked.matches("airlock.invalid/base").count() > 0, !checked.bases().is_empty());
    // Nothing is allowed: a file with an external image is refused now.
    let strict = CheckedDockerfile::check(bytes, "Dockerfile", None, &|_| false);
    assert_eq!(strict.is_ok(), checked.bases().is_empty());
});
