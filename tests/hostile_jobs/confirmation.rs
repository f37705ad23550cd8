//! GitLab is asked before signing and before tagging: when it does not say what the job response said,
//! nothing is signed, or nothing is tagged.

use serde_json::{Value, json};

use crate::attack::Attack;
use crate::support::gitlab::JobLookup;
use crate::support::runner::JobState;
use crate::trap::Trap;

/// The message when GitLab's first answer differs: nothing is signed and nothing is stored.
fn refused_before_signing(lookup: JobLookup) -> String {
    let attack = Attack::new();
    let id = attack.enqueue(&attack.job());
    attack.host.gitlab.set_lookup(id, lookup);
    let ended = attack.run_queued(id);
    attack.nothing_is_published();
    assert!(matches!(ended.outcome.state, JobState::Failed { .. }), "{:?}", ended.outcome.state);
    assert!(!ended.outcome.trace.contains("signed "), "{}", ended.outcome.trace);
    ended.message()
}

fn changed(change: Value) -> JobLookup {
    JobLookup::Merged(change)
}

#[test]
fn another_commit_at_gitlab_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(changed(json!({"commit": {"id": "f".repeat(40)}}))));
}

#[test]
fn another_job_at_gitlab_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(changed(json!({"id": 7}))));
}

#[test]
fn another_job_name_at_gitlab_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(changed(json!({"name": "lint"}))));
}

#[test]
fn another_ref_at_gitlab_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(changed(json!({"ref": "feature"}))));
}

#[test]
fn a_tag_at_gitlab_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(changed(json!({"tag": true}))));
}

#[test]
fn another_project_at_gitlab_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(changed(json!({"pipeline": {"project_id": 99}}))));
}

#[test]
fn another_pipeline_at_gitlab_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(changed(json!({"pipeline": {"id": 99}}))));
}

#[test]
fn a_job_that_gitlab_cancels_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(changed(json!({"status": "canceling"}))));
}

#[test]
fn a_token_that_gitlab_does_not_know_is_refused_before_signing() {
    let unauthorized = JobLookup::Http(401, r#"{"message":"401 Unauthorized"}"#.to_owned());
    insta::assert_snapshot!(refused_before_signing(unauthorized));
}

#[test]
fn a_token_that_gitlab_forbids_is_refused_before_signing() {
    let forbidden = JobLookup::Http(403, r#"{"message":"403 Forbidden"}"#.to_owned());
    insta::assert_snapshot!(refused_before_signing(forbidden));
}

#[test]
fn an_answer_that_is_no_job_is_refused_before_signing() {
    insta::assert_snapshot!(refused_before_signing(JobLookup::Http(200, "{}".to_owned())));
}

/// GitLab tells the truth before signing and something else before tagging.
fn answered_before_tagging(attack: &Attack, id: u64, lookup: JobLookup) -> crate::attack::Ended {
    // The client asks twice each time: once to see that its token is good, once for the answer.
    let truth = [JobLookup::Genuine, JobLookup::Genuine];
    attack.host.gitlab.set_lookups(id, truth.into_iter().chain([lookup]).collect());
    let ended = attack.run_queued(id);
    assert_eq!(attack.host.image_tags(), Vec::<String>::new());
    assert!(ended.outcome.trace.contains("signed "), "{}", ended.outcome.trace);
    ended
}

#[test]
fn a_job_that_gitlab_ends_between_signing_and_tagging_gets_no_tag() {
    let attack = Attack::new();
    let id = attack.enqueue(&attack.job());
    let ended = answered_before_tagging(&attack, id, JobLookup::Merged(json!({"status": "canceled"})));
    insta::assert_snapshot!(ended.message());
}

#[test]
fn another_commit_at_gitlab_between_signing_and_tagging_gets_no_tag() {
    let attack = Attack::new();
    let id = attack.enqueue(&attack.job());
    let other = JobLookup::Merged(json!({"commit": {"id": "f".repeat(40)}}));
    let ended = answered_before_tagging(&attack, id, other);
    insta::assert_snapshot!(ended.message());
}

#[test]
fn a_repository_on_another_host_is_refused_and_never_sees_the_token() {
    let attack = Attack::new();
    let trap = Trap::beside(&attack.host);
    let mut messages = Vec::new();
    for url in [
        format!("http://gitlab-ci-token:x@{}/acme/billing.git", trap.loopback),
        format!("http://gitlab-ci-token:x@{}/acme/billing.git", trap.gateway),
        format!("http://{}@{}/acme/billing.git", attack.host.gitlab.address(), trap.gateway),
        format!("https://{}/acme/billing.git", attack.host.gitlab.address()),
    ] {
        messages.push(attack.refused(&attack.job().set("/git_info/repo_url", url)));
    }
    trap.is_untouched();
    insta::assert_snapshot!(messages.join("\n\n"));
}
