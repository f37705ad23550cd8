//! A snapshot in the words of a release document.

use std::collections::BTreeMap;

use super::{Snapshot, SnapshotComponent, SnapshotImage};
use crate::delivery::verify::VerifiedImage;
use crate::domain::digest::Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::release::{
    ReleaseComponent, ReleaseEvidence, ReleaseImage, ReleaseInputs, ReleaseSidecar, ReleaseSource,
};
use crate::failure::{Failure, Outcome};

/// The parts of a release document that a snapshot knows; every list is sorted as the document wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseParts {
    pub components: Vec<ReleaseComponent>,
    pub sidecars: Vec<ReleaseSidecar>,
    pub inputs: ReleaseInputs,
}

impl Snapshot {
    /// Returns the snapshot as parts of a release document.
    pub fn release_parts(&self) -> Outcome<ReleaseParts> {
        let mut sidecars: Vec<ReleaseSidecar> = self
            .sidecars
            .iter()
            .map(|sidecar| ReleaseSidecar {
                name: sidecar.service.clone(),
                repository: sidecar.pinned.repository().clone(),
                manifest: sidecar.pinned.digest().clone(),
                config: sidecar.id.clone(),
            })
            .collect();
        sidecars.sort_by(|a, b| a.name.cmp(&b.name));
        let mut change_set = self.inputs.change_set.clone();
        change_set.sort();
        let overrides = self.inputs.overrides.iter().map(|(name, digest)| format!("{name}@{digest}"));
        let components: Outcome<Vec<_>> = self.components.iter().map(component).collect();
        let mut components = components?;
        components.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(ReleaseParts {
            components,
            sidecars,
            inputs: ReleaseInputs {
                change_set,
                overrides: overrides.collect(),
                user_id: self.inputs.user_id,
            },
        })
    }

    /// Returns every verified image once, as a release takes them.
    pub fn verified_images(&self) -> Vec<VerifiedImage> {
        let mut images = BTreeMap::new();
        for one in self.components.iter().flat_map(|component| &component.images) {
            images.insert((one.repository.as_str(), one.image.digest()), one.image.clone());
        }
        images.into_values().collect()
    }
}

fn component(component: &SnapshotComponent) -> Outcome<ReleaseComponent> {
    // Several services may run one image; the release lists it once.
    let mut images = BTreeMap::new();
    for one in &component.images {
        images.insert((one.repository.as_str(), one.platform.as_str()), image(one)?);
    }
    Ok(ReleaseComponent {
        name: component.name.clone(),
        version: component.version.clone(),
        origin: component.origin,
        source: ReleaseSource {
            project_id: component.project_id,
            project: component.project.clone(),
            commit: component.commit.clone(),
        },
        images: images.into_values().collect(),
    })
}

fn image(image: &SnapshotImage) -> Outcome<ReleaseImage> {
    let envelope = |kind: EvidenceKind| -> Outcome<Digest> {
        let accepted = image.image.verdict().evidence_of(kind);
        accepted.map(|evidence| evidence.envelope().clone()).ok_or_else(|| {
            Failure::internal(format!("an image without `{kind}` reached the release: {}", image.repository))
        })
    };
    Ok(ReleaseImage {
        repository: image.repository.clone(),
        platform: image.platform.clone(),
        manifest: image.image.digest().clone(),
        config: image.config.clone(),
        evidence: ReleaseEvidence {
            spdx: envelope(EvidenceKind::Spdx)?,
            cyclonedx: envelope(EvidenceKind::CycloneDx)?,
            provenance: envelope(EvidenceKind::Provenance)?,
            test_result: envelope(EvidenceKind::TestResult)?,
        },
    })
}
