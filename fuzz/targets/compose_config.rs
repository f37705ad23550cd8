//! A resolved Compose file: whatever it says, nothing that is forbidden is in what was compiled.
#![no_main]

#[path = "../../tests/compose/checker.rs"]
mod checker;

use std::collections::BTreeMap;

use airlock::compose::{ServiceLimits, StackRequest, TreePath, compile};
use airlock::domain::digest::Digest;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|config: &[u8]| {
    let file: Value = serde_json::from_slice(config).unwrap_or_default();
    let services = file["services"].as_object().into_iter().flatten();
    let request = StackRequest {
        project: "airlock-7".into(),
        images: services.map(|(name, _)| (name.clone(), Digest::of(name.as_bytes()))).collect(),
        tree: BTreeMap::from([
            ("conf".to_owned(), TreePath::Directory),
            ("conf/app.toml".to_owned(), TreePath::File),
            ("link".to_owned(), TreePath::Link),
        ]),
        tree_on_host: "/var/lib/airlock/$7/tree".into(),
        seccomp_on_host: "/var/lib/airlock/$7/seccomp.json".into(),
        labels: BTreeMap::from([("airlock.job".to_owned(), "7".to_owned())]),
        limits: ServiceLimits { memory_bytes: 1 << 30, cpu_millis: 2000, pids: 512, tmp_bytes: 64 << 20 },
        start_interval: true,
    };
    match compile(config, &request) {
        Ok(stack) => {
            let compiled: Value = serde_json::from_slice(&stack.json).expect("JSON");
            assert_eq!(checker::forbidden(&compiled, "airlock-7"), Vec::<String>::new());
        }
        Err(refusals) => assert!(!refusals.all().is_empty()),
    }
});
