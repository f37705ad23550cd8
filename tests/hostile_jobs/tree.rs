//! Trees that point elsewhere, name what they may not, or are too large.

use std::fs;

use crate::attack::Attack;
use crate::published_image::PublishedImage;
use crate::support::engine_words::engine_words;
use crate::support::git_repository::GitRepository;
use crate::support::staging::{Host, Place, SCRIPT};

/// Commits a tree whose entries git itself would refuse to add.
fn commit_raw(repository: &GitRepository, entries: &[(&str, &[u8], &str)]) {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend((0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).expect("an id")));
    }
    let file = repository.path().join(".git/raw");
    fs::write(&file, bytes).expect("a file");
    let tree = repository.git(&["hash-object", "-t", "tree", "--literally", "-w", ".git/raw"]);
    let commit = repository.git(&["commit-tree", &tree, "-p", "HEAD", "-m", "raw"]);
    repository.git(&["update-ref", "HEAD", &commit]);
}

/// Stores bytes as a blob.
fn blob(repository: &GitRepository, bytes: &[u8]) -> String {
    fs::write(repository.path().join(".git/raw"), bytes).expect("a file");
    repository.git(&["hash-object", "-w", "--no-filters", ".git/raw"])
}

#[test]
fn a_relative_link_that_climbs_out_of_the_tree_is_refused() {
    let attack = Attack::with(|repository| {
        repository.symlink("up", "../../../../../../../etc/hostname");
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn absolute_links_stay_links_and_bring_nothing_along() {
    let attack = Attack::with(|repository| {
        repository.symlink("secret", "/etc/shadow");
        repository.symlink("directory", "/var/run");
        let test = "stage-unit-test:\n\t@test -L secret && ! cat secret 2>/dev/null\n";
        repository.write("Makefile", test);
    });
    attack.published(&attack.job());
    let image = PublishedImage::staged(&attack.host);
    assert_eq!(image.link("srv/secret"), "/etc/shadow");
    assert_eq!(image.link("srv/directory"), "/var/run");
}

#[test]
fn a_copy_through_a_link_out_of_the_context_finds_nothing_of_the_host() {
    let attack = Attack::with(|repository| {
        repository.symlink("escape", "/etc");
        repository.write("Dockerfile", "FROM scratch\nCOPY escape/hostname /stolen\n");
    });
    let told = attack.refused(&attack.job());
    // Newer engines name what the file asks for, older ones what the link would lead to.
    let newer = if told.contains("\"/escape/hostname\"") { "_by_newer_engines" } else { "" };
    let golden = format!("a_copy_through_a_link_out_of_the_context_finds_nothing_of_the_host{newer}");
    insta::assert_snapshot!(golden, engine_words(&told));
}

#[test]
fn a_dockerfile_that_is_a_link_is_refused() {
    let attack = Attack::with(|repository| {
        repository.write("other", "FROM scratch\nCOPY . /\n").remove("Dockerfile");
        repository.symlink("Dockerfile", "other");
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_manifest_that_is_a_link_is_refused() {
    let attack = Attack::with(|repository| {
        repository.symlink("airlock.toml", "/etc/airlock/host.toml");
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_version_file_that_is_a_link_is_refused() {
    let attack = Attack::with(|repository| {
        repository.remove("VERSION").symlink("VERSION", "/etc/passwd");
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_context_that_is_a_link_is_refused() {
    let attack = Attack::with(|repository| {
        repository.symlink("context", "/etc");
        repository.write(
            "airlock.toml",
            "schema = 1\n[[image]]\nrepository = \"billing\"\ncontext = \"context\"\ndockerfile = \"context/Dockerfile\"\n",
        );
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_context_that_climbs_out_is_refused() {
    let attack = Attack::with(|repository| {
        repository.write(
            "airlock.toml",
            "schema = 1\n[[image]]\nrepository = \"billing\"\ncontext = \"../..\"\ndockerfile = \"/etc/passwd\"\n",
        );
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_link_whose_target_is_no_path_is_refused() {
    let attack = Attack::with(|repository| {
        let target = blob(repository, b"app.py\0/etc/passwd");
        let app = repository.git(&["rev-parse", "HEAD:app.py"]);
        commit_raw(repository, &[("100644", b"app.py", &app), ("120000", b"link", &target)]);
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_submodule_is_refused_by_name() {
    let attack = Attack::with(|repository| {
        repository.gitlink("vendor/lib", "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b");
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn an_lfs_pointer_is_refused_by_name() {
    let attack = Attack::with(|repository| {
        repository.lfs_pointer("model.bin", &"ab".repeat(32), 1 << 30);
    });
    insta::assert_snapshot!(attack.refused(&attack.job()));
}

#[test]
fn a_directory_that_is_called_like_gits_own_is_refused() {
    let attack = Attack::with(|repository| {
        let tree = repository.git(&["rev-parse", "HEAD^{tree}"]);
        let app = repository.git(&["rev-parse", "HEAD:app.py"]);
        commit_raw(repository, &[("40000", b".GIT", &tree), ("100644", b"app.py", &app)]);
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

#[test]
fn names_that_climb_are_refused() {
    let attack = Attack::with(|repository| {
        let tree = repository.git(&["rev-parse", "HEAD^{tree}"]);
        commit_raw(repository, &[("40000", b"..", &tree)]);
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

#[test]
fn a_slash_inside_a_name_is_refused() {
    let attack = Attack::with(|repository| {
        let app = repository.git(&["rev-parse", "HEAD:app.py"]);
        commit_raw(repository, &[("100644", b"../../etc/cron.d/x", &app)]);
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

#[test]
fn control_characters_in_names_are_refused_and_not_printed() {
    let attack = Attack::with(|repository| {
        let app = repository.git(&["rev-parse", "HEAD:app.py"]);
        commit_raw(repository, &[("100644", b"a\x1b[2J\x1b]0;owned\x07\n.py", &app)]);
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

#[test]
fn a_backslash_in_a_name_is_a_character_like_any_other() {
    let attack = Attack::with(|repository| {
        repository.write("..\\..\\app.py", "print(1)\n");
    });
    attack.published(&attack.job());
    assert_eq!(PublishedImage::staged(&attack.host).file("srv/..\\..\\app.py"), b"print(1)\n");
}

#[test]
fn one_file_over_the_limit_is_refused() {
    let attack = small_workspace(|repository| {
        repository.write("large", vec![7; 17 << 20]);
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

#[test]
fn one_blob_under_many_names_counts_as_often_as_it_is_named() {
    let attack = small_workspace(|repository| {
        let blob = blob(repository, &vec![0; 1 << 20]);
        let names: Vec<String> = (0..5000).map(|i| format!("f{i:05}")).collect();
        let entries: Vec<(&str, &[u8], &str)> =
            names.iter().map(|name| ("100644", name.as_bytes(), blob.as_str())).collect();
        commit_raw(repository, &entries);
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

#[test]
fn a_tree_that_unfolds_without_end_is_refused() {
    let attack = small_workspace(|repository| {
        // Ten directories in each of six levels: a million of them, in seven small objects.
        let mut inner = repository.git(&["rev-parse", "HEAD^{tree}"]);
        for _ in 0..6 {
            let names: Vec<String> = (0..10).map(|i| format!("d{i}")).collect();
            let entries: Vec<(&str, &[u8], &str)> =
                names.iter().map(|name| ("40000", name.as_bytes(), inner.as_str())).collect();
            commit_raw(repository, &entries);
            inner = repository.git(&["rev-parse", "HEAD^{tree}"]);
        }
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

#[test]
fn many_files_with_long_paths_are_refused() {
    let attack = small_workspace(|repository| {
        let empty = blob(repository, b"");
        let names: Vec<String> = (0..20_000).map(|i| format!("f{i:05}")).collect();
        let entries: Vec<(&str, &[u8], &str)> =
            names.iter().map(|name| ("100644", name.as_bytes(), empty.as_str())).collect();
        commit_raw(repository, &entries);
        for _ in 0..15 {
            let inner = repository.git(&["rev-parse", "HEAD^{tree}"]);
            commit_raw(repository, &[("40000", &[b'd'; 250], &inner)]);
        }
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

#[test]
fn a_hundred_directories_inside_each_other_are_refused() {
    let attack = small_workspace(|repository| {
        for _ in 0..100 {
            let inner = repository.git(&["rev-parse", "HEAD^{tree}"]);
            commit_raw(repository, &[("40000", b"d", &inner)]);
        }
    });
    insta::assert_snapshot!(attack.refused(&attack.job().variable("GIT_STRATEGY", "none")));
}

/// A host whose workspaces hold 16 MiB.
fn small_workspace(change: impl FnOnce(&mut GitRepository)) -> Attack {
    let host = Host::new(Place::Layout, |settings| {
        assert!(settings.contains(SCRIPT));
        settings.replace("workspace_mib = 256", "workspace_mib = 16")
    });
    Attack::on(host, change)
}
