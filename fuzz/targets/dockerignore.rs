//! Ignore files: never a panic, bounded in time, and an empty file keeps everything.
#![no_main]

use airlock::dockerfile::ignore::IgnoreFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (bytes, path) = input;
    let Ok(ignore) = IgnoreFile::parse(bytes) else { return };
    let excluded = ignore.excludes(path);
    assert!(!IgnoreFile::default().excludes(path));
    // A last word that takes everything back is obeyed.
    let mut back = bytes.to_vec();
    back.extend_from_slice(b"\n!**\n");
    if let Ok(back) = IgnoreFile::parse(&back) {
        assert!(!back.excludes(path), "excluded before: {excluded}");
    }
});
