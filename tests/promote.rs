//! `airlock release` and `airlock promote` on a real registry: what they say, what they write, what is left when
//! they are killed, and two hosts at once.

#[path = "promote/killed.rs"]
mod killed;
#[path = "promote/platform.rs"]
mod platform;
#[path = "promote/told.rs"]
mod told;
#[path = "promote/two_hosts.rs"]
mod two_hosts;

#[path = "support/faulty_registry.rs"]
mod faulty_registry;
#[path = "support/registry.rs"]
#[expect(dead_code, reason = "the registry here is plain and open")]
mod registry;
