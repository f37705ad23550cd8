//! The variables of a hub job: what is taken names only what the hub has.
#![no_main]

use airlock::domain::hub::{HubInputs, HubManifest, HubRule, HubVariable, VARIABLES};
use libfuzzer_sys::fuzz_target;

const MANIFEST: &str = "schema = 1\nplatform = \"acme\"\n\
    [components.billing]\nproject_id = 17\nservices = { billing = \"billing\" }\n\
    [components.ledger]\nproject_id = 18\nservices = { ledger = \"ledger\" }\n";

fuzz_target!(|value: &str| {
    let manifest = HubManifest::parse(MANIFEST).expect("a manifest");
    let rule = HubRule {
        project_id: 9,
        project_path: "acme/hub".into(),
        ref_name: "staging".into(),
        job: "integration".into(),
        script: vec!["make integration-test".into()],
        override_users: vec![5],
    };
    for key in VARIABLES {
        let given = [HubVariable { key: key.into(), value: value.into() }];
        for user in [None, Some(4)] {
            let refused = HubInputs::from_variables(&given, user, &rule, &manifest).is_err();
            assert_eq!(refused, !value.trim().is_empty());
        }
        let Ok(inputs) = HubInputs::from_variables(&given, Some(5), &rule, &manifest) else { continue };
        assert!(inputs.change_set.len() <= 2 && inputs.overrides.len() <= 2);
        assert!(inputs.change_set.iter().all(|name| manifest.components.contains_key(name)));
        assert!(inputs.overrides.keys().all(|repository| manifest.owner_of(repository).is_some()));
    }
});
