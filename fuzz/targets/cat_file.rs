//! The cat-file protocol, from a server that lies: the tree is exactly what its ids say, or refused.
#![no_main]

use airlock::delivery::commit::{CommitError, CommitTree, TarOwner};
use airlock::domain::commit::{ObjectError, ObjectId, ObjectKind};
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 64 * 1024;

fn id_of(kind: ObjectKind, bytes: &[u8]) -> ObjectId {
    match ObjectId::Sha1([0; 20]).check(kind, bytes) {
        Err(ObjectError::OtherContent { found, .. }) => found,
        _ => ObjectId::Sha1([0; 20]),
    }
}

fn answer(kind: ObjectKind, bytes: &[u8]) -> Vec<u8> {
    let mut answer = format!("{} {} {}\n", id_of(kind, bytes), kind.as_str(), bytes.len()).into_bytes();
    answer.extend_from_slice(bytes);
    answer.push(b'\n');
    answer
}

/// One file or directory: what stands before the id in the tree, and a file's content.
type Entry<'a> = (&'a str, &'a [u8], u8);

fuzz_target!(|input: (Vec<Entry<'_>>, &[u8], Option<(u16, u8)>)| {
    let (entries, raw, damage) = input;
    // One directory below the root, so that two levels are asked for.
    let (mut root, mut below) = (Vec::new(), Vec::new());
    let mut blobs = Vec::new();
    let mut asked = std::collections::BTreeSet::new();
    for (name, content, kind) in &entries {
        let mode = ["100644", "100755", "120000", "160000", "100664"][usize::from(kind % 5)];
        let id = id_of(ObjectKind::Blob, content);
        let tree = if kind & 0x80 == 0 { &mut root } else { &mut below };
        tree.extend(format!("{mode} {name}\0").bytes());
        let ObjectId::Sha1(bytes) = id else { return };
        tree.extend(bytes);
        if kind & 0x80 == 0 {
            asked.insert(id).then(|| blobs.push(answer(ObjectKind::Blob, content)));
        }
    }
    for (_, content, kind) in entries.iter().filter(|(_, _, kind)| kind & 0x80 != 0) {
        let _ = kind;
        asked.insert(id_of(ObjectKind::Blob, content)).then(|| blobs.push(answer(ObjectKind::Blob, content)));
    }
    let mut trees = Vec::new();
    if !below.is_empty() {
        root.extend(b"40000 below\0");
        let ObjectId::Sha1(bytes) = id_of(ObjectKind::Tree, &below) else { return };
        root.extend(bytes);
        trees.push(answer(ObjectKind::Tree, &below));
    }
    trees.insert(0, answer(ObjectKind::Tree, &root));
    let commit =
        format!("tree {}\ncommitter A <a> 1700000000 +0000\n\n", id_of(ObjectKind::Tree, &root)).into_bytes();
    let id = id_of(ObjectKind::Commit, &commit);
    let mut answers = answer(ObjectKind::Commit, &commit);
    for part in trees.iter().chain(&blobs) {
        answers.extend_from_slice(part);
    }
    answers.extend_from_slice(raw);
    let mut altered = false;
    if let Some((at, bits)) = damage {
        let at = usize::from(at) % answers.len();
        altered = bits != 0 && at < answers.len() - raw.len();
        answers[at] ^= bits;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let directory = std::env::temp_dir();
    let tree = runtime.block_on(CommitTree::fetch(id, tokio::io::sink(), &answers[..], &directory, LIMIT));
    let Ok(tree) = tree else { return };
    assert!(!altered, "an altered answer was believed");
    assert!(tree.bytes() <= LIMIT * entries.len() as u64);
    for (name, content, kind) in &entries {
        let path = if kind & 0x80 == 0 { (*name).to_owned() } else { format!("below/{name}") };
        match tree.read(&path, LIMIT) {
            Ok(found) => assert!(kind % 5 != 2 && found.as_deref() == Some(*content)),
            Err(CommitError::Object(ObjectError::LinkInstead { .. })) => assert_eq!(kind % 5, 2),
            Err(error) => panic!("a file within the limit: {error}"),
        }
    }
    let mut archive = Vec::new();
    let owner = TarOwner { uid: 1000, gid: 1000 };
    // A name or link that no tar can hold is an error; what is written stays below its root.
    if tree.write_tar("", "acme/billing/", owner, &|_| true, &mut archive).is_ok() {
        for entry in tar::Archive::new(&archive[..]).entries().expect("entries") {
            let path = entry.expect("an entry").path().expect("a path").into_owned();
            assert!(
                path.components().all(|part| matches!(part, std::path::Component::Normal(_))),
                "{path:?}"
            );
        }
    }
});
