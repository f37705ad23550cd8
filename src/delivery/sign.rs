//! Composes and signs the evidence of one image digest.
