//! Commit and tree objects whose id is right: what is accepted can be checked out nowhere but below its root.
#![no_main]

use airlock::domain::commit::{Commit, EntryMode, ObjectError, ObjectId, ObjectKind, parse_tree};
use libfuzzer_sys::fuzz_target;

/// The id that the bytes have: the refusal of a wrong one tells it.
fn id_of(kind: ObjectKind, bytes: &[u8], any: ObjectId) -> ObjectId {
    match any.check(kind, bytes) {
        Err(ObjectError::OtherContent { found, .. }) => found,
        _ => any,
    }
}

fuzz_target!(|input: (bool, &[u8])| {
    let (sha256, bytes) = input;
    let any = if sha256 { ObjectId::Sha256([0; 32]) } else { ObjectId::Sha1([0; 20]) };
    assert!(parse_tree(any, bytes, "").is_err(), "other bytes than the id says");
    assert!(Commit::parse(any, bytes).is_err(), "other bytes than the id says");
    if let Ok(commit) = Commit::parse(id_of(ObjectKind::Commit, bytes, any), bytes) {
        assert!((0..=253_402_300_799).contains(&commit.time()));
    }
    let Ok(entries) = parse_tree(id_of(ObjectKind::Tree, bytes, any), bytes, "src") else { return };
    let mut written = Vec::new();
    for entry in &entries {
        assert!(!matches!(entry.name.as_str(), "" | "." | "..") && !entry.name.contains(['/', '\0', '\n']));
        assert!(!entry.name.eq_ignore_ascii_case(".git"));
        let mode = match entry.mode {
            EntryMode::File => "100644",
            EntryMode::Executable => "100755",
            EntryMode::Symlink => "120000",
            EntryMode::Directory => "40000",
        };
        written.extend(format!("{mode} {}\0", entry.name).bytes());
        match entry.id {
            ObjectId::Sha1(raw) => written.extend(raw),
            ObjectId::Sha256(raw) => written.extend(raw),
        }
    }
    // Group-writable files of old repositories are read as plain ones.
    let plain = String::from_utf8_lossy(bytes).replace("100664 ", "100644 ").len();
    assert_eq!(String::from_utf8_lossy(&written).len(), plain);
});
