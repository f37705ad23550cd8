//! Shapes of components: several images, a target, other contexts, no base, a large file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use crate::components::{busybox, component, run};
use crate::site::Site;
use crate::succeeds;
use crate::support::runner::CallEnd;
use crate::support::staging::{Place, REPOSITORY, text};

/// Most memory that a delivery may take, whatever the image's size, in KiB.
const MEMORY_KIB: u64 = 400 * 1024;

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    let hex = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    layout.join("blobs/sha256").join(hex)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// Returns the files of the image behind `:staged`, layer by layer, as `tar` lists them.
fn files(layout: &Path) -> Vec<String> {
    let index = json(&layout.join("index.json"));
    let name = "org.opencontainers.image.ref.name";
    let entries = index["manifests"].as_array().expect("manifests");
    let staged = entries.iter().find(|entry| entry["annotations"][name] == "staged").expect("`:staged`");
    let manifest = json(&blob(layout, &staged["digest"]));
    let layers = manifest["layers"].as_array().expect("layers");
    let listed = layers.iter().map(|layer| {
        succeeds(Command::new("tar").args([
            "--list",
            "--gzip",
            "--file",
            text(&blob(layout, &layer["digest"])),
        ]))
    });
    let names = listed.collect::<String>();
    names.lines().filter(|name| !name.ends_with('/')).map(str::to_owned).collect()
}

#[test]
fn several_images_with_a_target_another_context_and_ignored_files_hold_exactly_what_they_ask_for() {
    let manifest = "schema = 1\n\
        [[image]]\nrepository = \"billing\"\ndockerfile = \"docker/service.Dockerfile\"\ntarget = \"service\"\n\
        [[image]]\nrepository = \"billing/worker\"\ndockerfile = \"worker/Dockerfile\"\ncontext = \"worker\"\n";
    let service = format!(
        "{}{}FROM scratch AS service\nCOPY --from=tools /made /made\nCOPY . /srv/\n\
         FROM service AS debug\nCOPY docker /debug\n",
        busybox().replacen("FROM scratch", "FROM scratch AS tools", 1),
        run("/bin/busybox echo made > /made")
    );
    let repository = component(&[
        ("airlock.toml", manifest),
        (".dockerignore", "docker\n*.secret\nMakefile\nworker\n!keep.secret\n"),
        ("docker/service.Dockerfile", &service),
        ("plain", "1\n"),
        ("one.secret", "1\n"),
        ("keep.secret", "1\n"),
        ("worker/Dockerfile", "FROM scratch\nCOPY . /worker/\n"),
        ("worker/.dockerignore", "*.log\n"),
        ("worker/app", "1\n"),
        ("worker/app.log", "1\n"),
    ]);
    let listed = "repositories = [\"billing\", \"billing/worker\"]";
    let site = Site::with(Place::Layout, repository, |settings| {
        settings.replace("repositories = [\"billing\"]", listed)
    });
    let outcome = site.run(7).expect_success();
    assert_eq!(outcome.trace.matches("\n━━ ").count(), 2, "{}", outcome.trace);
    let mut shown = String::new();
    for repository in [REPOSITORY, "acme/billing/worker"] {
        site.complete_digest_in(repository, "staged");
        let files = files(&site.host.path("store").join(repository));
        shown += &format!("{repository}\n  {}\n", files.join("\n  "));
    }
    // The builder reads the Dockerfile from the context, so an ignored one is there for `COPY .` too:
    // unlike with the docker client, whose session hands the Dockerfile over by itself.
    insta::assert_snapshot!("files_of_two_images", shown);
}

#[test]
fn an_image_without_a_base_runs_and_its_sbom_lists_its_own_files() {
    let dockerfile =
        busybox() + "COPY hello /srv/hello\nENTRYPOINT [\"/bin/busybox\", \"cat\", \"/srv/hello\"]\n";
    let repository = component(&[("Dockerfile", &dockerfile), ("hello", "hello from nothing\n")]);
    let site = Site::with(Place::Layout, repository, |settings| settings);
    site.run(7).expect_success();
    site.complete_digest("staged");
    let layout = site.host.path("store").join(REPOSITORY);

    let name = format!("airlock-test-{}:scratch", std::process::id());
    let skopeo = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/skopeo");
    let from = format!("oci:{}:staged", layout.display());
    let to = format!("docker-daemon:{name}");
    succeeds(Command::new(skopeo).args(["--insecure-policy", "copy", "-q", &from, &to]));
    let said = succeeds(Command::new("docker").args(["run", "--rm", "--network", "none", &name]));
    succeeds(Command::new("docker").args(["rmi", &name]));
    assert_eq!(said, "hello from nothing\n");

    let mut found = Vec::new();
    for entry in std::fs::read_dir(layout.join("blobs/sha256")).expect("blobs") {
        let bytes = std::fs::read(entry.expect("a blob").path()).expect("a blob");
        let Ok(envelope) = serde_json::from_slice::<Value>(&bytes) else { continue };
        let Some(payload) = envelope["payload"].as_str() else { continue };
        use base64::Engine as _;
        let payload = base64::engine::general_purpose::STANDARD.decode(payload).expect("base64");
        let statement: Value = serde_json::from_slice(&payload).expect("a statement");
        // SPDX 2.3: a file of the image is a package with a file name, so that its path is absolute.
        let packages = statement["predicate"]["packages"].as_array().cloned().unwrap_or_default();
        found.extend(packages.iter().filter_map(|file| file["packageFileName"].as_str().map(str::to_owned)));
    }
    found.sort();
    insta::assert_snapshot!("files_in_the_sbom", found.join("\n"));
}

#[test]
fn a_large_image_costs_little_memory_shows_progress_and_survives_a_kill_in_the_middle_of_a_file() {
    let many = "i=0; while [ $i -lt 400 ]; do /bin/busybox echo $i > /file-$i; i=$((i+1)); done; \
                /bin/busybox dd if=/dev/urandom of=/large bs=1M count=100 2>/dev/null";
    let repository = component(&[("Dockerfile", &(busybox() + &run(many)))]);
    let site = Site::with(Place::Layout, repository, |settings| settings);

    let uploads = site.host.path("store/.uploads");
    let growing = move || {
        let entries = std::fs::read_dir(&uploads).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).any(|file| file.len() > 1 << 20)
    };
    let id = site.host.gitlab.enqueue(&site.job(7));
    let seen = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&seen);
    let rule = growing.clone();
    let outcome = site
        .host
        .runner()
        .kill_driver_when("build_script", move |_| {
            let now = rule();
            note.fetch_or(now, Ordering::SeqCst);
            now
        })
        .run_one_with_the_small_runner();
    assert_eq!(outcome.call("build_script").end, CallEnd::Signaled(9), "{}", outcome.trace);
    assert!(seen.load(Ordering::SeqCst));
    site.assert_nothing_left(id);
    assert_eq!(site.host.image_tags(), Vec::<String>::new());

    let id = site.host.gitlab.enqueue(&site.job(7));
    let peak = Arc::new(AtomicU64::new(0));
    let (highest, settings) = (Arc::clone(&peak), text(&site.host.settings).to_owned());
    let outcome = site
        .host
        .runner()
        .kill_driver_when("build_script", move |_| {
            highest.fetch_max(memory_of_driver(&settings), Ordering::SeqCst);
            false
        })
        .run_one_with_the_small_runner()
        .expect_success();
    site.assert_nothing_left(id);
    site.complete_digest("staged");
    assert!(!growing(), "the killed delivery's file is swept");
    let progress = |line: &&str| line.trim_start().starts_with("… reading the image:");
    assert!(outcome.trace.lines().any(|line| progress(&line)), "{}", outcome.trace);
    let peak = peak.load(Ordering::SeqCst);
    assert!(peak > 0, "the driver was never seen");
    assert!(peak < MEMORY_KIB, "the driver took {} MiB", peak / 1024);
}

/// Returns the most memory that the driver's process has held so far, in KiB; 0 when it is not there.
fn memory_of_driver(settings: &str) -> u64 {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let ours = processes.filter(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(settings)
    });
    let peak = ours.filter_map(|process| {
        let status = std::fs::read_to_string(process.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    });
    peak.max().unwrap_or(0)
}
