//! A job cannot get a signature by anything it does: one test for each trick, each message a golden file.
//!
//! What is tried and which test shows that it fails stands in `docs/threats.md`.

mod support;

#[path = "hostile_jobs/attack.rs"]
mod attack;
#[path = "hostile_jobs/confirmation.rs"]
mod confirmation;
#[path = "hostile_jobs/docker_file.rs"]
mod docker_file;
#[path = "hostile_jobs/facts.rs"]
mod facts;
#[path = "hostile_jobs/planted.rs"]
mod planted;
#[path = "hostile_jobs/published_image.rs"]
mod published_image;
#[path = "hostile_jobs/reports.rs"]
mod reports;
#[path = "hostile_jobs/sandbox.rs"]
mod sandbox;
#[path = "hostile_jobs/trap.rs"]
mod trap;
#[path = "hostile_jobs/tree.rs"]
mod tree;
#[path = "hostile_jobs/workspace.rs"]
mod workspace;
