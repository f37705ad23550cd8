//! Airlock: a GitLab Runner custom executor that lets only tested, described, signed and traceable
//! images out. The modules in reading order; `tests/architecture.rs` holds their arrows.
//!
//! Use-cases: plain functions that take adapters as parameters.
//! - [`executor`]: GitLab Runner's own four words: config, prepare, run, cleanup.
//! - [`hub`]: snapshot, stack, verdict: the closed Compose stack and its tests.
//! - [`release`]: a signed release of many components, promoted, listed, compared.
//! - [`delivery`]: build, describe, sign, push, verify, tag: the chain that makes an image trusted.
//!
//! Adapters: one outside world each, blind to each other.
//! - [`gitlab`]: stage environment, job response, API.
//! - [`engine`]: Docker Engine: containers, builds, export.
//! - [`registry`]: remote registry, OCI layout directory, credentials.
//! - [`crate::keys`] — signers.
//! - [`tools`]: the one door to external programs.
//! - [`cancel`]: SIGTERM and SIGINT.
//!
//! Values: no I/O, no async, no clock, no environment.
//! - [`domain`]: image, job, sandbox, evidence, trust policy.
//! - [`sbom`]: bytes to packages, the fold over layers, the two document writers.
//! - [`dockerfile`], [`compose`]: what a Dockerfile or a Compose file may ask for, and the refusals.
//! - [`job_log`]: the shape of what a person reads in a job's log.
//! - [`failure`], [`settings`]: whose fault it is and the exit code; host settings, checked once.
//!
//! [`cli`] is the clap tree and the only writer to standard output.

// A panic in a stage would tell GitLab Runner nothing; `expect` names the invariant that it rests on.
// Standard output is data, and only the command line writes it.
#![deny(clippy::disallowed_methods)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, clippy::exit)
)]

pub mod cancel;
pub mod cli;
pub mod compose;
pub mod delivery;
pub mod dockerfile;
pub mod domain;
pub mod engine;
pub mod executor;
pub mod failure;
pub mod gitlab;
pub mod hub;
pub mod job_log;
pub mod keys;
pub mod registry;
pub mod release;
pub mod sbom;
pub mod settings;
pub mod tools;
