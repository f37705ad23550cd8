//! Releases: composed, signed, published, verified, promoted, listed, compared (design, "Releases").
//!
//! Every step gives a value of a new type and the next takes only that, as in a delivery. The release's
//! `:candidate` is the one commit point of a promotion; component tags only follow it.

pub mod compose;
pub mod diff;
pub mod evidence;
pub mod follow;
pub mod promote;
pub mod publish;
pub mod repoint;
pub mod store;
pub mod tags;
#[cfg(test)]
mod tests;
