//! A real registry behind a proxy that knows which write of a delivery it sees.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::site::{Site, tiny_component};
use crate::support::faulty_registry::{Answer, FaultyRegistry, Request};
use crate::support::git_repository::GitRepository;
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
    image: Option<String>,
    signed: bool,
    attested: bool,
    /// Their digests in order: a repeated write is the same write.
    bundles: Vec<String>,
}

impl Reader {
    fn read(&mut self, request: &Request) -> Option<Write> {
        if !["POST", "PUT", "PATCH"].contains(&request.method.as_str()) {
            return None;
        }
        let Some((_, reference)) = request.target.split_once("/manifests/") else {
            return Some(Write::Blob(match (&self.image, self.attested, self.signed) {
                (None, _, _) => "the image",
                (Some(_), false, _) => "the attestations",
                (Some(_), true, false) => "bundles and signature",
                (Some(_), true, true) => "the signature's bundle",
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
            tag if tag.starts_with("sha256-") => Write::Referrers(self.bundles.len()),
            digest if digest.starts_with("sha256:") => match &self.image {
                Some(image) if image != digest => {
                    if !self.bundles.iter().any(|known| known == digest) {
                        self.bundles.push(digest.to_owned());
                    }
                    let number = self.bundles.iter().position(|known| known == digest);
                    Write::Bundle(number.expect("it was just pushed") + 1)
                }
                _ => {
                    self.image = Some(digest.to_owned());
                    Write::Manifest
                }
            },
            _ => Write::VersionTag,
        })
    }
}

/// What one job is answered.
struct Behaviour {
    reader: Reader,
    writes: Vec<Write>,
    /// What was not passed on as it is.
    refused: Vec<String>,
    rule: Rule,
}

impl Behaviour {
    fn new(rule: Rule) -> Self {
        Self { reader: Reader::default(), writes: Vec::new(), refused: Vec::new(), rule }
    }
}

/// A site whose registry misbehaves as told.
pub struct FaultySite {
    pub site: Site,
    _proxy: FaultyRegistry,
    behaviour: Arc<Mutex<Behaviour>>,
    registry: Registry,
}

impl FaultySite {
    pub fn new() -> Self {
        Self::with(tiny_component(), |settings| settings)
    }

    /// Sets it up with a component and changed settings.
    pub fn with(repository: GitRepository, change: impl FnOnce(String) -> String) -> Self {
        let registry = Registry::start(Kind::PlainOpen);
        let behaviour = Arc::new(Mutex::new(Behaviour::new(Box::new(|_, _| Answer::Forward))));
        let shared = Arc::clone(&behaviour);
        let proxy = FaultyRegistry::start(Some(&registry.host), move |request, _| {
            let mut behaviour = shared.lock().expect("no rule panicked");
            let write = behaviour.reader.read(request);
            behaviour.writes.extend(write.clone());
            let answer = (behaviour.rule)(request, write.as_ref());
            if !matches!(answer, Answer::Forward) {
                behaviour.refused.push(format!("{} {}", request.method, request.target));
            }
            answer
        });
        let site = Site::with(Place::Address(proxy.host.clone()), repository, change);
        Self { site, _proxy: proxy, behaviour, registry }
    }

    /// Sets what the next job's requests are answered, and begins to read its writes anew.
    pub fn behave(&self, rule: impl FnMut(&Request, Option<&Write>) -> Answer + Send + 'static) {
        let mut behaviour = self.behaviour.lock().expect("no rule panicked");
        *behaviour = Behaviour::new(Box::new(rule));
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

    /// Returns how often the request was sent that was refused most often.
    pub fn most_refused(&self) -> usize {
        let behaviour = self.behaviour.lock().expect("no rule panicked");
        let refused = &behaviour.refused;
        let times = |one: &String| refused.iter().filter(|other| *other == one).count();
        refused.iter().map(times).max().unwrap_or(0)
    }

    /// Forgets everything that was ever pushed.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(self.registry.storage.join("docker")).expect("remove the registry's storage");
    }

    /// Returns the version and channel tags as they are on the registry's disk.
    pub fn image_tags(&self) -> Vec<String> {
        self.image_tags_in(REPOSITORY)
    }

    /// Returns the same for any repository.
    pub fn image_tags_in(&self, repository: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.tags_folder(repository)) else { return Vec::new() };
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|tag| !tag.starts_with("sha256-")).collect();
        names.sort();
        names
    }

    /// Returns the folder of the registry's disk with one folder for each tag.
    pub fn tags_folder(&self, repository: &str) -> PathBuf {
        self.registry.storage.join(format!("docker/registry/v2/repositories/{repository}/_manifests/tags"))
    }
}
