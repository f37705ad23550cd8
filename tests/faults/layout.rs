//! `kill -9` between the changes of a layout directory's index, and in the middle of a file.
//!
//! The test steps through a delivery with the index's own lock: it holds the lock when the driver wants
//! to make its next change, looks, and either lets it go on or kills it there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::site::Site;
use crate::support::runner::{CallEnd, JobState};
use crate::support::staging::{Place, REPOSITORY};

const PATIENCE: Duration = Duration::from_secs(60);

/// What stands in the index when the driver is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Blobs,
    Manifest,
    Attestations,
    Bundle,
    Signature,
    VersionTag,
}

/// Returns what a commit's delivery has reached by the index's tags and length.
fn reached(index: &str, version: &str, entries_before: usize) -> Reached {
    let entries = index.matches("\"digest\"").count();
    let has = |end: &str| index.contains(end);
    match () {
        () if has(version) => Reached::VersionTag,
        () if has(".sig\"") => Reached::Signature,
        () if index.matches("\"sha256-").count() >= 2 => Reached::Bundle,
        () if has(".att\"") => Reached::Attestations,
        () if entries > entries_before => Reached::Manifest,
        () => Reached::Blobs,
    }
}

struct Stepper {
    layout: PathBuf,
    lock: File,
}

impl Stepper {
    fn new(layout: &Path) -> Self {
        std::fs::create_dir_all(layout).expect("the layout's directory");
        let lock = File::options().create(true).append(true).open(layout.join(".index.lock"));
        Self { layout: layout.to_owned(), lock: lock.expect("the index's lock") }
    }

    fn index(&self) -> String {
        std::fs::read_to_string(self.layout.join("index.json")).unwrap_or_default()
    }

    /// Takes the lock as soon as its holder lets it go: the kernel keeps a queue.
    fn hold(&self) {
        flock(&self.lock, FlockOperation::LockExclusive).expect("the index's lock");
    }

    /// Lets the driver make one change: waits until it has taken the lock, then queues behind it, so that
    /// the kernel hands the lock back at the moment when the driver lets it go.
    fn step(&self) {
        let before = self.index();
        let started = Instant::now();
        while self.index() == before {
            assert!(started.elapsed() < PATIENCE, "the driver makes no change any more");
            flock(&self.lock, FlockOperation::Unlock).expect("the index's lock");
            while flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                assert!(started.elapsed() < PATIENCE, "the driver makes no change any more");
                flock(&self.lock, FlockOperation::Unlock).expect("the index's lock");
                std::thread::sleep(Duration::from_micros(200));
            }
            self.hold();
        }
    }
}

#[test]
fn a_layout_killed_between_any_two_changes_has_no_tag_without_evidence() {
    let site = Site::new(Place::Layout);
    let layout = site.host.path("store").join(REPOSITORY);
    let version = format!("g{}", &site.repository.head()[..12]);
    for target in [
        Reached::Blobs,
        Reached::Manifest,
        Reached::Attestations,
        Reached::Bundle,
        Reached::Signature,
        Reached::VersionTag,
    ] {
        let stepper = Stepper::new(&layout);
        stepper.hold();
        let entries = stepper.index().matches("\"digest\"").count();
        let id = site.host.gitlab.enqueue(&site.job(7));
        let (now, dead) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (told, version_there) = (Arc::clone(&now), version.clone());
        let over = Arc::clone(&dead);
        let (tell, waits) = (Arc::clone(&now), layout.join("blobs"));
        let steps = std::thread::spawn(move || {
            let started = Instant::now();
            while !waits.exists() && !over.load(Ordering::SeqCst) {
                assert!(started.elapsed() < PATIENCE, "the delivery never came to the store");
                std::thread::sleep(Duration::from_millis(1));
            }
            while reached(&stepper.index(), &version_there, entries) != target {
                stepper.step();
            }
            tell.store(true, Ordering::SeqCst);
            while !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let outcome = site
            .host
            .runner()
            .kill_driver_when("build_script", move |moment| {
                told.load(Ordering::SeqCst) && moment.trace.contains("\nsigned ")
            })
            .run_one_with_the_small_runner();
        dead.store(true, Ordering::SeqCst);
        steps.join().expect("the steps");
        assert_eq!(outcome.call("build_script").end, CallEnd::Signaled(9), "{target:?}\n{}", outcome.trace);
        site.assert_nothing_left(id);
        let tags = site.host.image_tags();
        assert_eq!(tags.is_empty(), target != Reached::VersionTag, "{target:?}: {tags:?}");
        assert!(!tags.contains(&"staged".to_owned()), "{target:?}: {tags:?}");
        for tag in tags {
            site.complete_digest(&tag);
        }
    }
    let outcome = site.run(7);
    assert_eq!(outcome.state, JobState::Success, "{}", outcome.trace);
    let tags = site.host.image_tags();
    assert_eq!(tags.len(), 2, "{tags:?}");
    assert_eq!(site.complete_digest(&tags[0]), site.complete_digest(&tags[1]));
}
