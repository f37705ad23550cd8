//! Releases: composed, signed, verified, promoted, listed, compared (design, "Releases").
//!
//! The release's `:candidate` is the one commit point of a promotion; component tags only follow it.

pub mod store;
