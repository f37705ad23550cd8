//! Whiteouts, replacements and links: each rule of the fold.

use super::*;

#[test]
fn hides_what_a_whiteout_names_and_its_subtree_from_lower_layers_only() {
    let lower = Tar::new().file("srv/a/x", "1").file("srv/b", "1").file("srv/ab", "1").scan();
    // The whiteout stands before and after entries of its own layer, which it must not touch.
    let upper = Tar::new().file("srv/a/new", "2").file("srv/.wh.a", "").file("srv/a/newer", "2").scan();
    assert_eq!(own_paths(&fold_own(&[lower, upper])), ["/srv/a/new", "/srv/a/newer", "/srv/ab", "/srv/b"]);
}

#[test]
fn hides_the_children_of_an_opaque_directory_and_not_the_directory() {
    let lower = Tar::new().directory("srv/a/").file("srv/a/x", "1").file("srv/a/y/z", "1").file("srv/b", "1");
    let upper = Tar::new().file("srv/a/new", "2").file("srv/a/.wh..wh..opq", "");
    assert_eq!(own_paths(&fold_own(&[lower.scan(), upper.scan()])), ["/srv/a/new", "/srv/b"]);
}

#[test]
fn hides_everything_below_an_opaque_root() {
    let lower = Tar::new().file("a", "1").file(STATUS, &status(&[("bash", "5")]));
    let upper = Tar::new().file(".wh..wh..opq", "").file("b", "2");
    let inventory = fold_own(&[lower.scan(), upper.scan()]);
    assert_eq!((own_paths(&inventory), inventory.package_count()), (vec!["/b"], 0));
}

#[test]
fn never_follows_a_lower_symbolic_link_to_hide_what_it_points_to() {
    let lower = Tar::new().file("real/x", "1").symlink("etc/link", "../real").symlink("usr", "real").scan();
    let upper =
        Tar::new().file("etc/link/.wh..wh..opq", "").file("usr/.wh.x", "").file("usr/new", "2").scan();
    assert_eq!(own_paths(&fold_own(&[lower, upper])), ["/real/x", "/usr/new"]);
}

#[test]
fn takes_a_bare_whiteout_prefix_for_an_ordinary_file_and_ignores_what_aufs_left() {
    let lower = Tar::new().file("srv/x", "1").file("y", "1");
    let upper = Tar::new()
        .file("srv/.wh.", "content")
        .file(".wh..wh.plnk", "")
        .file(".wh..wh.aufs", "")
        .directory(".wh..wh.orph/");
    assert_eq!(own_paths(&fold_own(&[lower.scan(), upper.scan()])), ["/srv/.wh.", "/srv/x", "/y"]);
}

#[test]
fn lets_a_file_hide_a_lower_directory_and_a_directory_a_lower_file() {
    let lower = Tar::new().directory("a/").file("a/x", "1").file("b", "1").directory("c/").file("c/x", "1");
    let upper = Tar::new().file("a", "2").directory("b/").file("b/x", "2").directory("c/").file("c/y", "2");
    assert_eq!(own_paths(&fold_own(&[lower.scan(), upper.scan()])), ["/a", "/b/x", "/c/x", "/c/y"]);
    let lower = Tar::new().file(STATUS, &status(&[("bash", "5")])).scan();
    let upper = Tar::new().symlink("var/lib", "/elsewhere").scan();
    assert_eq!(fold_own(&[lower, upper]).package_count(), 0);
}

#[test]
fn believes_the_last_of_two_entries_of_one_name() {
    let layer = Tar::new()
        .file(STATUS, &status(&[("old", "1")]))
        .file("a/x", "1")
        .file("./var//lib/dpkg/status", &status(&[("new", "2")]))
        .symlink("a", "b")
        .file("c", "1")
        .directory("c/")
        .scan();
    let inventory = fold_own(&[layer]);
    assert_eq!(names(&inventory), ["new 2"]);
    assert_eq!(own_paths(&inventory), Vec::<&str>::new());
}

#[test]
fn reads_a_status_file_that_is_a_hard_link_in_the_same_layer() {
    let layer = Tar::new()
        .file("var/lib/dpkg/status-old", &status(&[("bash", "5")]))
        .hard_link(STATUS, "var/lib/dpkg/status-old")
        .scan();
    let inventory = fold_own(&[layer]);
    assert_eq!(names(&inventory), ["bash 5"]);
    assert_eq!(inventory.gaps(), Vec::<String>::new());
}

#[test]
fn reads_a_status_file_that_is_a_hard_link_to_a_lower_layer() {
    let lower =
        Tar::new().file("var/lib/dpkg/status-old", &status(&[("bash", "5")])).file("srv/a", "1").scan();
    let upper = Tar::new()
        .hard_link(STATUS, "./var/lib/dpkg/status-old")
        .hard_link("srv/b", "srv/a")
        .file("srv/.wh.a", "")
        .scan();
    let inventory = fold_own(&[lower, upper]);
    assert_eq!(names(&inventory), ["bash 5"]);
    assert_eq!(own_paths(&inventory), ["/srv/b"]);
}

#[test]
fn says_so_when_a_database_is_a_hard_link_to_a_file_that_nobody_reads() {
    let same = Tar::new().file("hidden", &status(&[("bash", "5")])).hard_link(STATUS, "hidden").scan();
    let lower = Tar::new().file("hidden", &status(&[("bash", "5")])).scan();
    let upper = Tar::new().hard_link(STATUS, "hidden").scan();
    for fragments in [vec![same], vec![lower, upper]] {
        let inventory = fold_own(&fragments);
        assert_eq!(inventory.package_count(), 0);
        assert_eq!(inventory.gaps(), ["`var/lib/dpkg/status` was not read: it is a hard link to `hidden`"]);
    }
}

#[test]
fn says_so_when_a_database_leads_through_a_symbolic_link() {
    let layer = Tar::new().symlink("var/lib/dpkg", "/opt/hidden").file("opt/hidden/status", "x").scan();
    assert_eq!(fold_own(&[layer]).gaps().len(), 2);
}

#[test]
fn forgets_packages_that_a_later_layer_purges() {
    let lower = Tar::new().file(STATUS, &status(&[("bash", "5"), ("gcc", "12")])).scan();
    let upper = Tar::new().file(STATUS, &status(&[("bash", "5")])).scan();
    assert_eq!(names(&fold_own(&[lower.clone(), upper])), ["bash 5"]);
    let without = Tar::new().file("var/lib/dpkg/.wh.status", "").scan();
    assert_eq!(fold_own(&[lower, without]).package_count(), 0);
}

#[test]
fn attributes_a_package_to_the_first_layer_that_has_it() {
    let fragments = [
        Tar::new().file(STATUS, &status(&[("bash", "5"), ("tar", "1")])).scan(),
        Tar::new().file(STATUS, &status(&[("bash", "5"), ("tar", "2"), ("gcc", "12")])).scan(),
        Tar::new().file(STATUS, &status(&[("bash", "5"), ("tar", "2"), ("gcc", "12")])).scan(),
    ];
    let inventory = fold_own(&fragments);
    let layers: Vec<_> = inventory.packages().iter().map(|p| (p.name.as_str(), p.layer.clone())).collect();
    assert_eq!(layers, [("bash", diff_id(0)), ("gcc", diff_id(1)), ("tar", diff_id(1))]);
}

#[test]
fn does_not_depend_on_the_order_of_entries_in_a_layer() {
    let one = debian(Tar::new()).file("a/.wh.b", "").file("a/c", "1").file(STATUS, &status(&[("x", "1")]));
    let other = debian(Tar::new().file(STATUS, &status(&[("x", "1")])).file("a/c", "1").file("a/.wh.b", ""));
    assert_eq!(one.scan(), other.scan());
}

#[test]
fn finds_the_operating_system_through_a_symbolic_link_of_another_layer() {
    let lower = Tar::new().symlink("etc/os-release", "../usr/lib/os-release").scan();
    let upper = Tar::new().file("usr/lib/os-release", "ID='debian'\nVERSION_ID=12\n").scan();
    let inventory = fold_own(&[lower, upper]);
    let distro = inventory.distro().unwrap();
    assert_eq!((distro.id(), distro.version()), ("debian", Some("12")));
}

#[test]
fn takes_the_point_release_only_where_it_is_one() {
    for (file, expected) in [("12.11\n", "12.11"), ("trixie/sid\n", "12"), ("13.1\n", "12"), ("12.x", "12")] {
        let layer = Tar::new().file("etc/os-release", "ID=debian\nVERSION_ID=12\n");
        let inventory = fold_own(&[layer.file("etc/debian_version", file).scan()]);
        assert_eq!(inventory.distro().unwrap().version(), Some(expected), "{file}");
    }
}

#[test]
fn reads_distroless_status_files_and_their_file_lists() {
    let layer = debian(Tar::new())
        .file("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2025b\nArchitecture: all\n")
        .file("var/lib/dpkg/status.d/tzdata.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/share/zone\n")
        .file("usr/share/zone", "")
        .file("app", "mine")
        .scan();
    let inventory = fold_own(&[layer]);
    assert_eq!(names(&inventory), ["tzdata 2025b"]);
    assert_eq!(own_paths(&inventory), ["/app", "/etc/debian_version", "/etc/os-release"]);
}

#[test]
fn lists_files_above_the_base_that_no_package_owns() {
    let base = Tar::new().file("usr/bin/base", "1").file("etc/base", "1").scan();
    let own = Tar::new()
        .file(STATUS, &status(&[("tool", "1")]))
        .file("var/lib/dpkg/info/tool.list", "/.\n/bin\n/bin/tool\n/etc/tool.conf\n")
        .file("var/lib/dpkg/info/tool.postinst", "#!/bin/sh\n")
        .file("usr/bin/tool", "1")
        .file("etc/tool.conf", "1")
        .file("app/server", "hello")
        .file("var/lib/dpkg/info/other.postinst", "not tool's")
        .scan();
    let inventory = fold_on_base(&[base, own]);
    assert_eq!(own_paths(&inventory), ["/app/server", "/var/lib/dpkg/info/other.postinst"]);
    assert_eq!(inventory.own_files().listed()[0].digest, Digest::of(b"hello"));
    assert!(inventory.own_files().is_complete());
}

#[test]
fn lists_a_file_that_replaces_one_of_a_lower_layers_package() {
    let base = Tar::new()
        .file(STATUS, &status(&[("bash", "5")]))
        .file("var/lib/dpkg/info/bash.list", "/bin/bash\n")
        .file("usr/bin/bash", "good")
        .scan();
    let own = Tar::new().file("usr/bin/bash", "planted").scan();
    assert_eq!(own_paths(&fold_on_base(&[base, own])), ["/usr/bin/bash"]);
}

#[test]
fn lists_the_files_of_a_package_whose_records_were_removed() {
    let base = Tar::new().scan();
    let own = Tar::new()
        .file(STATUS, &status(&[("tool", "1")]))
        .file("var/lib/dpkg/info/tool.list", "/usr/bin/tool\n")
        .file("usr/bin/tool", "1")
        .scan();
    let removed = Tar::new().file("var/lib/.wh.dpkg", "").scan();
    assert_eq!(own_paths(&fold_on_base(&[base, own, removed])), ["/usr/bin/tool"]);
}

#[test]
fn tells_the_truth_when_the_list_of_own_files_is_cut() {
    let tar = (0..2_003).fold(Tar::new(), |tar, index| tar.file(&format!("app/{index:05}"), "x"));
    let inventory = fold_own(&[tar.scan()]);
    let own = inventory.own_files();
    assert_eq!((own.listed().len(), own.total(), own.is_complete()), (2_000, 2_003, false));
    insta::assert_snapshot!(own.summary(), @"Files above the base image that no package owns: 2003 with 2003 bytes, the first 2000 by path are listed");
}

#[test]
fn tells_two_packages_apart_that_differ_only_in_case() {
    let layer = debian(Tar::new()).file(STATUS, &status(&[("Foo", "1"), ("foo", "1")])).scan();
    let inventory = fold_own(&[layer]);
    assert_eq!(inventory.package_count(), 2);
    assert_ne!(inventory.packages()[0].id, inventory.packages()[1].id);
}

#[test]
fn names_what_is_not_listed_of_a_database() {
    let inventory = fold_own(&[Tar::new().file(STATUS, "Package: a b\nVersion: 1\n").scan()]);
    insta::assert_snapshot!(inventory.gaps().join("\n"), @"1 entries of `var/lib/dpkg/status` are not listed: no usable name or version, or too many");
}

#[test]
fn resolves_dependencies_by_name_alternative_and_what_is_provided() {
    let text = "Package: app\nVersion: 1\nDepends: libc6 (>= 2), mail-transport-agent | exim4, absent\n\n\
        Package: libc6\nVersion: 2\n\nPackage: postfix\nVersion: 3\nProvides: mail-transport-agent\n";
    let inventory = fold_own(&[Tar::new().file(STATUS, text).scan()]);
    assert_eq!(inventory.packages()[0].depends_on, ["deb:libc6@2:unknown", "deb:postfix@3:unknown"]);
}

#[test]
fn spells_package_urls_as_other_scanners_do() {
    let text = "Package: bsdutils\nVersion: 1:2.38.1-5+deb12u3\nArchitecture: amd64\nSource: util-linux (2.38.1-5+deb12u3)\n";
    let inventory = fold_own(&[debian(Tar::new()).file(STATUS, text).scan()]);
    insta::assert_snapshot!(
        inventory.packages()[0].purl.as_deref().unwrap(),
        @"pkg:deb/debian/bsdutils@1:2.38.1-5%2Bdeb12u3?arch=amd64&distro=debian-12.11&upstream=util-linux%402.38.1-5%2Bdeb12u3"
    );
}

#[test]
fn reads_a_fragment_back_from_a_cache() {
    let fragment = debian(Tar::new())
        .file(STATUS, &status(&[("bash", "5")]))
        .file("usr/share/doc/bash/copyright", "Format: x\n\nLicense: GPL-3+\n")
        .file("a/.wh.b", "")
        .scan();
    let read: LayerFragment = serde_json::from_slice(&serde_json::to_vec(&fragment).unwrap()).unwrap();
    assert_eq!(read, fragment);
    assert!(read.is_current());
}

#[test]
fn reads_the_stream_to_its_very_end() {
    let mut bytes = Tar::new().file("a", "1").bytes();
    bytes.extend([0_u8; 10_240]);
    bytes.extend(b"padding that counts for the diff id");
    let mut rest = &bytes[..];
    scan_layer(&mut rest).unwrap();
    assert!(rest.is_empty());
}
