//! Tests of the trust policy file; the judgement's tests stand with `delivery::verify`, over a store.

use std::io;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::failure::Failure;

/// A policy that demands everything of `acme/**` in any channel.
const GOOD: &str = r#"schema = 1

[[key]]
name = "image-2026"
use = "image"
public = "1.pub"
not_before = 2026-01-01T00:00:00Z
not_after = 2028-01-01T00:00:00Z

[[key]]
name = "attestation-2026"
use = "attestation"
public = "2.pub"
not_before = 2026-01-01T00:00:00+01:00
not_after = 2028-01-01T00:00:00Z

[[require]]
repositories = ["acme/**"]
channel = "staged"
evidence = ["spdx", "cyclonedx", "provenance", "test-result"]
builder_id = "https://airlock.example/builder/gitlab/v1"
project_from_repository = true
min_hermetic = 1

[[require]]
repositories = ["base/*", "mirror/**"]
channel = "any"
evidence = []
"#;

fn read_key(path: &str) -> Result<String, io::Error> {
    let number: u8 = match path.strip_suffix(".pub").and_then(|n| n.parse().ok()) {
        Some(number) => number,
        None if path == "junk" => {
            return Ok("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".into());
        }
        None => return Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    };
    let mut point = [number; 65];
    point[0] = 4;
    Ok(crate::domain::public_key::PublicKey::from_point(&point).unwrap().to_pem())
}

fn parse(text: &str) -> Result<TrustPolicy, PolicyError> {
    TrustPolicy::parse(text, "/etc/airlock/trust.toml", &read_key)
}

#[test]
fn reads_keys_with_use_and_validity() {
    let policy = parse(GOOD).unwrap();
    let key = &policy.keys()[1];
    assert_eq!((key.name(), key.key_use()), ("attestation-2026", KeyUse::Attestation));
    assert!(key.is_valid_at(datetime!(2025-12-31 23:00:00 UTC)));
    assert!(!key.is_valid_at(datetime!(2025-12-31 22:59:59 UTC)));
    assert!(!key.is_valid_at(datetime!(2028-01-01 00:00:00 UTC)));
    assert!(parse("schema = 1").unwrap().keys().is_empty());
}

#[test]
fn names_the_line_of_each_mistake() {
    let mistakes = [
        ("schema = 1", "schema = 2"),
        ("schema = 1", "schema = 1\ncolour = \"red\""),
        ("schema = 1", "schema = \"1\""),
        ("schema = 1\n", ""),
        ("use = \"image\"", "use = \"images\""),
        ("use = \"image\"", "use = \"image\"\nrevoked = false"),
        ("name = \"image-2026\"", "name = \"image 2026\""),
        ("name = \"attestation-2026\"", "name = \"image-2026\""),
        ("public = \"2.pub\"", "public = \"1.pub\""),
        ("public = \"2.pub\"", "public = \"absent.pub\""),
        ("public = \"2.pub\"", "public = \"junk\""),
        ("not_after = 2028-01-01T00:00:00Z\n\n[[require]]", "not_after = 2026-01-01T00:00:00\n\n[[require]]"),
        ("not_before = 2026-01-01T00:00:00+01:00", "not_before = 2026-01-01"),
        ("not_before = 2026-01-01T00:00:00+01:00", "not_before = 2029-01-01T00:00:00Z"),
        ("repositories = [\"acme/**\"]", "repositories = []"),
        ("channel = \"staged\"", "channel = \"production\""),
        ("\"test-result\"]", "\"tests\"]"),
        ("\"test-result\"]", "\"spdx\"]"),
        ("evidence = [\"spdx\", \"cyclonedx\", \"provenance\",", "evidence = [\"spdx\","),
        ("min_hermetic = 1", "min_hermetic = 5"),
        ("min_hermetic = 1", "min_hermetic = 1\nmin_hermetic = 0"),
        ("min_hermetic = 1", "min_hermetic = "),
    ];
    let told: Vec<String> = mistakes
        .into_iter()
        .map(|(from, to)| {
            assert!(GOOD.contains(from), "{from}");
            let failure = Failure::from(parse(&GOOD.replacen(from, to, 1)).unwrap_err());
            assert_eq!(failure.cli_exit_code(), crate::failure::CLI_USAGE);
            format!("{from:?} -> {to:?}\n{failure}")
        })
        .collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn refuses_a_large_file_and_many_entries() {
    let large = Failure::from(parse(&"#".repeat(70_000)).unwrap_err());
    let rule = "\n[[require]]\nrepositories = [\"a\"]\nchannel = \"any\"\nevidence = []\n";
    let many = Failure::from(parse(&format!("schema = 1\n{}", rule.repeat(65))).unwrap_err());
    insta::assert_snapshot!(format!("{large}\n\n{many}"));
}

#[test]
fn a_channel_is_one_of_three_words() {
    for channel in [Channel::Staged, Channel::Candidate, Channel::Latest] {
        assert_eq!(channel.to_string().parse(), Ok(channel));
    }
    insta::assert_snapshot!("Staged\u{1b}[2J".parse::<Channel>().unwrap_err());
}

proptest! {
    #[test]
    fn any_text_is_a_policy_or_an_error(text in "\\PC{0,200}", at in 0..GOOD.len(), cut in 0_usize..20) {
        let _ = parse(&text);
        let end = (at + cut).min(GOOD.len());
        let _ = parse(&format!("{}{}{}", &GOOD[..at], text, &GOOD[end..]));
    }
}
