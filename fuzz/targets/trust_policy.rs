//! Trust policies: what is accepted has no key twice and no key that is valid for no time.
#![no_main]

use std::sync::LazyLock;

use airlock::domain::trust::TrustPolicy;
use airlock::keys::file;
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<[String; 2]> =
    LazyLock::new(|| [0, 1].map(|_| file::generate("").expect("a key pair").public_pem));

fuzz_target!(|text: &str| {
    // Which key a name stands for depends on the name alone.
    let read_key = |name: &str| match name.len() % 3 {
        0 => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        n => Ok(KEYS[n - 1].clone()),
    };
    let Ok(policy) = TrustPolicy::parse(text, "trust.toml", &read_key) else { return };
    for (i, key) in policy.keys().iter().enumerate() {
        for other in &policy.keys()[..i] {
            assert_ne!(key.name(), other.name());
            assert_ne!(key.public_key(), other.public_key(), "one key with two uses or names");
        }
    }
});
