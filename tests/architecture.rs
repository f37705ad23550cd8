//! Enforces the map in `src/lib.rs`: who may import whom, and that every file says what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each module and all it may import. An arrow that is not here needs a talk, not a new line.
const ARROWS: &[(&str, &[&str])] = &[
    // Values.
    ("failure", &[]),
    ("job_log", &[]),
    ("domain", &["failure", "job_log"]),
    ("settings", &["failure", "domain"]),
    ("sbom", &["failure", "domain"]),
    ("dockerfile", &["failure", "domain"]),
    ("compose", &["failure", "domain"]),
    // Adapters: blind to each other.
    ("engine", &["failure", "domain", "job_log"]),
    ("registry", &["failure", "domain", "job_log"]),
    ("gitlab", &["failure", "domain"]),
    ("keys", &["failure", "domain"]),
    ("tools", &["failure", "domain", "job_log"]),
    ("cancel", &["failure"]),
    // Use-cases.
    (
        "delivery",
        &[
            "failure",
            "job_log",
            "domain",
            "sbom",
            "dockerfile",
            "settings",
            "engine",
            "registry",
            "gitlab",
            "keys",
            "cancel",
        ],
    ),
    ("release", &["failure", "job_log", "domain", "settings", "registry", "keys", "cancel", "delivery"]),
    (
        "hub",
        &[
            "failure", "job_log", "domain", "compose", "settings", "engine", "registry", "tools", "cancel",
            "delivery", "release",
        ],
    ),
    (
        "executor",
        &[
            "failure", "job_log", "domain", "compose", "settings", "engine", "registry", "gitlab", "keys",
            "tools", "cancel", "delivery", "release", "hub",
        ],
    ),
    // Composition.
    (
        "cli",
        &[
            "failure", "job_log", "domain", "settings", "engine", "registry", "gitlab", "keys", "tools",
            "cancel", "delivery", "release", "hub", "executor",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

fn source_files() -> Vec<PathBuf> {
    fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("src can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.sort();
    files
}

fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("below src");
    let first = relative.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The top modules that a text imports: `crate::x`, and `airlock::x` in the binary.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for prefix in ["crate::", "airlock::"] {
            for (at, _) in line.match_indices(prefix) {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                let rest = &line[at + prefix.len()..];
                let names: Vec<String> = match rest.strip_prefix('{') {
                    Some(list) => {
                        let list = list.split('}').next().unwrap_or(list);
                        list.split(',').map(|item| word(item.trim())).collect()
                    }
                    None => vec![word(rest)],
                };
                found.extend(
                    names.into_iter().filter(|name| name.chars().next().is_some_and(char::is_lowercase)),
                );
            }
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn violations(files: &[(String, String, String)]) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut violations = Vec::new();
    for (path, module, text) in files {
        let Some(allowed) = allowed.get(module.as_str()) else {
            violations.push(format!("{path}: module `{module}` is not on the map"));
            continue;
        };
        for import in imports(text) {
            if import != *module && !allowed.contains(&import.as_str()) {
                violations.push(format!("{path}: `{module}` may not import `{import}`"));
            }
        }
    }
    violations
}

fn read(path: &Path) -> (String, String, String) {
    (path.display().to_string(), module_of(path), std::fs::read_to_string(path).expect("a source file"))
}

#[test]
fn arrows_point_down_only() {
    let files: Vec<_> = source_files().iter().map(|path| read(path)).collect();
    assert!(files.len() > 10, "the walk over src found next to nothing");
    assert_eq!(violations(&files), Vec::<String>::new());
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let planted =
        |module: &str, text: &str| vec![("planted.rs".to_owned(), module.to_owned(), text.to_owned())];
    assert_eq!(violations(&planted("domain", "use crate::engine::Engine;")).len(), 1);
    assert_eq!(violations(&planted("registry", "use crate::{engine, domain::image::Tag};")).len(), 1);
    assert_eq!(violations(&planted("engine", "fn f() { crate::registry::x() }")).len(), 1);
    assert_eq!(violations(&planted("surprise", "")).len(), 1);
    assert_eq!(violations(&planted("delivery", "use crate::engine::Engine;")).len(), 0);
}

#[test]
fn every_source_file_says_what_it_is_in_its_first_line() {
    for path in source_files() {
        let text = std::fs::read_to_string(&path).expect("a source file");
        assert!(text.starts_with("//! "), "{} does not start with a module header", path.display());
    }
}

#[test]
fn only_the_command_line_writes_to_standard_output() {
    for path in source_files().iter().filter(|path| module_of(path) != "cli") {
        let text = std::fs::read_to_string(path).expect("a source file");
        for word in ["println!(", "print!(", "io::stdout()"] {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn no_file_is_named_after_nothing() {
    for path in source_files() {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(
            !["utils", "util", "helpers", "common", "misc", "mod"].contains(&name.as_str()),
            "{}: name the noun that it works on",
            path.display()
        );
    }
}
