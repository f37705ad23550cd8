//! The judgement over arbitrary evidence: without a trusted key's signature there is never a verdict.
#![no_main]

use std::sync::LazyLock;

use airlock::domain::digest::Digest;
use airlock::domain::evidence::collected::CollectedEvidence;
use airlock::domain::trust::{Channel, Subject, TrustPolicy};
use airlock::keys::file;
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let text = "schema = 1\n\
        [[key]]\nname = \"i\"\nuse = \"image\"\npublic = \"i\"\n\
        not_before = 2020-01-01T00:00:00Z\nnot_after = 2040-01-01T00:00:00Z\n\
        [[key]]\nname = \"a\"\nuse = \"attestation\"\npublic = \"a\"\n\
        not_before = 2020-01-01T00:00:00Z\nnot_after = 2040-01-01T00:00:00Z\n\
        [[require]]\nrepositories = [\"**\"]\nchannel = \"any\"\n\
        evidence = [\"spdx\", \"cyclonedx\", \"provenance\", \"test-result\"]\n\
        [[require]]\nrepositories = [\"weak/**\"]\nchannel = \"any\"\nevidence = []\n";
    let read_key = |_: &str| Ok(file::generate("").expect("a key pair").public_pem);
    TrustPolicy::parse(text, "trust.toml", &read_key)
        .or_else(|_| {
            let strict = text.split("[[require]]\nrepositories = [\"weak").next().unwrap_or_default();
            TrustPolicy::parse(strict, "trust.toml", &read_key)
        })
        .expect("a policy")
});

fuzz_target!(|pieces: Vec<(u8, &[u8], &str)>| {
    let mut evidence = CollectedEvidence::default();
    for (kind, bytes, text) in &pieces {
        match kind % 3 {
            0 => evidence.add_simple_signing(bytes.to_vec(), text),
            1 => evidence.add_attestation(bytes),
            _ => evidence.add_bundle(bytes),
        }
    }
    let subject = Subject {
        repository: "acme/billing".parse().expect("a repository"),
        digest: Digest::of(b"image"),
        channel: Channel::Staged,
    };
    let now = time::OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a time");
    let refusal = POLICY.judge(&subject, &evidence, now).expect_err("nobody has a trusted key");
    assert!(!refusal.to_string().is_empty() && !refusal.to_string().contains('\u{1b}'));
});
