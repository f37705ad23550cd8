//! Two components published by real staging jobs, snapshotted and put into the engine, from both kinds of store.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use airlock::cancel::Cancel;
use airlock::domain::hub::{HubInputs, HubManifest};
use airlock::domain::trust::TrustPolicy;
use airlock::engine::Engine;
use airlock::failure::Outcome;
use airlock::hub::snapshot::{
    EngineParts, LOADED_TAG_PREFIX, LoadedSnapshot, Patience, Projects, Snapshot, SnapshotParts,
    forget_unused, into_engine, take,
};
use airlock::job_log::{JobLog, LogStyle};
use airlock::registry::ImageStore;
use airlock::registry::layout::LayoutDirectory;
use airlock::registry::remote::{RemoteRegistry, RemoteSettings, RetryPolicy};
use airlock::settings::{Settings, StorePlace};
use time::OffsetDateTime;

use crate::support::faulty_registry::{Answer, FaultyRegistry};
use crate::support::git_repository::GitRepository;
use crate::support::registry::{Kind, Registry};
use crate::support::staging::{
    Host, JOB_NAME, Place, SCRIPT, base_image, redact, small_component, write_small_component,
};

/// A host on which billing and ledger were staged.
struct Bench {
    host: Host,
    settings: Settings,
    store: Arc<dyn ImageStore>,
    log: PathBuf,
}

impl Bench {
    fn new(place: Place) -> Self {
        let host = Host::new(place, |settings| {
            format!(
                "{settings}\n[[publish]]\nproject_id = 18\nproject_path = \"acme/ledger\"\nref = \"staging\"\n\
                 job = \"{JOB_NAME}\"\nscript = [\"{SCRIPT}\"]\nrepositories = [\"ledger\"]\n"
            )
        });
        let billing = small_component();
        let project = host.serve(&billing);
        host.gitlab.enqueue(&host.staging_job(&project, &billing));
        host.runner().run_one().expect_success();
        let mut ledger = GitRepository::create("staging");
        write_small_component(&ledger);
        ledger.write("VERSION", "2.0.0\n");
        ledger.commit("the ledger");
        let project = host.gitlab.serve(18, "acme/ledger", &ledger);
        host.gitlab.enqueue(&host.staging_job(&project, &ledger));
        host.runner().run_one().expect_success();
        let text = std::fs::read_to_string(&host.settings).expect("the settings");
        let settings = Settings::parse(&text).expect("valid settings");
        let store = open(&settings.store.place);
        let log = host.path("hub.log");
        Self { host, settings, store, log }
    }

    fn manifest(&self) -> HubManifest {
        HubManifest::parse(&format!(
            "schema = 1\nplatform = \"acme\"\n\
             [components.billing]\nproject_id = 17\nservices = {{ api = \"billing\", migrate = \"billing\" }}\n\
             [components.ledger]\nproject_id = 18\nservices = {{ ledger = \"ledger\" }}\n\
             [sidecars.database]\nimage = \"{}\"\n",
            base_image("DEBIAN")
        ))
        .expect("a manifest")
    }

    fn log(&self) -> JobLog {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        JobLog::new(Box::new(file), LogStyle::Terminal)
    }

    /// Returns the log without what differs from run to run; images arrive in any order.
    fn told(&self) -> String {
        let text = redact(&std::fs::read_to_string(&self.log).expect("a log"));
        let id = regex::Regex::new(r"\b[0-9a-f]{12}\b").expect("a pattern");
        let mut lines: Vec<String> = id
            .replace_all(&text, "<short>")
            .lines()
            .filter(|line| !line.trim_start().starts_with('…'))
            .map(str::to_owned)
            .collect();
        let arriving = |line: &String| line.starts_with("image   ") || line.starts_with("sidecar ");
        let first = lines.iter().position(&arriving).unwrap_or(lines.len());
        lines[first..].sort();
        lines.join("\n")
    }

    async fn take(&self) -> Outcome<Snapshot> {
        let text = std::fs::read_to_string(self.host.path("trust.toml")).expect("the policy");
        let key = |name: &str| std::fs::read_to_string(self.host.path(name));
        let policy = TrustPolicy::parse(&text, "/etc/airlock/trust.toml", &key).expect("a policy");
        let parts = SnapshotParts {
            store: &*self.store,
            policy: &policy,
            prefix: self.settings.store.prefix.as_ref(),
            projects: Projects::Published(&self.settings.publish),
            predecessor: None,
            now: OffsetDateTime::now_utc(),
            patience: Patience { total: Duration::ZERO, pause: Duration::from_millis(10) },
        };
        let cancel = Cancel::listen().expect("signals");
        take(parts, &self.manifest(), HubInputs::default(), &self.log(), &cancel).await
    }

    async fn fetched(&self, engine: &Engine, snapshot: Snapshot) -> Outcome<LoadedSnapshot> {
        let parts = EngineParts {
            engine,
            store: &*self.store,
            place: &self.settings.store.place,
            prefix: self.settings.store.prefix.as_ref(),
            images: &self.settings.images,
            work_dir: self.host.directory.path(),
        };
        let cancel = Cancel::listen().expect("signals");
        into_engine(&parts, snapshot, &self.manifest(), &self.log(), &cancel).await
    }

    /// Takes the snapshot into the engine, runs what it has there, and returns what was loaded.
    async fn runs_what_was_verified(&self) -> LoadedSnapshot {
        let engine = Engine::connect("unix:///var/run/docker.sock").await.expect("an engine");
        let snapshot = self.take().await.unwrap_or_else(|failure| panic!("{failure}"));
        let loaded = self.fetched(&engine, snapshot).await.unwrap_or_else(|failure| panic!("{failure}"));
        let services: Vec<&str> = loaded.images.keys().map(String::as_str).collect();
        assert_eq!(services, ["api", "database", "ledger", "migrate"]);
        assert_eq!(loaded.images["api"], loaded.images["migrate"]);
        let parts = loaded.snapshot.release_parts().expect("parts");
        for component in &parts.components {
            let [image] = component.images.as_slice() else { panic!("one image") };
            let service = if component.name == "billing" { "api" } else { "ledger" };
            assert_eq!(loaded.images[service], image.config);
            let output = std::process::Command::new("docker")
                .args(["run", "--rm", "--network", "none", "--label", "airlock.test=hub-snapshot"])
                .args(["--entrypoint", "cat", loaded.images[service].as_str(), "/srv/built"])
                .output()
                .expect("the docker client");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "built\n", "{output:?}");
        }
        assert_eq!(parts.sidecars[0].repository.as_str(), "base/debian");
        assert_eq!(parts.sidecars[0].config, loaded.images["database"]);
        loaded
    }

    fn remove_from_engine(&self, loaded: &LoadedSnapshot, names: &dyn Fn(&str, &str, &str) -> String) {
        for image in loaded.snapshot.components.iter().flat_map(|component| &component.images) {
            let name = names(image.repository.as_str(), image.config.hex(), image.image.digest().as_str());
            let _ = std::process::Command::new("docker").args(["rmi", &name]).output();
        }
    }
}

fn open(place: &StorePlace) -> Arc<dyn ImageStore> {
    match place {
        StorePlace::Layout(directory) => {
            Arc::new(LayoutDirectory::open(directory.clone()).expect("a layout"))
        }
        StorePlace::Registry { host, ca, auth_file } => {
            let (host, ca, auth_file) = (host.clone(), ca.clone(), auth_file.clone());
            let retry = RetryPolicy::default();
            let settings = RemoteSettings { host, ca, auth_file, retry };
            Arc::new(RemoteRegistry::connect(settings).expect("a registry"))
        }
    }
}

#[tokio::test]
async fn two_components_of_a_layout_are_verified_and_run_in_the_engine() {
    let bench = Bench::new(Place::Layout);
    // The engine that built them has them no more: what it gets comes out of the layout.
    let engine = Engine::connect("unix:///var/run/docker.sock").await.expect("an engine");
    for component in &bench.take().await.expect("a snapshot").components {
        assert_eq!(engine.image_id(component.images[0].config.as_str()).await.expect("an answer"), None);
    }
    std::fs::remove_file(&bench.log).expect("the log of this look");
    let loaded = bench.runs_what_was_verified().await;
    insta::assert_snapshot!("layout", bench.told());
    // The second run finds the images in the engine and takes nothing for granted that it did not verify.
    let again = bench.runs_what_was_verified().await;
    assert_eq!(again.images, loaded.images);
    let left = std::fs::read_dir(bench.host.directory.path()).expect("the host's directory");
    let left = left
        .filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("layers-")));
    assert_eq!(left.count(), 0, "layers on their way are gone");
    // They stay for the next runs, and go when none has taken them for a week.
    let ours = format!("{LOADED_TAG_PREFIX}acme/");
    for (days, there) in [(6, true), (8, false)] {
        let then = OffsetDateTime::now_utc() + time::Duration::days(days);
        forget_unused(&engine, &ours, then, &bench.log()).await.expect("the engine");
        for image in loaded.snapshot.components.iter().flat_map(|component| &component.images) {
            let found = engine.image_id(image.config.as_str()).await.expect("an answer");
            assert_eq!(found.is_some(), there, "after {days} days");
        }
    }
    assert!(bench.told().contains("no run took it for 7 days"), "{}", bench.told());
}

#[tokio::test]
async fn two_components_of_a_registry_are_verified_and_run_in_the_engine() {
    let bench = Bench::new(Place::Registry);
    let loaded = bench.runs_what_was_verified().await;
    insta::assert_snapshot!("registry", bench.told());
    let host = bench.host.registry.as_ref().expect("a registry").host.clone();
    bench.remove_from_engine(&loaded, &|repository, _, digest| format!("{host}/acme/{repository}@{digest}"));
}

#[tokio::test]
async fn a_registry_that_gives_other_bytes_later_is_refused() {
    let real = Registry::start(Kind::PlainOpen);
    let lies = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&lies);
    let faulty = FaultyRegistry::start(Some(&real.host), move |request, _| {
        let by_digest = request.target.contains("/manifests/sha256:") && request.target.contains("ledger");
        if seen.load(Ordering::SeqCst) && request.method == "GET" && by_digest {
            Answer::ForwardAltered
        } else {
            Answer::Forward
        }
    });
    let bench = Bench::new(Place::Address(faulty.host.clone()));
    bench.take().await.unwrap_or_else(|failure| panic!("the registry is honest yet: {failure}"));
    lies.store(true, Ordering::SeqCst);
    let failure = bench.take().await.expect_err("the second GET has other bytes");
    insta::assert_snapshot!("other_bytes", redact(&failure.to_string()));
}
