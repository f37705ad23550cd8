//! Writes blobs, manifest, evidence and signature, in this order, before any tag.
