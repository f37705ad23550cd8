//! docs/compose.md and the compiler's lists are the same.

use std::collections::BTreeSet;

use airlock::compose::keys::{ALL, Rule};

#[test]
fn the_table_in_the_docs_and_the_compilers_lists_are_the_same() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compose.md")).unwrap();
    let mut part = "";
    let mut written = BTreeSet::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            part = title;
        } else if let Some(row) = line.strip_prefix("| `").filter(|_| !part.is_empty()) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let rule = cells.get(1).copied().unwrap_or_default();
            assert!(cells.get(2).is_some_and(|why| why.len() > 5), "`{part}` without a reason: {line}");
            let keys = cells[0].split(", ").map(|key| key.trim_matches('`').to_owned());
            written.extend(keys.map(|key| (part.to_owned(), key, rule.to_owned())));
        }
    }
    let of_the_code: BTreeSet<_> = ALL
        .iter()
        .flat_map(|(part, keys)| keys.iter().map(move |(key, rule)| (part, key, rule)))
        .map(|(part, key, rule)| {
            let rule = match rule {
                Rule::Kept => "allowed",
                Rule::Rewritten => "rewritten",
                Rule::Refused(_) => "refused",
            };
            ((*part).to_owned(), (*key).to_owned(), rule.to_owned())
        })
        .collect();
    let missing: Vec<_> = of_the_code.difference(&written).collect();
    let too_many: Vec<_> = written.difference(&of_the_code).collect();
    assert!(
        missing.is_empty() && too_many.is_empty(),
        "not in the docs: {missing:?}\nonly there: {too_many:?}"
    );
}
