//! What a staging job published, before tools that nobody here wrote and before `airlock verify`.
//!
//! One job's images are shared by all tests; a test that changes something works on a mirror of its own.
//! cosign and skopeo are those that `scripts/bootstrap` unpacked; a missing one fails its tests.

mod support;

#[path = "verifiers/accepted.rs"]
mod accepted;
#[path = "verifiers/attestations.rs"]
mod attestations;
#[path = "verifiers/image.rs"]
mod image;
#[path = "verifiers/judgement.rs"]
mod judgement;
#[path = "verifiers/keys.rs"]
mod keys;
#[path = "verifiers/layout.rs"]
mod layout;
#[path = "verifiers/mirror.rs"]
mod mirror;
#[path = "verifiers/published.rs"]
mod published;
#[path = "verifiers/rejected.rs"]
mod rejected;
#[path = "verifiers/tools.rs"]
mod tools;
