//! The hub's first and last steps against real parts: components snapshotted, told how it went.

mod support;

#[path = "hub_snapshot/load.rs"]
mod load;
#[path = "hub_snapshot/real.rs"]
mod real;
#[path = "hub_snapshot/status.rs"]
mod status;
