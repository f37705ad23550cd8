//! Tests of the module as a whole: layers in, inventory and documents out.

mod documents;
mod layers;
mod refusals;

use super::*;
use crate::domain::digest::Digest;

/// A layer under construction.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, link: &str, body: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        if link.is_empty() {
            // Written by hand, because the library refuses the paths that an attacker writes.
            let name = &mut header.as_old_mut().name;
            if path.len() < name.len() {
                name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_cksum();
                self.0.append(&header, body).unwrap();
            } else {
                self.0.append_data(&mut header, path, body).unwrap();
            }
        } else {
            self.0.append_link(&mut header, path, link).unwrap();
        }
        self
    }

    fn file(self, path: &str, body: &str) -> Self {
        self.entry(tar::EntryType::Regular, path, "", body.as_bytes())
    }

    fn directory(self, path: &str) -> Self {
        self.entry(tar::EntryType::Directory, path, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Symlink, path, target, b"")
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Link, path, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn scan(self) -> LayerFragment {
        scan_layer(&self.bytes()[..]).unwrap()
    }
}

const STATUS: &str = "var/lib/dpkg/status";

fn status(packages: &[(&str, &str)]) -> String {
    (packages.iter())
        .map(|(name, version)| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
            )
        })
        .collect()
}

fn debian(tar: Tar) -> Tar {
    tar.file("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n")
        .file("etc/debian_version", "12.11\n")
}

fn diff_id(index: usize) -> Digest {
    Digest::of(format!("layer {index}").as_bytes())
}

/// Folds layers that the build made itself.
fn fold_own(fragments: &[LayerFragment]) -> Inventory {
    fold_with(fragments, |_| LayerOrigin::Own)
}

/// Folds layers of which the first is the base.
fn fold_on_base(fragments: &[LayerFragment]) -> Inventory {
    fold_with(fragments, |index| if index == 0 { LayerOrigin::Base } else { LayerOrigin::Own })
}

fn fold_with(fragments: &[LayerFragment], origin: impl Fn(usize) -> LayerOrigin) -> Inventory {
    let ids: Vec<Digest> = (0..fragments.len()).map(diff_id).collect();
    let layers: Vec<Layer<'_>> = fragments
        .iter()
        .zip(&ids)
        .enumerate()
        .map(|(index, (fragment, diff_id))| Layer { diff_id, fragment, origin: origin(index) })
        .collect();
    fold(&layers)
}

fn names(inventory: &Inventory) -> Vec<String> {
    inventory.packages().iter().map(|package| format!("{} {}", package.name, package.version)).collect()
}

fn own_paths(inventory: &Inventory) -> Vec<&str> {
    inventory.own_files().listed().iter().map(|file| file.path.as_str()).collect()
}
