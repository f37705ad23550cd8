//! The catalogers: one file each, one row each in [`CATALOGERS`], one variant each in [`Raw`].
//!
//! A cataloger says which paths it wants, turns the bytes of one file into a raw fragment without
//! knowing any other file, and at the end reads the folded image. Nothing else in this module tree
//! changes when an ecosystem is added.

mod debian;
mod distro;
mod own_files;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::fold::View;
use super::inventory::{Distro, Inventory, Package};
use super::path;

/// Packages in one image.
const MAX_PACKAGES: usize = 20_000;
/// Gaps that a document tells.
const MAX_GAPS: usize = 100;

/// One ecosystem.
struct Cataloger {
    /// Which files it reads.
    wants: fn(path: &str) -> Option<Limit>,
    /// Which symbolic links can lead to these files.
    lies_on_the_way: fn(path: &str) -> bool,
    /// Bytes of one file to a raw fragment; must accept any bytes.
    parse: fn(path: &str, content: &[u8]) -> Parsed,
    /// The folded image to packages.
    fold: fn(view: &View<'_>, findings: &mut Findings),
}

/// In this order: the distribution first, because packages are named after it, and the image's own
/// files last, because they are what nobody else owns.
const CATALOGERS: &[Cataloger] = &[distro::CATALOGER, debian::CATALOGER, own_files::CATALOGER];

/// What a cataloger read from one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Raw {
    Distro(distro::Raw),
    Debian(debian::Raw),
}

/// How much of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    bytes: u64,
    beyond: Beyond,
}

/// What happens to a file beyond its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    /// The layer is refused: without this file the package list would be empty.
    Refuse,
    /// The document names the file as not read.
    Gap,
}

/// The outcome of reading one file.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) raw: Option<Raw>,
    pub(super) gaps: Vec<String>,
}

/// A cataloger's wish to read a file.
pub(super) struct Want {
    pub(super) limit: u64,
    pub(super) beyond: Beyond,
    pub(super) parse: fn(path: &str, content: &[u8]) -> Parsed,
}

/// Returns which cataloger reads `path`; a path belongs to one at most.
pub(super) fn wanted(path: &str) -> Option<Want> {
    CATALOGERS.iter().find_map(|cataloger| {
        let Limit { bytes, beyond } = (cataloger.wants)(path)?;
        Some(Want { limit: bytes, beyond, parse: cataloger.parse })
    })
}

/// Reports whether a symbolic link at `path` can lead to a file that a cataloger wants.
pub(super) fn lies_on_the_way(path: &str) -> bool {
    CATALOGERS.iter().any(|cataloger| (cataloger.wants)(path).is_some() || (cataloger.lies_on_the_way)(path))
}

/// What catalogers have found so far.
#[derive(Default)]
struct Findings {
    distro: Option<Distro>,
    packages: Vec<Package>,
    /// Key of an owned path to the highest layer that claims it.
    owned: HashMap<u64, usize>,
    inventory: Inventory,
    gaps: Vec<String>,
}

impl Findings {
    fn own(&mut self, key: u64, layer: usize) {
        let known = self.owned.entry(key).or_insert(layer);
        *known = layer.max(*known);
    }

    /// Reports whether a package owns the file that `layer` has at `path`.
    ///
    /// A claim from a lower layer does not cover the file: somebody has replaced a package's file.
    fn owns(&self, path: &str, layer: usize) -> bool {
        self.owned.get(&path::key(&path::with_usr(path))).is_some_and(|claim| *claim >= layer)
    }
}

/// Asks each cataloger in turn.
pub(super) fn take_inventory(view: &View<'_>) -> Inventory {
    let mut findings = Findings { gaps: view.gaps.clone(), ..Findings::default() };
    for cataloger in CATALOGERS {
        (cataloger.fold)(view, &mut findings);
    }
    let Findings { distro, mut packages, mut inventory, mut gaps, .. } = findings;
    packages.sort_by(|a, b| (&a.purl, &a.id).cmp(&(&b.purl, &b.id)));
    // A package URL is lower case, a hostile database need not be.
    let mut ids = HashSet::new();
    for (index, package) in packages.iter_mut().enumerate() {
        if !ids.insert(package.id.clone()) {
            package.id = format!("{}#{index}", package.id);
        }
    }
    if packages.len() > MAX_PACKAGES {
        gaps.push(format!("only {MAX_PACKAGES} of {} packages are listed", packages.len()));
        packages.truncate(MAX_PACKAGES);
        let known: HashSet<String> = packages.iter().map(|p| p.id.clone()).collect();
        packages.iter_mut().for_each(|package| package.depends_on.retain(|id| known.contains(id)));
    }
    gaps.sort();
    gaps.dedup();
    gaps.truncate(MAX_GAPS);
    inventory.distro = distro;
    inventory.packages = packages;
    inventory.gaps = gaps;
    inventory
}
