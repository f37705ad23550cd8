//! What the tests stand on: a fake GitLab over HTTP, a small GitLab Runner, repositories made on the spot.
//!
//! Nothing here knows Airlock: the driver is a path, the rest is protocol.
#![allow(dead_code, reason = "each test binary uses its own part, so `expect` can't hold in all of them")]

pub mod engine_words;
pub mod faulty_registry;
pub mod git_repository;
pub mod gitlab;
pub mod lifecycle;
pub mod logging_driver;
pub mod registry;
pub mod runner;
pub mod staging;
