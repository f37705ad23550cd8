//! The image's own files: what a build put into layers above the base and no package owns.

use super::super::fold::{LayerOrigin, View};
use super::super::inventory::{OwnFile, OwnFiles};
use super::{Cataloger, Findings, Parsed};

pub(super) const CATALOGER: Cataloger =
    Cataloger { wants: |_| None, lies_on_the_way: |_| false, parse: |_, _| Parsed::default(), fold };

/// Files that a document lists one by one; the registry's limit for an attestation is not far above.
pub(super) const MAX_LISTED: usize = 2_000;

fn fold(view: &View<'_>, findings: &mut Findings) {
    let mut own = OwnFiles::default();
    for (path, kept) in &view.files {
        let layer = &view.layers[kept.layer];
        if layer.origin == LayerOrigin::Base || findings.owns(path, kept.layer) {
            continue;
        }
        own.total += 1;
        own.bytes = own.bytes.saturating_add(kept.value.size);
        if own.listed.len() < MAX_LISTED {
            own.listed.push(OwnFile {
                path: format!("/{path}"),
                size: kept.value.size,
                digest: kept.value.digest.clone(),
                layer: layer.diff_id.clone(),
            });
        }
    }
    own.uncounted = (view.layers.iter())
        .filter(|layer| layer.origin == LayerOrigin::Own)
        .map(|layer| layer.fragment.unrecorded_files)
        .sum();
    findings.inventory.own_files = own;
}
