//! The commit's tree, taken from a real git over its cat-file protocol, and from liars.

mod support;

use std::process::Stdio;

use airlock::delivery::commit::{CommitTree, TarOwner};
use airlock::failure::Failure;
use support::git_repository::{GitRepository, hermetic_git};

const LIMIT: u64 = 1 << 20;

fn fetch(repository: &GitRepository, limit: u64) -> Result<CommitTree, Failure> {
    let id = repository.head().parse().expect("an id");
    in_runtime(async move {
        let mut command = tokio::process::Command::from(hermetic_git());
        let mut git = command
            .args(["cat-file", "--batch"])
            .current_dir(repository.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git");
        let (requests, answers) = (git.stdin.take().expect("stdin"), git.stdout.take().expect("stdout"));
        let directory = tempfile::tempdir().expect("a directory");
        CommitTree::fetch(id, requests, answers, directory.path(), limit).await.map_err(Failure::from)
    })
}

fn answered(answers: &'static [u8]) -> Failure {
    let id = "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b".parse().expect("an id");
    in_runtime(async move {
        let directory = tempfile::tempdir().expect("a directory");
        let result = CommitTree::fetch(id, tokio::io::sink(), answers, directory.path(), LIMIT).await;
        result.err().map(Failure::from).expect("a refusal")
    })
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn listing(tree: &CommitTree, base: &str, keep: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut bytes = Vec::new();
    tree.write_tar(base, "", TarOwner { uid: 7, gid: 8 }, keep, &mut bytes).expect("a tar");
    let mut archive = tar::Archive::new(&bytes[..]);
    let entries = archive.entries().expect("entries").map(|entry| {
        let entry = entry.expect("an entry");
        let header = entry.header();
        format!(
            "{} {:o} {}:{} {} {}",
            String::from_utf8_lossy(&entry.path_bytes()),
            header.mode().expect("a mode"),
            header.uid().expect("a uid"),
            header.gid().expect("a gid"),
            header.mtime().expect("a time"),
            entry.link_name_bytes().map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default(),
        )
    });
    entries.collect()
}

#[test]
fn a_tree_is_taken_as_raw_objects_whatever_the_attributes_say() {
    let mut repository = GitRepository::create("staging");
    repository.write(
        ".gitattributes",
        "*.txt text eol=crlf\nsecret.txt export-ignore\nid.txt ident export-subst\n",
    );
    repository.write("secret.txt", "line\n").write("id.txt", "$Id$ $Format:%H$\n");
    repository.write_executable("bin/run", "#!/bin/sh\n").symlink("link", "bin/run");
    repository.commit("first");
    let tree = fetch(&repository, LIMIT).expect("a tree");
    assert_eq!(tree.len(), 5);
    assert_eq!(tree.read("secret.txt", 100).expect("readable").as_deref(), Some(&b"line\n"[..]));
    assert_eq!(tree.read("id.txt", 100).expect("readable").as_deref(), Some(&b"$Id$ $Format:%H$\n"[..]));
    assert!(tree.read("link", 100).is_err(), "a link is not read through");
    let time = tree.commit().time();
    assert_eq!(
        listing(&tree, "", &|path| path != "id.txt"),
        [
            format!(".gitattributes 644 7:8 {time} "),
            format!("bin/ 755 7:8 {time} "),
            format!("bin/run 755 7:8 {time} "),
            format!("link 777 7:8 {time} bin/run"),
            format!("secret.txt 644 7:8 {time} "),
        ]
    );
    assert_eq!(listing(&tree, "bin", &|_| true), [format!("run 755 7:8 {time} ")]);
}

#[test]
fn a_sha256_repository_is_taken_too() {
    let mut repository = GitRepository::create_with_format("staging", "sha256");
    repository.write("a", "b");
    repository.commit("first");
    assert_eq!(fetch(&repository, LIMIT).expect("a tree").len(), 1);
}

#[test]
fn submodules_pointers_and_large_trees_are_refused_by_name() {
    let mut texts = String::new();
    let mut submodule = GitRepository::create("staging");
    submodule.write("a", "b");
    submodule.commit("first");
    submodule.gitlink("vendor/lib", "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b");
    submodule.commit("second");
    texts.push_str(&format!("{}\n\n", fetch(&submodule, LIMIT).err().expect("a refusal")));
    let mut pointer = GitRepository::create("staging");
    pointer.lfs_pointer("model.bin", &"ab".repeat(32), 12);
    pointer.commit("first");
    texts.push_str(&format!("{}\n\n", fetch(&pointer, LIMIT).err().expect("a refusal")));
    let mut large = GitRepository::create("staging");
    large.write("large", vec![b'x'; 5000]);
    large.commit("first");
    texts.push_str(&format!("{}\n", fetch(&large, 4999).err().expect("a refusal")));
    insta::assert_snapshot!(texts);
}

#[test]
fn answers_that_are_not_the_objects_are_refused() {
    let cases: [(&str, &[u8]); 6] = [
        ("nothing", b""),
        ("missing", b"1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b missing\n"),
        ("other kind", b"1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b blob 3\nabc\n"),
        ("other content", b"1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b commit 3\nabc\n"),
        ("endless size", b"1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b commit 99999999999\nabc\n"),
        ("cut", b"1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b commit 300\nabc\n"),
    ];
    let mut texts = String::new();
    for (name, answers) in cases {
        texts.push_str(&format!("── {name}\n{}\n\n", answered(answers)));
    }
    insta::assert_snapshot!(texts);
}
