//! Layers on top of each other, in manifest order: what a client would see after unpacking them all.

use std::collections::BTreeMap;

use super::catalog::{self, Raw};
use super::fragment::{FileRecord, LayerFragment};
use super::inventory::Inventory;
use super::path;
use crate::domain::digest::Digest;

/// Symbolic links that are followed before a path counts as unresolvable (Linux' own limit).
const MAX_HOPS: usize = 40;

/// Who made a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerOrigin {
    /// It came with the base image, byte for byte.
    Base,
    /// The build made it.
    Own,
}

/// A layer in its place.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    pub diff_id: &'a Digest,
    pub fragment: &'a LayerFragment,
    pub origin: LayerOrigin,
}

/// Returns what the image contains; `layers` are in manifest order, the lowest first.
pub fn fold(layers: &[Layer<'_>]) -> Inventory {
    catalog::take_inventory(&View::of(layers))
}

/// Something in the image, and the layer that has it.
#[derive(Debug, Clone)]
pub(super) struct Kept<T> {
    pub(super) layer: usize,
    pub(super) value: T,
    keys: Vec<u64>,
}

/// The image as catalogers see it.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) layers: &'a [Layer<'a>],
    pub(super) raws: BTreeMap<&'a str, Kept<&'a Raw>>,
    pub(super) files: BTreeMap<&'a str, Kept<&'a FileRecord>>,
    symlinks: BTreeMap<&'a str, Kept<&'a str>>,
    pub(super) gaps: Vec<String>,
}

impl<'a> View<'a> {
    fn of(layers: &'a [Layer<'a>]) -> Self {
        let mut view = Self {
            layers,
            raws: BTreeMap::new(),
            files: BTreeMap::new(),
            symlinks: BTreeMap::new(),
            gaps: Vec::new(),
        };
        for (index, layer) in layers.iter().enumerate() {
            view.put_on_top(index, layer.fragment);
        }
        view
    }

    fn put_on_top(&mut self, layer: usize, fragment: &'a LayerFragment) {
        // Targets in lower layers are looked up before this layer hides them: a link keeps the content.
        let mut linked_raws = Vec::new();
        let mut linked_files = Vec::new();
        for (path, target) in &fragment.hard_links {
            let raw = self.raws.get(target.as_str()).map(|kept| kept.value);
            let file = self.files.get(target.as_str()).map(|kept| kept.value);
            let wanted = catalog::wanted(path).is_some();
            match raw {
                Some(raw) if wanted => linked_raws.push((path.as_str(), raw)),
                None if wanted => {
                    self.gaps.push(format!("`{path}` was not read: it is a hard link to `{target}`"));
                }
                _ => {}
            }
            linked_files.extend(file.map(|file| (path.as_str(), file)));
        }
        let hides = &fragment.hides;
        self.raws.retain(|_, kept| !hides.hide(&kept.keys));
        self.files.retain(|_, kept| !hides.hide(&kept.keys));
        self.symlinks.retain(|_, kept| !hides.hide(&kept.keys));

        let raws = fragment.raws.iter().map(|(path, raw)| (path.as_str(), raw)).chain(linked_raws);
        insert(&mut self.raws, layer, raws);
        let files = fragment.files.iter().map(|(path, file)| (path.as_str(), file)).chain(linked_files);
        insert(&mut self.files, layer, files);
        let links = fragment.symlinks.iter().map(|(path, target)| (path.as_str(), target.as_str()));
        insert(&mut self.symlinks, layer, links);
        self.gaps.extend(fragment.gaps.iter().cloned());
    }

    /// Returns where `path` ends when its symbolic links are followed inside the image.
    ///
    /// Only links on the way to a database are known; any other part is taken for what it says.
    pub(super) fn resolve(&self, path: &str) -> Option<String> {
        let mut todo: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
        let mut done: Vec<String> = Vec::new();
        let mut hops = 0;
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => {}
                ".." => {
                    done.pop();
                }
                _ => {
                    done.push(part);
                    if let Some(link) = self.symlinks.get(done.join("/").as_str()) {
                        hops += 1;
                        if hops > MAX_HOPS || todo.len() > 4096 {
                            return None;
                        }
                        if link.value.starts_with('/') {
                            done.clear();
                        } else {
                            done.pop();
                        }
                        todo.extend(link.value.rsplit('/').map(str::to_owned));
                    }
                }
            }
        }
        Some(done.join("/"))
    }

    /// Returns what was read at `path`, through symbolic links.
    pub(super) fn raw_at(&self, path: &str) -> Option<&'a Raw> {
        self.raws.get(self.resolve(path)?.as_str()).map(|kept| kept.value)
    }

    /// Reports whether `path` is, or leads through, a symbolic link.
    pub(super) fn is_redirected(&self, path: &str) -> bool {
        self.resolve(path).as_deref() != Some(path)
    }
}

fn insert<'a, T>(
    map: &mut BTreeMap<&'a str, Kept<T>>,
    layer: usize,
    items: impl Iterator<Item = (&'a str, T)>,
) {
    for (path, value) in items {
        map.insert(path, Kept { layer, value, keys: path::keys_upwards(path) });
    }
}
