//! The hub's job as GitLab Runner drives it: from two staging jobs to a signed release, red and green, killed
//! and run again; judged by verifiers that nobody here wrote.

mod support;

#[path = "hub_job/broken.rs"]
mod broken;
#[path = "hub_job/documented.rs"]
mod documented;
#[path = "hub_job/green.rs"]
mod green;
#[path = "hub_job/refused.rs"]
mod refused;
#[path = "hub_job/site.rs"]
mod site;
#[path = "verifiers/tools.rs"]
#[expect(dead_code, reason = "the verifiers' own test uses all of it")]
mod tools;
