//! Layers that are refused, with the sentences that a person reads.

use std::io::Read;

use super::*;
use crate::failure::Failure;

fn refusal(bytes: &[u8]) -> String {
    Failure::from(scan_layer(bytes).unwrap_err()).to_string()
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(Tar::new().file("short", "1").bytes());
    bytes
}

#[test]
fn refuses_a_layer_with_a_path_that_climbs_out() {
    insta::assert_snapshot!(refusal(&Tar::new().file("a/../../etc/passwd", "x").bytes()));
    for path in ["../x", "..", "a/..", "/../x", "d/.wh...", "d/.wh.."] {
        assert!(refusal(&Tar::new().file(path, "x").bytes()).contains("climbs out"), "{path}");
    }
    assert!(refusal(&pax(&[("path", "a/../../b")])).contains("climbs out"));
}

#[test]
fn refuses_a_hard_link_whose_target_climbs_out() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Link);
    header.as_old_mut().name[..1].copy_from_slice(b"a");
    header.as_old_mut().linkname[..5].copy_from_slice(b"../ab");
    header.set_size(0);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b""[..]).unwrap();
    assert!(refusal(&builder.into_inner().unwrap()).contains("climbs out"));
}

#[test]
fn refuses_entries_that_two_readers_would_read_differently() {
    let twice = pax(&[("path", "one"), ("path", "two")]);
    let sizes = pax(&[("size", "3")]);
    let sparse = pax(&[("GNU.sparse.major", "1")]);
    let body = Tar::new().entry(tar::EntryType::Symlink, "link", "", b"body").bytes();
    let unknown = Tar::new().entry(tar::EntryType::GNUSparse, "holes", "", b"").bytes();
    let told: Vec<String> =
        [twice, sizes, sparse, body, unknown].iter().map(|bytes| refusal(bytes)).collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn refuses_a_name_that_is_longer_than_any_file_system_allows() {
    let long = "x/".repeat(2_500);
    insta::assert_snapshot!(refusal(&pax(&[("path", &long)])));
    assert!(refusal(&pax(&[("path", &"y".repeat(2 * 1024 * 1024))])).contains("longer than 1 MiB"));
}

#[test]
fn refuses_a_package_database_beyond_any_real_size() {
    let mut header = tar::Header::new_gnu();
    header.set_path(STATUS).unwrap();
    header.set_size(33 * 1024 * 1024);
    header.set_cksum();
    let bytes = header.as_bytes().to_vec();
    let stream = bytes.chain(std::io::repeat(b'x').take(33 * 1024 * 1024));
    insta::assert_snapshot!(Failure::from(scan_layer(stream).unwrap_err()).to_string());
}

#[test]
fn does_not_copy_a_database_as_often_as_it_is_linked() {
    let database = format!("Package: a\nVersion: 1\nMaintainer: {}\n\n", "x".repeat(60_000)).repeat(100);
    let tar = (0..200).fold(Tar::new().file(STATUS, &database), |tar, index| {
        tar.hard_link(&format!("{index}/lib/dpkg/status"), STATUS)
    });
    let inventory = fold_own(&[tar.scan()]);
    assert_eq!(inventory.package_count(), 1);
    assert_eq!(inventory.gaps().last().map(String::as_str), Some("further files were not read"));
}

#[test]
fn refuses_a_layer_that_is_cut_short() {
    let bytes = Tar::new().file("a/file", &"x".repeat(2_000)).bytes();
    insta::assert_snapshot!(refusal(&bytes[..1_024]));
}

#[test]
fn blames_the_reader_when_reading_fails() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("connection reset"))
        }
    }
    insta::assert_snapshot!(Failure::from(scan_layer(Broken).unwrap_err()).to_string());
}

#[test]
fn reads_long_names_of_both_kinds() {
    let long = format!("srv/{}/file", "d".repeat(180));
    let gnu = Tar::new().file(&long, "1").scan();
    let pax = scan_layer(&pax(&[("path", &long)])[..]).unwrap();
    assert_eq!(own_paths(&fold_own(&[gnu])), [format!("/{long}")]);
    assert_eq!(own_paths(&fold_own(&[pax])), [format!("/{long}")]);
}

proptest::proptest! {
    #[test]
    fn never_panics_on_any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4_096)) {
        let _ = scan_layer(&bytes[..]);
    }

    #[test]
    fn never_panics_on_a_damaged_archive(
        at in 0_usize..6_000, value in proptest::prelude::any::<u8>(), cut in 0_usize..8_000,
    ) {
        let mut bytes = debian(Tar::new()).file(STATUS, &status(&[("bash", "5")])).symlink("a", "b").bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        bytes.truncate(cut);
        let _ = scan_layer(&bytes[..]).map(|fragment| fold_own(&[fragment]));
    }

    #[test]
    fn never_panics_on_any_package_database(
        content in "((Package|Version|Status|Depends|Maintainer|Source): \\PC{0,30}\n|\n| \\PC{0,20}\n){0,20}",
        copyright in "Format: x\n\n(License: \\PC{0,40}\n){0,8}",
        release in "((ID|ID_LIKE|VERSION_ID|PRETTY_NAME)=\\PC{0,20}\n){0,6}",
    ) {
        let layer = Tar::new()
            .file(STATUS, &content)
            .file("etc/os-release", &release)
            .file("usr/share/doc/x/copyright", &copyright)
            .scan();
        let inventory = fold_own(&[layer]);
        documents::both(&inventory);
    }
}
