//! The probe's answer: whatever it says, a check holds only by an answer that is whole.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use airlock::domain::digest::Digest;
use airlock::domain::hermetic::{CheckOutcome, HermeticLevel, HermeticReport, Measurement};
use airlock::domain::sandbox::{
    Access, Limits, Sandbox, SandboxNetwork, SandboxSpec, SandboxUser, SeccompProfile, VolumeMount,
};
use libfuzzer_sys::fuzz_target;

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    Sandbox::seal(SandboxSpec {
        image: Digest::of(b"image"),
        user: SandboxUser::new(1000, 1000).expect("a user"),
        network: SandboxNetwork::None,
        tools_volume: "tools".into(),
        mounts: vec![VolumeMount {
            volume: "workspace".into(),
            target: "/builds".into(),
            access: Access::ReadWrite,
        }],
        limits: Limits::default(),
        seccomp: SeccompProfile::shipped(),
        source_date_epoch: 0,
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
    })
    .expect("a sandbox")
});

fuzz_target!(|bytes: &[u8]| {
    let checks = Measurement::parse(bytes).checks(&SANDBOX);
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let whole = lines.first() == Some(&"airlock-probe 1") && lines.last() == Some(&"complete");
    for check in &checks {
        match &check.outcome {
            CheckOutcome::Held => assert!(whole, "{:?} held by a broken answer", check.id),
            CheckOutcome::NotHeld(why) | CheckOutcome::NotMeasured(why) => {
                assert!(!why.is_empty() && why.len() < 4096 && !why.chars().any(char::is_control));
            }
        }
    }
    let report = HermeticReport::new(checks);
    // The build's network is not the probe's to tell.
    assert!(report.level() <= HermeticLevel::H1);
    assert!(!report.kept_from_higher().is_empty());
});
