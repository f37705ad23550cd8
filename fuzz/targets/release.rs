//! Release documents and the statements of a promotion: what is read is canonical, ordered and bounded.
#![no_main]

use airlock::domain::evidence::promotion::PromotionRecord;
use airlock::domain::evidence::vsa::VerificationSummary;
use airlock::domain::release::Release;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = PromotionRecord::parse(bytes);
    if let Ok(summary) = VerificationSummary::parse(bytes) {
        assert!(summary.input_attestations.len() <= 256 && summary.verified_levels.len() <= 256);
    }
    let Ok(release) = Release::parse(bytes) else { return };
    assert_eq!(release.to_canonical_json(), bytes);
    assert!(release.tag().is_some() && release.expires().is_some());
    assert!(release.components.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(release.sequence > 0 && (release.sequence > 1 || release.previous.is_none()));
});
