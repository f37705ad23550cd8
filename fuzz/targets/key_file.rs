//! Cosign's key files: any text is a key or an error, at a cost that is bounded.
#![no_main]

use airlock::keys::file::FileSigner;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // What stands in a key file is never quoted, not even when it is damaged.
    if let Err(error) = FileSigner::decrypt(text, "", "k") {
        let said = error.to_string();
        assert!(said.len() < 400 && !said.chars().any(char::is_control), "{said}");
    }
});
