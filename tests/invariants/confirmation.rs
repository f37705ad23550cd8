//! GitLab is asked twice, `:staged` moves only forward, and the provenance says what the documents say.

use std::collections::BTreeSet;

use base64::Engine as _;
use serde_json::Value;

use crate::support::gitlab::JobLookup;
use crate::support::runner::{CallEnd, JobState};
use crate::support::staging::{Host, REPOSITORY, redact, small_component};

/// Returns the digest that a tag of the layout names.
fn tagged(host: &Host, tag: &str) -> String {
    let index = std::fs::read(host.path("store").join(REPOSITORY).join("index.json")).expect("an index");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let manifests = index["manifests"].as_array().expect("manifests");
    let found = manifests.iter().find(|m| m["annotations"]["org.opencontainers.image.ref.name"] == tag);
    found.unwrap_or_else(|| panic!("no tag `{tag}`"))["digest"].as_str().expect("a digest").to_owned()
}

fn blob(host: &Host, digest: &str) -> Value {
    let path = host.path("store").join(REPOSITORY).join("blobs").join(digest.replace(':', "/"));
    serde_json::from_slice(&std::fs::read(path).expect("a blob")).expect("JSON")
}

/// Returns the predicate of the image's provenance, as it stands in the `.att` tag.
fn provenance(host: &Host, image: &str) -> Value {
    let attestations = blob(host, &tagged(host, &format!("{}.att", image.replace(':', "-"))));
    let layers = attestations["layers"].as_array().expect("layers");
    let is_provenance =
        |layer: &&Value| layer["annotations"]["predicateType"] == "https://slsa.dev/provenance/v1";
    let layer = layers.iter().find(is_provenance).expect("provenance");
    let envelope = blob(host, layer["digest"].as_str().expect("a digest"));
    let payload = envelope["payload"].as_str().expect("a payload");
    let payload = base64::engine::general_purpose::STANDARD.decode(payload).expect("base64");
    serde_json::from_slice::<Value>(&payload).expect("JSON")["predicate"].clone()
}

#[test]
fn gitlab_is_asked_before_signing_and_before_tagging_and_staged_moves_only_forward() {
    let host = Host::with_layout();
    let mut repository = small_component();
    let ended = serde_json::json!({"status": "canceling"});
    let job = |repository: &_, pipeline: u64| {
        host.staging_job(&host.serve(repository), repository).set("/job_info/pipeline_id", pipeline)
    };

    // Not confirmed before signing, as GitLab answers once a job has ended: not even evidence is there.
    let id = host.gitlab.enqueue(&job(&repository, 10));
    host.gitlab.set_lookup(id, JobLookup::Http(401, r#"{"message":"401 Unauthorized"}"#.into()));
    let outcome = host.runner().run_one();
    assert!(matches!(outcome.state, JobState::Failed { .. }), "{}", outcome.trace);
    assert!(!outcome.trace.contains("signed  "), "{}", outcome.trace);
    assert_eq!(host.tags(), Vec::<String>::new());
    assert_eq!(
        outcome.call("build_script").end,
        CallEnd::Exited(1),
        "an ended job is not the runner's fault"
    );
    let before_signing = refusal(&outcome.trace);

    // Confirmed before signing, no longer before tagging: evidence, and no tag that names the image.
    let id = host.gitlab.enqueue(&job(&repository, 10));
    // The client's library asks twice for each confirmation.
    host.gitlab.set_lookups(id, vec![JobLookup::Genuine, JobLookup::Genuine, JobLookup::Merged(ended)]);
    let outcome = host.runner().run_one();
    assert!(matches!(outcome.state, JobState::Failed { .. }), "{}", outcome.trace);
    assert!(outcome.trace.contains("verified "), "{}", outcome.trace);
    assert_eq!(host.image_tags(), Vec::<String>::new());
    assert!(!host.tags().is_empty());
    insta::assert_snapshot!(redact(&format!("{before_signing}\n{}", refusal(&outcome.trace))));

    // The retry finds image and evidence complete, and tags.
    host.gitlab.enqueue(&job(&repository, 10));
    let outcome = host.runner().run_one().expect_success();
    assert!(outcome.trace.contains("the image and its evidence are complete already"), "{}", outcome.trace);
    let first = tagged(&host, "staged");
    assert_eq!(host.image_tags().len(), 2);
    let predicate = provenance(&host, &first);
    let text = serde_json::to_string_pretty(&predicate).expect("JSON");
    insta::assert_snapshot!(stable(&redact(&text)));

    // An older pipeline that comes late publishes its version and leaves the channel alone.
    repository.write("app.py", "def add(a, b):\n    return b + a\n");
    repository.commit("from an older pipeline");
    host.gitlab.enqueue(&job(&repository, 9));
    let outcome = host.runner().run_one().expect_success();
    assert!(outcome.trace.contains("it names the image of the later pipeline 10"), "{}", outcome.trace);
    assert_eq!(tagged(&host, "staged"), first);
    assert_eq!(host.image_tags().len(), 3);

    // A newer one moves it.
    repository.write("app.py", "def add(a, b):\n    return sum((a, b))\n");
    repository.commit("from a newer pipeline");
    host.gitlab.enqueue(&job(&repository, 11));
    host.runner().run_one().expect_success();
    assert_ne!(tagged(&host, "staged"), first);
    let versions: BTreeSet<String> = host.image_tags().into_iter().filter(|tag| tag != "staged").collect();
    assert_eq!(versions.len(), 3, "each commit has a version of its own: {versions:?}");
}

/// Returns the lines that tell why the job failed.
fn refusal(trace: &str) -> String {
    let start = trace.find("error: ").expect("an error in the log");
    let lines = trace[start..].lines().take_while(|line| !line.starts_with("section_"));
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Replaces what differs between hosts, engines and runs.
fn stable(text: &str) -> String {
    let patterns = [
        (r#""(startedOn|finishedOn)": "[^"]*""#, r#""$1": "<time>""#),
        (r#""(engine|containerd|runc|kernel|airlock)": "[^"]*""#, r#""$1": "<version>""#),
        (r#""sha256": "[0-9a-f]{64}""#, r#""sha256": "<digest>""#),
        (r#""architecture": "[^"]*""#, r#""architecture": "<architecture>""#),
        (r"/-/jobs/[0-9]+", "/-/jobs/<job>"),
        (r#""job": [0-9]+"#, r#""job": <job>"#),
    ];
    patterns.iter().fold(text.to_owned(), |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    })
}
