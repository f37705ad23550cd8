//! What was found attached to an image: parsed, bounded, and believed by nobody yet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bundle::KeyBundle;
use super::envelope::Envelope;
use super::simple_signing::MAX_SIMPLE_SIGNING_BYTES;
use super::statement::Statement;
use super::{Format, NotEvidence};

/// Most reasons that are kept for entries that were passed over.
const MAX_REASONS: usize = 8;

/// A `.sig` layer: payload and signature, neither checked.
#[derive(Debug, Clone)]
pub struct FoundSignature {
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// An envelope whose statement could be read; its signature is not checked.
#[derive(Debug, Clone)]
pub struct FoundStatement {
    pub(crate) format: Format,
    pub(crate) envelope: Envelope,
    pub(crate) statement: Statement,
    /// A bundle's word about its key, which proves nothing.
    pub(crate) hint: Option<String>,
}

/// Everything that was found attached to one digest.
#[derive(Debug, Clone, Default)]
pub struct CollectedEvidence {
    pub(crate) signatures: Vec<FoundSignature>,
    pub(crate) statements: Vec<FoundStatement>,
    passed_over: usize,
    reasons: Vec<String>,
}

impl CollectedEvidence {
    /// Adds a `.sig` layer with its signature annotation.
    pub fn add_simple_signing(&mut self, payload: Vec<u8>, signature_base64: &str) {
        let too_large = payload.len() as u64 > MAX_SIMPLE_SIGNING_BYTES || signature_base64.len() > 1024;
        match STANDARD.decode(signature_base64) {
            Ok(signature) if !too_large => self.signatures.push(FoundSignature { payload, signature }),
            _ => self.pass_over("a `.sig` layer", &"its signature is not base64 or it is too large"),
        }
    }

    /// Adds a `.att` layer.
    pub fn add_attestation(&mut self, layer: &[u8]) {
        let found = Envelope::parse(layer).map(|envelope| (envelope, None));
        self.add("a `.att` layer", Format::Legacy, found);
    }

    /// Adds the content of a bundle.
    pub fn add_bundle(&mut self, json: &[u8]) {
        let found = KeyBundle::parse(json).map(|bundle| {
            let (envelope, hint) = bundle.into_parts();
            (envelope, Some(hint))
        });
        self.add("a bundle", Format::Bundle, found);
    }

    /// Notes an entry that is not evidence: a stranger's, or damaged.
    pub fn pass_over(&mut self, place: &str, why: &dyn std::fmt::Display) {
        self.passed_over += 1;
        let reason = format!("passed over {place}: {why}");
        if self.reasons.len() < MAX_REASONS && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Returns how many entries were passed over.
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }

    /// Returns the first reasons for passing over, each once.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    fn add(&mut self, place: &str, format: Format, found: Result<(Envelope, Option<String>), NotEvidence>) {
        let found = found.and_then(|(envelope, hint)| {
            let statement = Statement::parse(envelope.payload())?;
            Ok(FoundStatement { format, envelope, statement, hint })
        });
        match found {
            Ok(found) => self.statements.push(found),
            Err(why) => self.pass_over(place, &why),
        }
    }
}
