//! The corpus as one hub's commit, and a sandbox that resolves its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use airlock::compose::{ServiceLimits, StackRequest, TreePath};
use airlock::delivery::commit::CommitTree;
use airlock::domain::commit::EntryMode;
use airlock::domain::digest::Digest;
use airlock::domain::sandbox::{SandboxUser, SeccompProfile};
use airlock::engine::{Engine, Labels};
use airlock::hub::stack::StackParts;
use airlock::tools::compose::Compose;
use serde_json::Value;

use crate::support::git_repository::{GitRepository, hermetic_git};
use crate::support::staging::base_image;

const SOCKET: &str = "unix:///var/run/docker.sock";

/// Returns the files of one part of the corpus with their names.
pub fn corpus(kind: &str) -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose_files").join(kind);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 10, "the corpus of {kind} files is there");
    files.into_iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path)).collect()
}

/// A repository with what the corpus' files name, and a link.
pub fn repository() -> GitRepository {
    let repository = GitRepository::create("main");
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose_files/tree");
    repository.copy_from(&tree).symlink("link", "conf");
    repository
}

/// Returns the repository's newest commit as Airlock has it.
pub async fn fetch(repository: &GitRepository) -> CommitTree {
    let id = repository.head().parse().unwrap();
    let mut git = tokio::process::Command::from(hermetic_git())
        .args(["cat-file", "--batch"])
        .current_dir(repository.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (requests, answers) = (git.stdin.take().unwrap(), git.stdout.take().unwrap());
    let directory = tempfile::tempdir().unwrap();
    CommitTree::fetch(id, requests, answers, directory.path(), 1 << 28).await.unwrap()
}

/// What the hub's own manifest would say for a resolved file: an image for every service but strangers,
/// and for those that are `named` without being there.
pub fn request(config: &[u8], tree: BTreeMap<String, TreePath>, named: &[&str]) -> StackRequest {
    let file: Value = serde_json::from_slice(config).unwrap_or_default();
    let services = file["services"].as_object().cloned().unwrap_or_default();
    let names = services.keys().map(String::as_str).chain(named.iter().copied());
    StackRequest {
        project: "airlock-7".into(),
        images: names
            .filter(|name| !name.contains("stranger"))
            .map(|name| (name.to_owned(), Digest::of(name.as_bytes())))
            .collect(),
        tree,
        tree_on_host: "/var/lib/airlock/$7/tree".into(),
        seccomp_on_host: "/var/lib/airlock/$7/seccomp.json".into(),
        labels: BTreeMap::from([("airlock.job".to_owned(), "7".to_owned())]),
        limits: ServiceLimits { memory_bytes: 1 << 30, cpu_millis: 2000, pids: 512, tmp_bytes: 64 << 20 },
        start_interval: true,
    }
}

/// Commits the files of a corpus as `<name>.yaml`, and fetches the commit; returns their names too.
pub async fn corpus_tree(kind: &str) -> (Vec<String>, CommitTree) {
    let mut repository = repository();
    let files = corpus(kind);
    for (name, path) in &files {
        repository.write(&format!("{name}.yaml"), std::fs::read(path).unwrap());
    }
    repository.commit("corpus");
    let tree = fetch(&repository).await;
    (files.into_iter().map(|(name, _)| name).collect(), tree)
}

/// Every path of a commit, as the hub job gives them to the compiler.
pub fn paths(tree: &CommitTree) -> BTreeMap<String, TreePath> {
    let mut paths = BTreeMap::new();
    for (path, mode) in tree.paths() {
        for (slash, _) in path.match_indices('/') {
            paths.insert(path[..slash].to_owned(), TreePath::Directory);
        }
        let kind = if mode == EntryMode::Symlink { TreePath::Link } else { TreePath::File };
        paths.insert(path.to_owned(), kind);
    }
    paths
}

pub struct Bench {
    pub engine: Engine,
    compose: Compose,
    helper: Digest,
    pub name: String,
    pub labels: Labels,
    pub directory: tempfile::TempDir,
}

impl Bench {
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let engine = Engine::connect(SOCKET).await.unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("composetest-{}-{number}", std::process::id());
        let labels = BTreeMap::from([("airlock.test".to_owned(), name.clone())]);
        let helper = base_image("HELPER");
        let helper = engine.resolve_image(&helper.parse().unwrap(), None, &mut |_| {}).await.unwrap().id;
        engine.create_tools_volume(&format!("{name}-tools"), &helper, &labels).await.unwrap();
        let program = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/target/tools/compose/usr/libexec/docker/cli-plugins/docker-compose"
        );
        let compose = Compose::open(Path::new(program), SOCKET).await.unwrap();
        Self { engine, compose, helper, name, labels, directory: tempfile::tempdir().unwrap() }
    }

    pub fn parts(&self) -> StackParts<'_> {
        StackParts {
            engine: &self.engine,
            compose: &self.compose,
            helper: self.helper.clone(),
            user: SandboxUser::new(1000, 1000).unwrap(),
            tools_volume: format!("{}-tools", self.name),
            seccomp: SeccompProfile::shipped(),
            key: &self.name,
            labels: &self.labels,
            ready_timeout: Duration::from_secs(180),
            work_dir: self.directory.path(),
        }
    }

    /// Removes the tools volume, and asserts that the resolver left nothing.
    pub async fn end(self) {
        self.engine.remove_volume(&format!("{}-tools", self.name)).await.unwrap();
        for kind in ["container", "volume", "network"] {
            let filter = format!("label=airlock.test={}", self.name);
            let mut list = std::process::Command::new("docker");
            list.args([kind, "ls", "--quiet", "--filter", &filter]);
            if kind == "container" {
                list.arg("--all");
            }
            let left = list.output().unwrap();
            assert_eq!(String::from_utf8_lossy(&left.stdout), "", "a {kind} was left");
        }
    }
}

pub fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
