//! The documents agree with the code: examples parse, tables are complete.

use std::fs;
use std::path::Path;

use airlock::domain::component::ComponentManifest;
use airlock::domain::evidence::provenance::{BUILD_TYPE, LOCAL_BUILDER_ID};
use airlock::domain::hermetic::CheckId;
use airlock::domain::hub::{HubManifest, VARIABLES};
use airlock::domain::trust::TrustPolicy;
use airlock::failure::*;
use airlock::keys::file;
use airlock::settings::{SandboxLimits, Settings};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns the example whose first line is `# <name>`.
fn example(name: &str) -> String {
    let text = document("formats.md");
    let start = format!("```toml\n# {name}\n");
    let (_, rest) = text.split_once(&start).unwrap_or_else(|| panic!("no example `{name}`"));
    rest.split_once("```").expect("the example ends").0.to_owned()
}

/// Returns the cells of every row of the table under `heading`.
fn table(name: &str, heading: &str) -> Vec<Vec<String>> {
    let text = document(name);
    let (_, section) =
        text.split_once(&format!("## {heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
    let section = section.split("\n## ").next().expect("a section");
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

#[test]
fn the_examples_are_accepted_and_their_defaults_are_the_codes() {
    let settings = Settings::parse(&example("host")).expect("the example of host settings");
    assert_eq!(settings.sandbox, SandboxLimits::default());
    let required = "schema = 1\n[store]\nlayout = \"/s\"\n[keys]\nimage = \"file:/i\"\nattestation = \"file:/a\"\n\
        [gitlab]\nurl = \"https://g.example\"\n[provenance]\nbuilder_id = \"https://g.example/b\"\n";
    let helper = format!("[helper]\nimage = \"r.example/h@sha256:{}\"\n", "0".repeat(64));
    let least = Settings::parse(&format!("{required}{helper}")).expect("only what is required");
    assert_eq!(settings.engine_socket, least.engine_socket);
    assert_eq!(settings.state_dir, least.state_dir);
    assert_eq!(settings.trust, least.trust);
    assert_eq!(settings.compose_program, least.compose_program);
    assert!(settings.hub.is_some() && least.hub.is_none());

    let hub = HubManifest::parse(&example("hub")).expect("the example of a hub manifest");
    let shortest =
        "schema = 1\nplatform = \"acme\"\n[components.a]\nproject_id = 1\nservices = { a = \"a\" }\n";
    let shortest = HubManifest::parse(shortest).expect("only what is required");
    assert_eq!((&hub.compose, &hub.version_file), (&shortest.compose, &shortest.version_file));
    assert_eq!(hub.ready_timeout_s, shortest.ready_timeout_s);
    let named: Vec<String> = table("formats.md", "Hub manifest: `airlock-hub.toml` at the root of the hub")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(named, VARIABLES);

    let component = ComponentManifest::parse(&example("component"), "acme/billing").expect("the example");
    let absent = ComponentManifest::absent("acme/billing").expect("defaults");
    assert_eq!(component.version_file(), absent.version_file());
    assert_eq!(component.images()[0].repository, absent.images()[0].repository);
    assert_eq!(component.images()[0].dockerfile, absent.images()[0].dockerfile);
    assert_eq!(component.images()[0].context, absent.images()[0].context);

    let read_key = |_: &str| Ok(file::generate("").expect("a key pair").public_pem);
    TrustPolicy::parse(&example("trust"), "trust.toml", &read_key).expect("the example of a trust policy");
}

#[test]
fn the_tables_of_numbers_are_the_codes() {
    let first = |heading: &str| -> Vec<u8> {
        table("formats.md", heading).iter().filter_map(|row| row[0].parse().ok()).collect()
    };
    let in_a_job = [
        EXIT_REFUSED_BEFORE_SCRIPT,
        EXIT_REFUSED_BY_PUBLISH_POLICY,
        EXIT_TESTS_FAILED,
        EXIT_DOCKERFILE_REFUSED,
        EXIT_BUILD_FAILED,
        EXIT_CANCELLED,
    ];
    assert_eq!(first("Exit numbers in a job"), in_a_job);
    let cancelled = Failure::cancelled("").cli_exit_code();
    let of_verbs = [
        0,
        CLI_USAGE,
        CLI_SYSTEM,
        CLI_NO_SIGNATURE,
        CLI_NO_SUCH_TAG,
        CLI_UNKNOWN_KEY,
        CLI_WRONG_SIGNATURE,
        CLI_EVIDENCE_MISSING,
        CLI_POLICY,
        CLI_REFUSED,
        CLI_JOB_FAILED,
        CLI_INTERNAL,
        cancelled,
    ];
    assert_eq!(first("Exit codes of the other verbs"), of_verbs);
}

#[test]
fn the_table_of_checks_is_the_codes() {
    let written = table("formats.md", "Hermetic levels");
    let known: Vec<Vec<String>> = CheckId::ALL
        .into_iter()
        .map(|id| vec![id.as_str().into(), id.name().replace('`', ""), id.needed_for().to_string()])
        .collect();
    assert_eq!(written, known);
}

#[test]
fn the_schema_of_the_build_type_names_it_and_both_builders() {
    let text = document("provenance.md");
    assert!(text.starts_with(&format!("# Provenance: `{BUILD_TYPE}`\n")));
    assert!(text.contains(LOCAL_BUILDER_ID));
    let fields: Vec<String> = table("provenance.md", "Fields and where they come from")
        .iter()
        .flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    // Every leaf of a real predicate has a row.
    let snapshot = include_str!(
        "../../src/domain/evidence/provenance/snapshots/airlock__domain__evidence__provenance__tests__the_predicate_is_slsas.snap"
    );
    let json = snapshot.splitn(3, "---\n").nth(2).expect("a snapshot");
    let predicate: serde_json::Value = serde_json::from_str(json).expect("JSON");
    for (pointer, prefix) in [
        ("/buildDefinition/externalParameters", "externalParameters"),
        ("/buildDefinition/internalParameters", "internalParameters"),
        ("/runDetails/builder", "runDetails.builder"),
        ("/runDetails/metadata", "runDetails.metadata"),
    ] {
        for key in predicate.pointer(pointer).and_then(|v| v.as_object()).expect(pointer).keys() {
            let named =
                |field: &String| field.starts_with(&format!("{prefix}.{key}")) || *field == format!(".{key}");
            assert!(fields.iter().any(named), "docs/provenance.md has no row for `{prefix}.{key}`");
        }
    }
}
