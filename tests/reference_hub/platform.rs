//! The sample repositories of a platform and the images that are built from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use airlock::domain::digest::Digest;
use airlock::engine::{BUILD_TAG_PREFIX, BuildCache, BuildLock, BuildRequest, Engine, Labels};
use bytes::Bytes;

pub const COMPONENTS: [&str; 3] = ["billing", "gateway", "ledger"];
const SOCKET: &str = "unix:///var/run/docker.sock";
const LABEL: &str = "airlock.test";

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns an image that `scripts/bootstrap` made.
pub fn base_image(name: &str) -> String {
    let file = root().join("target/airlock-images.env");
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|e| panic!("{}: {e}; run scripts/bootstrap", file.display()));
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("{name} is not in {}; run scripts/bootstrap", file.display()))
        .to_owned()
}

/// Runs a program that has to succeed.
pub fn stdout(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The hub's and the components' repositories; what the engine made of them goes when it is dropped.
pub struct Platform {
    pub engine: Engine,
    /// Unique; the label's value of everything in the engine, and the Compose project's name.
    pub name: String,
    directory: tempfile::TempDir,
}

impl Platform {
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("airlock-test-hub-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let engine = Engine::connect(SOCKET).await.expect("the engine");
        let platform = Self { engine, name, directory: tempfile::tempdir().expect("a directory") };
        for name in COMPONENTS.into_iter().chain(["hub"]) {
            let script = root().join("scripts/sample-repository");
            stdout(Command::new(script).arg(name).arg(platform.repository(name)));
        }
        platform
    }

    pub fn repository(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn labels(&self) -> Labels {
        BTreeMap::from([(LABEL.to_owned(), self.name.clone())])
    }

    /// Builds each component from its working tree; steps that are there already are used again.
    pub async fn build(&self) -> BTreeMap<String, Digest> {
        let lock = root().join("target/airlock-test-build.lock");
        let lock = BuildLock::acquire(&lock, &mut || {}).await.expect("the lock");
        let mut images = BTreeMap::new();
        for component in COMPONENTS {
            let mut context = tar::Builder::new(Vec::new());
            context.append_dir_all(".", self.repository(component)).expect("a context");
            let context = Bytes::from(context.into_inner().expect("an archive"));
            let request = BuildRequest {
                dockerfile: "Dockerfile".into(),
                target: None,
                tag: format!("{BUILD_TAG_PREFIX}{}:{component}", self.name),
                cache: BuildCache::Use,
                build_args: BTreeMap::new(),
                labels: self.labels(),
            };
            let mut log = Vec::new();
            let context = futures_util::stream::iter([Ok(context)]);
            let built = self.engine.build(&lock, &request, context, &mut |line| log.push(line.text)).await;
            images.insert(
                component.to_owned(),
                built.unwrap_or_else(|error| panic!("{component}: {error}\n{}", log.join("\n"))),
            );
        }
        images
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let name = self.name.clone();
        // The test's own runtime can't wait for anything here.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let engine = Engine::connect(SOCKET).await.expect("the engine");
                engine.remove_by_label(LABEL, &name).await.failures.len()
            })
        });
        let failures = removal.join().expect("the removal");
        if !std::thread::panicking() {
            assert_eq!(failures, 0, "something of {} is left in the engine", self.name);
        }
    }
}
