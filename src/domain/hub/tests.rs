//! The hub's manifest and inputs: every slip in its own words, and no text that panics.

use proptest::prelude::*;

use super::*;
use crate::failure::Failure;

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn manifest() -> HubManifest {
    HubManifest::parse(&text()).expect("valid")
}

fn text() -> String {
    format!(
        "schema = 1\nplatform = \"acme\"\ncompose = \"stack/compose.yaml\"\nready_timeout_s = 60\n\
         [components.billing]\nproject_id = 17\nservices = {{ api = \"billing/api\", migrate = \"billing/api\" }}\n\
         [components.ledger]\nproject_id = 18\nservices = {{ ledger = \"ledger\" }}\n\
         [sidecars.postgres]\nimage = \"registry.test:5000/base/postgres@sha256:{HASH}\"\n"
    )
}

fn rule() -> HubRule {
    HubRule {
        project_id: 9,
        project_path: "acme/hub".into(),
        ref_name: "staging".into(),
        job: "integration".into(),
        script: vec!["make integration-test".into()],
        override_users: vec![5, 6],
    }
}

#[test]
fn takes_every_key_and_has_defaults_for_the_rest() {
    let manifest = manifest();
    assert_eq!(manifest.platform, "acme");
    assert_eq!(manifest.compose.as_str(), "stack/compose.yaml");
    assert_eq!((manifest.version_file.as_str(), manifest.ready_timeout_s), ("VERSION", 60));
    assert_eq!(manifest.try_image, None);
    // Two services of one component may share an image: a migration is the service's own image.
    assert_eq!(manifest.components["billing"].services.len(), 2);
    assert_eq!(manifest.owner_of(&"ledger".parse().expect("a repository")), Some("ledger"));
    assert_eq!(manifest.sidecars["postgres"].digest().hex(), HASH);
    let least = "schema = 1\nplatform = \"acme\"\n[components.a]\nproject_id = 1\nservices = { a = \"a\" }\n";
    let least = HubManifest::parse(least).expect("valid");
    assert_eq!((least.compose.as_str(), least.ready_timeout_s), ("compose.yaml", 300));
    let tried = format!("{}[try]\nimage = \"registry.test/base/tests@sha256:{HASH}\"\n", text());
    assert!(HubManifest::parse(&tried).expect("valid").try_image.is_some());
}

#[test]
fn every_slip_is_told_with_its_line_and_what_is_allowed() {
    let many = |n: usize, line: &dyn Fn(usize) -> String| (0..n).map(line).collect::<String>();
    let components =
        many(65, &|n| format!("[components.c{n}]\nproject_id = 1\nservices = {{ s{n} = \"r{n}\" }}\n"));
    let head = "schema = 1\nplatform = \"acme\"\n";
    let cases: [(&str, String); 16] = [
        ("not TOML", "schema = 1\nplatform = acme\n".into()),
        ("an unknown key", format!("{}prefetch = true\n", text())),
        (
            "an unknown key of a component",
            text().replace("project_id = 17", "project_id = 17\nref = \"main\""),
        ),
        ("no platform", text().replace("platform = \"acme\"\n", "")),
        ("another schema", text().replace("schema = 1", "schema = 2")),
        ("a platform with capitals", text().replace("\"acme\"", "\"Acme\"")),
        ("a Compose file outside", text().replace("stack/compose.yaml", "../compose.yaml")),
        ("a Compose file that is the root", text().replace("stack/compose.yaml", ".")),
        ("no time at all", text().replace("= 60", "= 0")),
        ("a sidecar by tag", text().replace(&format!("@sha256:{HASH}"), ":16")),
        ("a service twice", text().replace("ledger = \"ledger\"", "api = \"ledger\"")),
        ("a sidecar's service twice", text().replace("[sidecars.postgres]", "[sidecars.ledger]")),
        ("a repository of two components", text().replace("= \"ledger\" }", "= \"billing/api\" }")),
        ("a component without services", text().replace("{ ledger = \"ledger\" }", "{}")),
        ("no component", head.into()),
        ("too many components", format!("{head}{components}")),
    ];
    let mut told = String::new();
    for (name, text) in cases {
        let errors = HubManifest::parse(&text).expect_err(name);
        told.push_str(&format!("── {name}\n{errors}\n\n"));
    }
    let services = many(65, &|n| format!("s{n} = \"r\"\n"));
    let text = format!(
        "{head}[components.a]\nproject_id = 0\n[components.\"B b\"]\nproject_id = 1\n\
        [components.\"B b\".services]\n\"-x\" = \"R\"\n[components.c]\nproject_id = 1\n[components.c.services]\n{services}"
    );
    let text = text.replace("project_id = 0\n", "project_id = 0\nservices = { a = \"a\" }\n");
    let failure = Failure::from(HubManifest::parse(&text).expect_err("many mistakes"));
    told.push_str(&format!("── all at once\n{failure}\n\n"));
    let large = format!("{}# {}", self::text(), "x".repeat(MAX_MANIFEST_BYTES));
    told.push_str(&format!("── too large\n{}\n", HubManifest::parse(&large).expect_err("large")));
    insta::assert_snapshot!(told);
}

fn variable(key: &str, value: impl Into<String>) -> HubVariable {
    HubVariable { key: key.into(), value: value.into() }
}

#[test]
fn inputs_of_a_listed_user_are_taken_sorted_and_without_them_there_are_none() {
    let variables = [
        variable("AIRLOCK_OVERRIDE", format!(" ledger@sha256:{HASH} , billing/api@sha256:{HASH}")),
        variable("AIRLOCK_CHANGE_SET", "ledger, billing"),
    ];
    let inputs = HubInputs::from_variables(&variables, Some(6), &rule(), &manifest()).expect("allowed");
    assert_eq!(inputs.change_set, ["billing", "ledger"]);
    assert_eq!(inputs.overrides.len(), 2);
    assert_eq!(inputs.user_id, Some(6));
    let nobody = HubInputs::from_variables(&[], None, &rule(), &manifest()).expect("nothing to allow");
    assert_eq!(nobody, HubInputs::default());
    // An empty variable is how a form's default looks; it asks for nothing.
    let empty = [variable("AIRLOCK_CHANGE_SET", " ")];
    assert!(HubInputs::from_variables(&empty, None, &rule(), &manifest()).is_ok());
}

#[test]
fn inputs_that_are_refused_say_why_and_who_may() {
    let change_set = |value: &str| variable("AIRLOCK_CHANGE_SET", value);
    let overridden = |value: &str| variable("AIRLOCK_OVERRIDE", value);
    let many: Vec<&str> = std::iter::repeat_n("billing", 65).collect();
    let cases: Vec<(&str, Vec<HubVariable>, Option<u64>)> = vec![
        ("a duplicate variable", vec![change_set("billing"), change_set("billing")], Some(5)),
        ("a duplicate that is empty", vec![overridden(""), overridden("")], Some(5)),
        ("another user", vec![change_set("billing"), overridden("x")], Some(7)),
        ("no user", vec![overridden("x")], None),
        ("an unknown component", vec![change_set("billing,Ledger,,ledger,ledger")], Some(5)),
        ("too many components", vec![change_set(&many.join(","))], Some(5)),
        (
            "overrides that are none",
            vec![overridden(&format!(
                "ledger,ledger:staged,ledger@sha256:abc,other@sha256:{HASH},a b@sha256:{HASH},\
                 ledger@sha256:{HASH},ledger@sha256:{HASH},x\u{1b}[2J"
            ))],
            Some(5),
        ),
        ("a very long value", vec![overridden(&"x".repeat(17 * 1024))], Some(5)),
    ];
    let mut told = String::new();
    for (name, variables, user) in cases {
        let errors = HubInputs::from_variables(&variables, user, &rule(), &manifest()).expect_err(name);
        told.push_str(&format!("── {name}\n{}\n\n", Failure::from(errors)));
    }
    let closed = HubRule { override_users: Vec::new(), ..rule() };
    let errors = HubInputs::from_variables(&[change_set("billing")], Some(5), &closed, &manifest());
    told.push_str(&format!("── nobody is listed\n{}\n", Failure::from(errors.expect_err("nobody"))));
    insta::assert_snapshot!(told);
}

proptest! {
    #[test]
    fn any_text_is_a_manifest_or_an_error(text in "\\PC{0,200}", tail in "[a-z0-9_.= \"{}\\[\\]\n]{0,120}") {
        let _ = HubManifest::parse(&text);
        let _ = HubManifest::parse(&format!("schema = 1\nplatform = \"a\"\n{tail}"));
    }

    #[test]
    fn any_value_is_inputs_or_an_error(value in "\\PC{0,200}", other in "[a-z0-9@:,/ ]{0,120}") {
        for key in VARIABLES {
            for value in [&value, &other] {
                let given = [variable(key, value)];
                if let Ok(inputs) = HubInputs::from_variables(&given, Some(5), &rule(), &manifest()) {
                    prop_assert!(inputs.change_set.iter().all(|name| manifest().components.contains_key(name)));
                    prop_assert!(inputs.overrides.keys().all(|name| manifest().owner_of(name).is_some()));
                }
            }
        }
    }
}
