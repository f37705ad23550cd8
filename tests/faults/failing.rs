//! A registry that is down, says no, lies or hangs up, and a GitLab that is away: system failures with
//! bounded retries, nothing tagged, and a green retry.

use std::net::TcpListener;

use crate::proxy::{FaultySite, Write};
use crate::site::{Site, assert_system_failure, failure_in};
use crate::support::faulty_registry::{Answer, Request};
use crate::support::gitlab::JobLookup;
use crate::support::runner::JobState;
use crate::support::staging::{Place, redact};

type Rule = fn(&Request, Option<&Write>) -> Answer;

fn says(status: u16, text: &str) -> Answer {
    Answer::Reply(status, vec![("Content-Type", "text/plain".to_owned())], text.as_bytes().to_vec())
}

const FOR_GOOD: [(&str, Rule); 7] = [
    ("answers_500_to_everything", |_, _| says(500, "the database is locked\n")),
    ("hangs_up_on_everything", |_, _| Answer::HangUp),
    ("answers_500_to_one_write", |_, write| match write {
        Some(Write::Bundle(3)) => says(500, "the database is locked\n"),
        _ => Answer::Forward,
    }),
    ("has_no_room", |_, write| match write {
        Some(Write::Blob(_)) => says(507, "quota of 10 GiB is used up\n"),
        _ => Answer::Forward,
    }),
    ("alters_what_is_read_back", |request, _| {
        let read_back = request.method == "GET" && request.target.contains("/manifests/sha256:");
        if read_back { Answer::ForwardAltered } else { Answer::Forward }
    }),
    ("refuses_the_version_tag", |_, write| match write {
        Some(Write::VersionTag) => says(500, "the database is locked\n"),
        _ => Answer::Forward,
    }),
    ("forgets_the_version_tag", |_, write| match write {
        Some(Write::VersionTag) => {
            Answer::Reply(201, vec![("Location", "/v2/acme/billing/manifests/1".to_owned())], Vec::new())
        }
        _ => Answer::Forward,
    }),
];

#[test]
fn a_registry_that_fails_for_good_ends_the_job_as_a_system_failure_and_nothing_is_tagged() {
    let faulty = FaultySite::new();
    let sizes = regex::Regex::new(r"\([0-9]+ bytes\)").expect("a pattern");
    for (name, rule) in FOR_GOOD {
        faulty.behave(rule);
        let outcome = faulty.site.run(7);
        assert_system_failure(&outcome);
        assert_eq!(faulty.image_tags(), Vec::<String>::new(), "{name}");
        let (told, sent) = (redact(&failure_in(&outcome.trace)), faulty.most_refused());
        let told = sizes.replace(&told, "(<size>)");
        insta::assert_snapshot!(name, format!("{told}\n\nthe request was sent {sent} times"));
    }
    faulty.behave_well();
    faulty.site.run(7).expect_success();
    let tags = faulty.image_tags();
    assert_eq!(tags.len(), 2, "{tags:?}");
    for tag in &tags {
        faulty.site.complete_digest(tag);
    }
}

#[test]
fn a_registry_that_fails_now_and_then_costs_time_and_nothing_else() {
    let faulty = FaultySite::new();
    let mut count = 0;
    faulty.behave(move |_, _| {
        count += 1;
        match count % 12 {
            3 => says(503, "try again\n"),
            7 => Answer::HangUp,
            11 => says(429, "slow down\n"),
            _ => Answer::Forward,
        }
    });
    let outcome = faulty.site.run(7);
    faulty.behave_well();
    outcome.expect_success();
    for tag in faulty.image_tags() {
        faulty.site.complete_digest(&tag);
    }
}

#[test]
fn a_registry_that_is_down_is_named_and_asked_again_for_a_while() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let site = Site::new(Place::Address(address));
    let outcome = site.run(7);
    assert_system_failure(&outcome);
    insta::assert_snapshot!("is_down", redact(&failure_in(&outcome.trace)));
}

#[test]
fn without_gitlabs_word_nothing_is_signed_and_nothing_is_tagged() {
    let site = Site::new(Place::Layout);
    let away = JobLookup::Http(503, r#"{"message":"503 Service Unavailable"}"#.to_owned());
    for (name, lookups) in [
        ("gitlab_is_away_before_signing", vec![away.clone()]),
        // Its client asks twice each time: once whether the token is good, once for the job.
        ("gitlab_is_away_before_tagging", vec![JobLookup::Genuine, JobLookup::Genuine, away]),
    ] {
        let job = site.job(7);
        let id = site.host.gitlab.enqueue(&job);
        let before = site.host.gitlab.requests_to("/api/v4/job");
        site.host.gitlab.set_lookups(id, lookups);
        let outcome = site.host.runner().run_one();
        site.assert_nothing_left(id);
        assert_system_failure(&outcome);
        assert_eq!(site.host.image_tags(), Vec::<String>::new());
        let signed = name != "gitlab_is_away_before_signing";
        assert_eq!(outcome.trace.contains("\nsigned "), signed, "{}", outcome.trace);
        assert_eq!(site.host.tags().is_empty(), !signed, "evidence in the store");
        let asked = site.host.gitlab.requests_to("/api/v4/job") - before;
        let told = redact(&failure_in(&outcome.trace));
        insta::assert_snapshot!(name, format!("{told}\n\nGitLab was asked {asked} times"));
    }
    assert_eq!(site.run(7).state, JobState::Success);
}
