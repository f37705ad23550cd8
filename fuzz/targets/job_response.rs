//! GitLab's job response: whatever an author can put into it, no path climbs and no secret is quoted.
#![no_main]

use airlock::executor::job_record::JobKey;
use airlock::gitlab::job_response::JobResponse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(response) = JobResponse::parse(bytes, "response.json") else { return };
    let facts = &response.facts;
    assert!(facts.repository_url.username().is_empty() && facts.repository_url.password().is_none());
    assert!(matches!(facts.repository_url.scheme(), "http" | "https"));
    let path = &facts.project_path;
    assert!(
        path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && !part.starts_with('-'))
    );
    assert_eq!(facts.commit.to_string().parse(), Ok(facts.commit));
    let key = JobKey::of(facts);
    assert!(key.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    assert_eq!(JobKey::parse(key.as_str()), Some(key));
    assert!(facts.timeout_s > 0);
});
