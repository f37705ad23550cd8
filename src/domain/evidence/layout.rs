//! Where evidence stands in a repository: tags, media types and annotations (Cosign's legacy form,
//! Sigstore bundles as OCI 1.1 referrers).

use crate::domain::digest::Digest;
use crate::domain::image::Tag;

/// Media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of a `.sig` layer.
pub const SIGNATURE_LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Media type of a `.att` layer.
pub const ATTESTATION_LAYER: &str = "application/vnd.dsse.envelope.v1+json";
/// Where a `.sig` layer carries its signature; a `.att` layer must have it too, empty.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// Where a `.att` layer hints at its predicate type.
pub const PREDICATE_ANNOTATION: &str = "predicateType";
/// Where a bundle's manifest says what the bundle holds.
pub const BUNDLE_CONTENT_ANNOTATION: &str = "dev.sigstore.bundle.content";
/// Where a bundle's manifest hints at its predicate type.
pub const BUNDLE_PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";

/// Cosign's two tags beside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceTag {
    /// Image signatures.
    Signature,
    /// Attestations.
    Attestation,
}

impl EvidenceTag {
    /// Returns the tag that carries the evidence of `digest`.
    pub fn of(self, digest: &Digest) -> Tag {
        let suffix = match self {
            Self::Signature => "sig",
            Self::Attestation => "att",
        };
        format!("sha256-{}.{suffix}", digest.hex())
            .parse()
            .expect("hexadecimal digits and a suffix are a tag")
    }
}
