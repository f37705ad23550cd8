//! What cannot stand in one file of the corpus: links, sizes, and a resolver that is made to work too long.

use airlock::compose::{MAX_CONFIG_BYTES, compile};
use airlock::failure::{Failure, FailureKind};
use airlock::hub::compose_config::config;

use super::bench::{Bench, fetch, in_runtime, paths, repository, request};
use crate::support::git_repository::GitRepository;

/// The refusal of one file of a repository.
fn refusal(repository: &mut GitRepository, file: &str) -> Failure {
    repository.commit("hostile");
    in_runtime(async {
        let tree = fetch(repository).await;
        let bench = Bench::new().await;
        let answer = config(&bench.parts(), &tree, file).await;
        bench.end().await;
        let failure = match answer {
            Err(failure) => failure,
            Ok(json) => compile(&json, &request(&json, paths(&tree), &["api"])).unwrap_err().into(),
        };
        assert!(matches!(failure.kind(), FailureKind::Refused { .. }), "{failure}");
        failure
    })
}

#[test]
fn a_compose_file_that_is_a_link_is_refused() {
    let mut repository = repository();
    repository.symlink("compose.yaml", "base.yaml");
    insta::assert_snapshot!(refusal(&mut repository, "compose.yaml"));
}

#[test]
fn a_compose_file_behind_a_link_is_refused() {
    let mut repository = repository();
    repository.write("conf/compose.yaml", "services: { api: { image: acme/api } }\n");
    insta::assert_snapshot!(refusal(&mut repository, "link/compose.yaml"));
}

#[test]
fn a_compose_file_that_is_not_there_is_refused() {
    insta::assert_snapshot!(refusal(&mut repository(), "compose.yaml"));
}

#[test]
fn a_huge_compose_file_is_refused() {
    let mut repository = repository();
    let line = format!("# {}\n", "x".repeat(1021));
    let lines = usize::try_from(MAX_CONFIG_BYTES).unwrap() / line.len() + 1;
    repository.write("compose.yaml", format!("{}services: {{ api: {{ image: a }} }}\n", line.repeat(lines)));
    insta::assert_snapshot!(refusal(&mut repository, "compose.yaml"));
}

#[test]
fn anchors_that_unfold_without_an_end_are_refused_in_time() {
    let mut bomb = format!("x-0: &a0 [{}]\n", ["x"; 10].join(", "));
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("x-{level}: &a{level} [{items}]\n");
    }
    let mut repository = repository();
    repository.write("compose.yaml", bomb + "services: { api: { image: acme/api, command: *a8 } }\n");
    let text = refusal(&mut repository, "compose.yaml").to_string();
    // Which of the bounds it meets first is the machine's matter.
    let bounds = ["within 30 s", "more than 512 MiB", "more than 8388608 bytes", "excessive aliasing"];
    assert!(bounds.iter().any(|bound| text.contains(bound)), "{text}");
}

#[test]
fn the_environment_of_the_caller_is_not_seen() {
    let mut repository = repository();
    repository.write(
        "compose.yaml",
        "services: { api: { image: acme/api, environment: { A: \"${HOME}${PATH}${CI_JOB_TOKEN}${SOURCE_DATE_EPOCH}\" } } }\n",
    );
    repository.commit("interpolation");
    in_runtime(async {
        let tree = fetch(&repository).await;
        let bench = Bench::new().await;
        let json = config(&bench.parts(), &tree, "compose.yaml").await;
        bench.end().await;
        let json: serde_json::Value = serde_json::from_slice(&json.unwrap()).unwrap();
        assert_eq!(json["services"]["api"]["environment"]["A"], "");
    });
}
