//! Snapshots of real signed images in a layout: what is taken, and every refusal in its own words.

mod bench;
mod inputs;
mod refused;
mod taken;
