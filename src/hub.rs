//! The Platform Integration Hub: all staged components together in a closed stack, tested as one.
//!
//! A run resolves every component once to a digest and verifies it; from then on no tag is read again.
//! Nothing here promotes: a green [`verdict`] is what a release is made from.

pub mod closed_world;
pub mod compose_config;
pub mod ready;
pub mod records;
pub mod snapshot;
pub mod stack;
