//! Values that the whole program speaks in: parsed once, private fields, one constructor.
//!
//! Nothing here reads a file, a clock, the environment or the network.

pub mod closed_world;
pub mod commit;
pub mod component;
pub mod digest;
pub mod evidence;
pub mod hermetic;
pub mod hub;
pub mod image;
pub mod job;
pub mod public_key;
pub mod release;
pub mod sandbox;
pub mod test_report;
pub mod trust;
