//! Bad input from every side: each error names the thing, the cause and the next step, and ends with
//! the exit code of whose fault it is. Nothing is published, and what was there stays.

mod support;

#[path = "bad_input/bench.rs"]
mod bench;
#[path = "bad_input/component.rs"]
mod component;
#[path = "bad_input/disk.rs"]
mod disk;
#[path = "bad_input/engine.rs"]
mod engine;
#[path = "bad_input/image.rs"]
mod image;
#[path = "bad_input/keys.rs"]
mod keys;
#[path = "bad_input/registry.rs"]
mod registry;
#[path = "bad_input/response.rs"]
mod response;
#[path = "bad_input/settings.rs"]
mod settings;
