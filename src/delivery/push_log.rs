//! What a job's log says about each write of a push: which, how large, in words.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::delivery::sign::SignedImage;
use crate::domain::evidence::EvidenceKind;

/// Puts the names of writes into words; layers are counted as they come.
pub struct PushLog<'a> {
    image: &'a SignedImage,
    layers: AtomicUsize,
}

impl<'a> PushLog<'a> {
    /// Creates the words for the push of one image.
    pub fn new(image: &'a SignedImage) -> Self {
        Self { image, layers: AtomicUsize::new(0) }
    }

    /// Returns the line for the write `name`.
    pub fn line(&self, name: &str) -> String {
        format!("pushed  {name:<12}  {}", self.words(name))
    }

    fn words(&self, name: &str) -> String {
        let bundle = name.strip_prefix("att-bundle-").and_then(|number| number.parse::<usize>().ok());
        if let Some(kind) = bundle.and_then(|number| EvidenceKind::ALL.get(number.wrapping_sub(1))) {
            return format!("{}, as a Sigstore bundle", title(*kind));
        }
        match name {
            "blob" => {
                let layers = &self.image.image().layers;
                let number = self.layers.fetch_add(1, Ordering::Relaxed);
                match layers.get(number) {
                    Some((digest, size, _)) => format!(
                        "layer {} of {}, sha256:{}…, {}",
                        number + 1,
                        layers.len(),
                        digest.short(),
                        in_units(*size)
                    ),
                    None => "layer".to_owned(),
                }
            }
            "config" => "the image's configuration".to_owned(),
            "manifest" => {
                let digest = self.image.evidence().subject();
                format!("the image sha256:{}…, by digest alone: no tag names it yet", digest.short())
            }
            "att" => "all four attestations, in cosign's tag form".to_owned(),
            "sig" => "the image's signature, in cosign's tag form".to_owned(),
            "sig-bundle" => "the image's signature, as a Sigstore bundle".to_owned(),
            other => other.to_owned(),
        }
    }
}

fn title(kind: EvidenceKind) -> &'static str {
    match kind {
        EvidenceKind::Spdx => "the SBOM in SPDX 2.3",
        EvidenceKind::CycloneDx => "the SBOM in CycloneDX 1.6",
        EvidenceKind::Provenance => "the provenance",
        EvidenceKind::TestResult => "the test result",
        EvidenceKind::HubTestResult => "the hub's test result",
        EvidenceKind::Promotion => "the promotion record",
        EvidenceKind::Vsa => "the verification summary",
    }
}

/// Returns a size as a person says it.
pub fn in_units(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    let size = bytes as f64;
    if size < KIB {
        format!("{bytes} bytes")
    } else if size < KIB * KIB {
        format!("{:.1} KiB", size / KIB)
    } else {
        format!("{:.1} MiB", size / KIB / KIB)
    }
}
