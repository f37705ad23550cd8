//! A registry that has no room for the image.

use super::bench::Job;
use crate::support::registry::{Kind, Registry};
use crate::support::staging::{Host, Place};

#[path = "../support/faulty_registry.rs"]
mod faulty_registry;

use faulty_registry::{Answer, FaultyRegistry};

#[test]
fn a_registry_without_room_is_the_runners_fault_and_nothing_is_tagged() {
    let real = Registry::start(Kind::PlainOpen);
    let full = FaultyRegistry::start(Some(&real.host), |request, _| {
        let takes_bytes = matches!(request.method.as_str(), "PATCH" | "PUT");
        if takes_bytes && request.target.contains("/blobs/uploads/") {
            let body = r#"{"errors":[{"code":"UNKNOWN","message":"write: no space left on device"}]}"#;
            Answer::Reply(507, vec![("Content-Type", "application/json".to_owned())], body.into())
        } else {
            Answer::Forward
        }
    });
    let host = Host::new(Place::Address(full.host.clone()), |settings| settings);
    let job = Job::new(&host);
    job.prepare().expect_success();
    let called = job.run("build_script").expect_system_failure();
    insta::assert_snapshot!(called.golden());
    assert_eq!(full.count("PUT", "/manifests/"), 0, "{:?}", full.requests());
    assert!(!real.storage.join("docker/registry/v2/repositories/acme/billing/_manifests/tags").exists());
    job.expect_nothing_published_and_nothing_left();
}
