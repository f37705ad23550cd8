//! Normalising keeps everything but times; what can be understood in two ways is refused.

use proptest::prelude::*;

use super::*;

const COMMIT: i64 = 1_795_342_500;

fn normalise(bytes: &[u8]) -> Result<Vec<u8>, TarError> {
    let mut reader = Normalised::new(bytes, COMMIT);
    let mut out = Vec::new();
    match reader.read_to_end(&mut out) {
        Ok(_) => Ok(out),
        Err(error) => Err(reader.refusal().unwrap_or(TarError::Read(error))),
    }
}

#[derive(Debug, Clone)]
struct Item {
    path: String,
    kind: tar::EntryType,
    link: String,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    records: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
    gnu: bool,
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let name = prop_oneof![
        8 => "[a-zA-Z0-9_]{1,12}",
        1 => "[a-z]{90,140}",
        1 => Just(".wh.gone".to_owned()),
        1 => Just(".wh..wh..opq".to_owned()),
        1 => "[äöü中]{1,4}",
    ];
    let path = proptest::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    let kind = prop_oneof![
        Just(tar::EntryType::Regular),
        Just(tar::EntryType::Link),
        Just(tar::EntryType::Symlink),
        Just(tar::EntryType::Directory),
        Just(tar::EntryType::Char),
        Just(tar::EntryType::Block),
        Just(tar::EntryType::Fifo),
    ];
    let mtime = prop_oneof![0..2 * u64::try_from(COMMIT).unwrap(), Just(1 << 40)];
    // The reader that checks us splits records at newlines; `pax` has its own test for them.
    let value = proptest::collection::vec(any::<u8>().prop_filter("newline", |b| *b != b'\n'), 0..40);
    let record = prop_oneof![
        ("SCHILY\\.xattr\\.user\\.[a-z]{1,9}", value).prop_map(|record| record),
        ("(atime|ctime)", Just(b"1700000000.25".to_vec())),
        ("mtime", (0u32..u32::MAX).prop_map(|time| format!("{time}.5").into_bytes())),
    ];
    let records = proptest::collection::vec(record, 0..4).prop_map(|mut records| {
        records.sort();
        records.dedup_by(|a, b| a.0 == b.0);
        records
    });
    let content = proptest::collection::vec(any::<u8>(), 0..1500);
    let item = (
        path.clone(),
        kind,
        path,
        0u32..0o10000,
        (0u64..1 << 20, 0u64..1 << 20),
        mtime,
        records,
        content,
        any::<bool>(),
    )
        .prop_map(|(path, kind, link, mode, owner, mtime, records, content, gnu)| {
            let content = if kind == tar::EntryType::Regular { content } else { Vec::new() };
            Item { path, kind, link, mode, owner, mtime, records, content, gnu }
        });
    proptest::collection::vec(item, 0..8)
}

fn archive(items: &[Item]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        let mut header = if item.gnu { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
        header.set_entry_type(item.kind);
        header.set_mode(item.mode);
        header.set_uid(item.owner.0);
        header.set_gid(item.owner.1);
        header.set_username("builder").unwrap();
        header.set_groupname("users").unwrap();
        header.set_mtime(item.mtime);
        header.set_size(item.content.len() as u64);
        if matches!(item.kind, tar::EntryType::Char | tar::EntryType::Block) {
            header.set_device_major(5).unwrap();
            header.set_device_minor(7).unwrap();
        }
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.set_atime(COMMIT.cast_unsigned() + 9);
            gnu.set_ctime(COMMIT.cast_unsigned() + 9);
        }
        let records = item.records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(records).unwrap();
        if matches!(item.kind, tar::EntryType::Link | tar::EntryType::Symlink) {
            builder.append_link(&mut header, &item.path, &item.link).unwrap();
        } else {
            builder.append_data(&mut header, &item.path, item.content.as_slice()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[derive(Debug, PartialEq)]
struct Listed {
    path: Vec<u8>,
    link: Option<Vec<u8>>,
    kind: u8,
    mode: u32,
    owner: (u64, u64),
    names: (Option<Vec<u8>>, Option<Vec<u8>>),
    device: (Option<u32>, Option<u32>),
    records: Vec<(String, Vec<u8>)>,
    mtime: i64,
    content: Vec<u8>,
}

fn listing(bytes: &[u8], clamp: bool) -> Vec<Listed> {
    let mut archive = tar::Archive::new(bytes);
    let list = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut mtime = entry.header().mtime().unwrap().cast_signed();
        let mut records = Vec::new();
        for record in entry.pax_extensions().unwrap().into_iter().flatten() {
            let record = record.unwrap();
            match record.key().unwrap() {
                "mtime" => {
                    let whole = record.value().unwrap().split('.').next().unwrap().to_owned();
                    mtime = whole.parse().unwrap();
                }
                "atime" | "ctime" => assert!(clamp, "access and change times go"),
                key => records.push((key.to_owned(), record.value_bytes().to_vec())),
            }
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        Listed {
            path: entry.path_bytes().into_owned(),
            link: entry.link_name_bytes().map(|link| link.into_owned()),
            kind: header.entry_type().as_byte(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            names: (
                header.username_bytes().map(<[u8]>::to_vec),
                header.groupname_bytes().map(<[u8]>::to_vec),
            ),
            device: (header.device_major().unwrap_or_default(), header.device_minor().unwrap_or_default()),
            records,
            mtime: if clamp { mtime.min(COMMIT) } else { mtime },
            content,
        }
    };
    archive.entries().unwrap().map(list).collect()
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn keeps_everything_but_times(items in items()) {
        let raw = archive(&items);
        let normal = normalise(&raw).unwrap();
        prop_assert_eq!(listing(&raw, true), listing(&normal, false));
        prop_assert_eq!(normal.len() % 512, 0);
    }

    #[test]
    fn normalising_twice_is_normalising_once(items in items()) {
        let once = normalise(&archive(&items)).unwrap();
        prop_assert!(normalise(&once).unwrap() == once);
    }

    #[test]
    fn times_after_the_commit_make_no_difference(items in items(), later in proptest::collection::vec(1u64..1 << 32, 8)) {
        let at = |extra: &[u64]| {
            let mut items = items.clone();
            for (item, extra) in items.iter_mut().zip(extra) {
                item.mtime = COMMIT.cast_unsigned() + extra;
                item.records.retain(|(key, _)| key != "mtime");
            }
            normalise(&archive(&items)).unwrap()
        };
        prop_assert!(at(&later) == at(&[1; 8]));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = normalise(&bytes);
    }

    #[test]
    fn a_header_with_arbitrary_bytes_is_refused_or_stable(
        items in items().prop_filter("one", |items| !items.is_empty()),
        changes in proptest::collection::vec((0usize..512, any::<u8>()), 1..4),
    ) {
        let mut raw = archive(&items);
        for (at, byte) in changes {
            raw[at] = byte;
        }
        seal(&mut raw);
        if let Ok(once) = normalise(&raw) {
            prop_assert!(normalise(&once).unwrap() == once);
        }
    }
}

fn file(path: &str) -> Item {
    Item {
        path: path.to_owned(),
        kind: tar::EntryType::Regular,
        link: String::new(),
        mode: 0o644,
        owner: (0, 0),
        mtime: 1_000,
        records: Vec::new(),
        content: b"content".to_vec(),
        gnu: false,
    }
}

fn with_records(item: Item, records: &[(&str, &[u8])]) -> Item {
    let records = records.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
    Item { records, ..item }
}

/// An archive with one file whose header block was changed.
fn forged(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut raw = archive(&[file("etc/file")]);
    change(&mut raw);
    seal(&mut raw);
    raw
}

fn named(name: &str) -> Vec<u8> {
    forged(|raw| {
        raw[..100].fill(0);
        raw[..name.len()].copy_from_slice(name.as_bytes());
    })
}

#[test]
fn an_attribute_with_newlines_and_nuls_passes() {
    let value = b"\x01\0\0\x02\n\0\n=";
    let raw = archive(&[with_records(file("bin/ping"), &[("SCHILY.xattr.security.capability", value)])]);
    let normal = normalise(&raw).unwrap();
    assert!(normal.windows(value.len()).any(|window| window == value));
}

#[test]
fn a_record_of_access_times_alone_leaves_no_extended_header() {
    let plain = normalise(&archive(&[file("etc/file")])).unwrap();
    let timed = [("atime", &b"1.5"[..]), ("ctime", b"2"), ("mtime", b"1000000000000.1")];
    let timed = normalise(&archive(&[with_records(file("etc/file"), &timed)])).unwrap();
    assert_eq!(plain.len(), timed.len());
    assert_eq!(listing(&timed, false)[0].mtime, COMMIT);
}

#[test]
fn the_end_is_two_blocks_whatever_stood_there() {
    let raw = archive(&[file("etc/file")]);
    let bare = &raw[..raw.len() - 1024];
    let padded = [&raw[..], &[0; 10 * 1024]].concat();
    assert_eq!(normalise(bare).unwrap(), normalise(&raw).unwrap());
    assert_eq!(normalise(&padded).unwrap(), normalise(&raw).unwrap());
    assert_eq!(normalise(&[]).unwrap(), [0; 1024]);
}

#[test]
fn padding_after_content_becomes_zeros() {
    let raw = archive(&[file("etc/file")]);
    let mut dirty = raw.clone();
    dirty[512 + 100] = b'!';
    assert_eq!(normalise(&dirty).unwrap(), normalise(&raw).unwrap());
}

#[test]
fn refuses_what_two_programs_would_understand_in_two_ways() {
    let hard_link = |link: &str| Item {
        kind: tar::EntryType::Link,
        link: link.to_owned(),
        content: Vec::new(),
        ..file("etc/file")
    };
    let record = |key: &str, value: &[u8]| archive(&[with_records(file("etc/file"), &[(key, value)])]);
    let whole = archive(&[file("etc/file")]);
    let extended = |content: &[u8]| {
        [Header::special(b'x', content.len()).bytes(), content, &vec![0; 512 - content.len()], &whole]
            .concat()
    };
    let long_name = |content: &[u8]| {
        [Header::special(b'L', content.len()).bytes(), content, &vec![0; 512 - content.len()], &whole]
            .concat()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a path that climbs out", named("etc/../../passwd")),
        ("a hard link that climbs out", {
            let mut raw = archive(&[hard_link("etc/shadow")]);
            raw[157..167].copy_from_slice(b"../shadow\0");
            seal(&mut raw);
            raw
        }),
        ("a whiteout of the parent", named("etc/.wh...")),
        ("a whiteout of the folder itself", named("etc/.wh..")),
        ("an empty path", named("")),
        (
            "a link to nothing",
            forged(|raw| {
                raw[156] = b'2';
                raw[124..136].fill(0)
            }),
        ),
        ("a NUL in a path", record("path", b"etc/file\0../x")),
        ("a directory with content", forged(|raw| raw[156] = b'5')),
        (
            "a link with content",
            forged(|raw| {
                raw[156] = b'2';
                raw[157] = b'a'
            }),
        ),
        ("two sizes", record("size", b"1000")),
        ("a size that is no number", record("size", b"-1")),
        ("a header size that is no number", forged(|raw| raw[124..136].fill(b'9'))),
        ("a time that is no number", forged(|raw| raw[136] = b'!')),
        ("a record's time that is no number", record("mtime", b"yesterday")),
        ("a sparse file of GNU's", forged(|raw| raw[156] = b'S')),
        ("a sparse file in records", record("GNU.sparse.major", b"1")),
        ("a global header", forged(|raw| raw[156] = b'g')),
        ("an unknown type", forged(|raw| raw[156] = 0x1b)),
        ("a record that stands twice", extended(b"6 a=1\n6 a=2\n")),
        ("a record with a wrong length", extended(b"99 a=1\n")),
        ("a record without a length", extended(b"path=etc/passwd\n")),
        ("a record without an end", extended(b"6 a=12")),
        (
            "two names",
            [Header::special(b'x', 14).bytes(), &b"14 path=other\n"[..], &[0; 498], &long_name(b"name\0")]
                .concat(),
        ),
        (
            "two long names",
            [Header::special(b'L', 4).bytes(), &b"name"[..], &[0; 508], &long_name(b"name\0")].concat(),
        ),
        ("a long name that goes on", long_name(b"name\0more")),
        ("an extended header that is too large", {
            let mut header = Header::special(b'x', 1 << 21).bytes().to_vec();
            header.extend_from_slice(&whole);
            header
        }),
        ("a wrong checksum", {
            let mut raw = whole.clone();
            raw[0] = b'!';
            raw
        }),
        ("a cut header", whole[..300].to_vec()),
        ("a cut content", whole[..515].to_vec()),
        ("a cut padding", whole[..530].to_vec()),
        ("a name for nothing", long_name(b"name\0")[..1024].to_vec()),
        ("data after the end", [&whole[..], b"hidden"].concat()),
        ("one block of zeros, then more", [&whole[..1024], &[0; 512], &whole].concat()),
        (
            "other data where GNU keeps times",
            forged(|raw| {
                raw[257..265].copy_from_slice(b"ustar  \0");
                raw[345..350].copy_from_slice(b"path/");
            }),
        ),
    ];
    let mut texts = String::new();
    for (name, raw) in cases {
        let refusal = normalise(&raw).expect_err(name);
        texts.push_str(&format!("{name}:\n    {refusal}\n"));
    }
    insta::assert_snapshot!(texts);
}

#[test]
fn refuses_more_entries_than_the_limit() {
    let raw = archive(&[file("a"), file("b"), file("c")]);
    let mut entries = Entries::new(raw.as_slice(), 2);
    assert!(entries.next().unwrap().is_some());
    assert!(entries.next().unwrap().is_some());
    insta::assert_snapshot!(entries.next().err().unwrap(), @"it has more than 2 entries");
}
