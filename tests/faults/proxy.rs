//! A real registry behind a proxy that knows which write of a delivery it sees.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::faulty_registry::{Answer, FaultyRegistry, Request};
use crate::site::Site;
use crate::support::registry::{Kind, Registry};
use crate::support::staging::{Place, REPOSITORY};

/// What a write is for, in the order in which a delivery comes to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The start of an upload, or its content: `blob for manifest`, `blob for att`, …
    Blob(&'static str),
    Manifest,
    Attestations,
    Bundle(usize),
    /// The list of referrers, once for each bundle.
    Referrers(usize),
    Signature,
    VersionTag,
    Staged,
}

/// When a write is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

type Rule = Box<dyn FnMut(&Request, Option<&Write>) -> Answer + Send>;

/// Reads the writes of one job as they come by.
#[derive(Default)]
struct Reader {
    image: bool,
    signed: bool,
    attested: bool,
    bundles: usize,
}

impl Reader {
    fn read(&mut self, request: &Request) -> Option<Write> {
        if !["POST", "PUT", "PATCH"].contains(&request.method.as_str()) {
            return None;
        }
        let Some((_, reference)) = request.target.split_once("/manifests/") else {
            return Some(Write::Blob(match (self.image, self.attested, self.signed) {
                (false, _, _) => "the image",
                (true, false, _) => "the attestations",
                (true, true, false) => "bundles and signature",
                (true, true, true) => "the signature's bundle",
            }));
        };
        Some(match reference {
            "staged" => Write::Staged,
            tag if tag.ends_with(".att") => {
                self.attested = true;
                Write::Attestations
            }
            tag if tag.ends_with(".sig") => {
                self.signed = true;
                Write::Signature
            }
            tag if tag.starts_with("sha256-") => Write::Referrers(self.bundles),
            digest if digest.starts_with("sha256:") && !self.image => {
                self.image = true;
                Write::Manifest
            }
            digest if digest.starts_with("sha256:") => {
                self.bundles += 1;
                Write::Bundle(self.bundles)
            }
            _ => Write::VersionTag,
        })
    }
}

/// What one job is answered.
struct Behaviour {
    reader: Reader,
    writes: Vec<Write>,
    rule: Rule,
}

/// A site whose registry misbehaves as told.
pub struct FaultySite {
    pub site: Site,
    pub proxy: FaultyRegistry,
    behaviour: Arc<Mutex<Behaviour>>,
    registry: Registry,
}

impl FaultySite {
    pub fn new() -> Self {
        let registry = Registry::start(Kind::PlainOpen);
        let behaviour =
            Behaviour { reader: Reader::default(), writes: Vec::new(), rule: Box::new(|_, _| Answer::Forward) };
        let behaviour = Arc::new(Mutex::new(behaviour));
        let shared = Arc::clone(&behaviour);
        let proxy = FaultyRegistry::start(Some(&registry.host), move |request, _| {
            let mut behaviour = shared.lock().expect("no rule panicked");
            let write = behaviour.reader.read(request);
            behaviour.writes.extend(write.clone());
            (behaviour.rule)(request, write.as_ref())
        });
        let site = Site::new(Place::Address(proxy.host.clone()));
        Self { site, proxy, behaviour, registry }
    }

    /// Sets what the next job's requests are answered, and begins to read its writes anew.
    pub fn behave(&self, rule: impl FnMut(&Request, Option<&Write>) -> Answer + Send + 'static) {
        let mut behaviour = self.behaviour.lock().expect("no rule panicked");
        *behaviour = Behaviour { reader: Reader::default(), writes: Vec::new(), rule: Box::new(rule) };
    }

    /// Passes everything on from now on.
    pub fn behave_well(&self) {
        self.behave(|_, _| Answer::Forward);
    }

    /// Holds one write of the next job and raises the returned flag.
    pub fn hold(
        &self,
        side: Side,
        mut is_it: impl FnMut(&Write) -> bool + Send + 'static,
    ) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(false));
        let raise = Arc::clone(&flag);
        self.behave(move |_, write| match (write.is_some_and(&mut is_it), side) {
            (false, _) => Answer::Forward,
            (true, Side::Before) => Answer::Hold(Arc::clone(&raise)),
            (true, Side::After) => Answer::ForwardThenHold(Arc::clone(&raise)),
        });
        flag
    }

    /// Returns the writes since the last change of behaviour.
    pub fn writes(&self) -> Vec<Write> {
        self.behaviour.lock().expect("no rule panicked").writes.clone()
    }

    /// Forgets everything that was ever pushed.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.registry.storage.join("docker")).expect("remove the registry's storage");
    }

    /// Returns the version and channel tags as they are on the registry's disk.
    pub fn image_tags(&self) -> Vec<String> {
        let tags = format!("docker/registry/v2/repositories/{REPOSITORY}/_manifests/tags");
        let Ok(entries) = std::fs::read_dir(self.registry.storage.join(tags)) else { return Vec::new() };
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|tag| !tag.starts_with("sha256-")).collect();
        names.sort();
        names
    }
}
