//! Each file of the corpus has its golden answer.

use airlock::compose::compile;
use airlock::failure::{Failure, FailureKind};
use airlock::hub::compose_config::Resolver;

use super::bench::{Bench, corpus_tree, in_runtime, paths, request};
use super::checker::forbidden;
use crate::support::engine_words::engine_words;

fn settings(kind: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../compose_files/{kind}.snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// Resolves and compiles every file of one part of the corpus; the JSON, or the refusal.
fn answers(kind: &str, named: &[&str]) -> Vec<(String, Result<(String, Vec<u8>), Failure>)> {
    in_runtime(async {
        let (names, tree) = corpus_tree(kind).await;
        let bench = Bench::new().await;
        let parts = bench.parts();
        let resolver = Resolver::start(&parts, &tree).await.unwrap();
        let mut answers = Vec::new();
        for name in names {
            let answer = match resolver.resolve(&format!("{name}.yaml")).await {
                Ok(config) => match compile(&config, &request(&config, paths(&tree), named)) {
                    Ok(stack) => Ok((format!("{:#?}", (&stack.services, &stack.networks)), stack.json)),
                    Err(refusals) => Err(Failure::from(refusals)),
                },
                Err(failure) => Err(failure),
            };
            answers.push((name, answer));
        }
        resolver.remove().await.unwrap();
        bench.end().await;
        answers
    })
}

/// Files with a key that Compose's own schema has only since 2.36 or later.
const KNOWN_TO_NEWER: [&str; 4] = ["api-socket", "hook-pre-start", "models", "provider"];

#[test]
fn each_trick_is_refused_in_its_own_words() {
    let mut accepted = Vec::new();
    for (name, answer) in answers("refused", &["api"]) {
        match answer {
            Ok(_) => accepted.push(name),
            Err(failure) => {
                let refused = matches!(failure.kind(), FailureKind::Refused { .. });
                assert!(refused, "{name} is not the author's fault: {failure}");
                let told = engine_words(&failure.to_string());
                // A Compose that knows the key passes it on, and Airlock refuses it.
                let known = KNOWN_TO_NEWER.contains(&name.as_str()) && !told.contains("Additional property");
                let name = if known { format!("{name}-known-to-compose") } else { name };
                settings("refused").bind(|| insta::assert_snapshot!(name, told));
            }
        }
    }
    assert_eq!(accepted, Vec::<String>::new(), "accepted, but each must be refused");
}

#[test]
fn ordinary_files_are_compiled_to_a_closed_stack() {
    for (name, answer) in answers("ordinary", &[]) {
        let (known, json) = answer.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(forbidden(&value, "airlock-7"), Vec::<String>::new(), "{name}");
        let shown = format!("{}\n---\n{known}", serde_json::to_string_pretty(&value).unwrap());
        settings("ordinary").bind(|| insta::assert_snapshot!(name, shown));
    }
}
