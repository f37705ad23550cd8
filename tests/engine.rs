//! The engine adapter against a real Docker Engine: what is sealed stays sealed, what is started ends.
//!
//! The images come from `scripts/bootstrap` (`target/airlock-images.env`); without them every test fails.

#[path = "engine/bench.rs"]
mod bench;
#[path = "engine/build.rs"]
mod build;
#[path = "support/engine_words.rs"]
mod engine_words;
#[path = "engine/exec.rs"]
mod exec;
#[path = "engine/lifecycle.rs"]
mod lifecycle;
#[path = "engine/probe.rs"]
mod probe;
#[path = "engine/sealed.rs"]
mod sealed;
