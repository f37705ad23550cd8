//! Evidence about an image digest: statements, envelopes, signatures.
