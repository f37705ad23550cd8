//! What the patterns mean, by the examples of Docker's documentation and Moby's tests.

use proptest::prelude::*;

use super::*;

fn excludes(patterns: &str, path: &str) -> bool {
    IgnoreFile::parse(patterns.as_bytes()).expect("patterns").excludes(path)
}

#[test]
fn matches_as_moby_does() {
    let cases = [
        ("*/temp*", "somedir/temporary.txt", true),
        ("*/temp*", "temporary.txt", false),
        ("*/*/temp*", "somedir/subdir/temporary.txt", true),
        ("temp?", "tempa", true),
        ("temp?", "temp", false),
        ("temp?", "temp/", false),
        ("**/*.go", "a.go", true),
        ("**/*.go", "a/b/c.go", true),
        ("**/*.go", "a/b/c.gox", false),
        ("**", "a/b", true),
        ("a/**", "a", false),
        ("a/**", "a/b/c", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/x/yb", false),
        ("**foo", "foo", true),
        ("**foo", "a/foo", true),
        ("**foo", "afoo", false),
        ("**/node_modules", "web/node_modules/x/y.js", true),
        ("/etc", "etc/passwd", true),
        ("etc/", "etc", true),
        ("./etc/../var", "var/x", true),
        ("etc", "my/etc", false),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[^a]b", "/b", false),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("# comment", "# comment", false),
        (" # no comment", "# no comment", true),
        ("  a  ", "a", true),
        ("*.md\n!README.md", "README.md", false),
        ("*.md\n!README.md", "other.md", true),
        ("!README.md\n*.md", "README.md", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
        ("docs\n!docs/keep", "docs/keep/x", false),
        ("docs\n! docs/keep", "docs/drop", true),
        ("a\r\nb\r\n", "b", true),
        ("../secret", "secret", false),
        (".", "a", false),
        ("/", "a", false),
        ("", "a", false),
    ];
    for (patterns, path, expected) in cases {
        assert_eq!(excludes(patterns, path), expected, "`{patterns}` and `{path}`");
    }
}

#[test]
fn names_the_line_of_what_is_no_pattern() {
    let message = |text: &str| IgnoreFile::parse(text.as_bytes()).expect_err("refused").to_string();
    let messages = [
        message("a\n!"),
        message("[a"),
        message("[z-a]"),
        message("a\\"),
        message(&"a\n".repeat(MAX_PATTERNS + 1)),
        message(&"#".repeat(MAX_IGNORE_BYTES + 1)),
        IgnoreFile::parse(b"a\n\xff").expect_err("refused").to_string(),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_pattern_with_many_stars_takes_no_time() {
    let pattern = "*a".repeat(500);
    assert!(!excludes(&pattern, &"a".repeat(400)));
}

proptest! {
    #[test]
    fn reads_any_bytes_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), path in ".{0,30}") {
        if let Ok(file) = IgnoreFile::parse(&bytes) {
            file.excludes(&path);
        }
    }

    #[test]
    fn a_plain_path_excludes_itself_and_what_is_below(path in "[a-z]{1,5}(/[a-z]{1,5}){0,3}", below in "[a-z]{1,5}") {
        let child = format!("{path}/{below}");
        prop_assert!(excludes(&path, &path) && excludes(&path, &child));
        let kept = format!("{path}\n!{child}");
        prop_assert!(!excludes(&kept, &child) && excludes(&kept, &path));
    }

    #[test]
    fn agrees_with_a_regular_expression(pattern in "[ab*/]{1,8}", path in "[ab]{1,3}(/[ab]{1,3}){0,3}") {
        prop_assume!(!pattern.contains("***") && pattern.contains(['a', 'b', '*']));
        let regex = moby_regex(&cleaned(&pattern).expect("not the root"));
        let parts: Vec<&str> = path.split('/').collect();
        let expected = (1..=parts.len()).any(|n| regex.is_match(&parts[..n].join("/")));
        prop_assert_eq!(excludes(&pattern, &path), expected);
    }
}

/// The translation that Moby's `patternmatcher` documents, for literals and stars.
fn moby_regex(pattern: &str) -> regex::Regex {
    let mut out = String::from("^");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**") {
            rest = after.strip_prefix('/').unwrap_or(after);
            out.push_str(if rest.is_empty() { ".*" } else { "(.*/)?" });
            continue;
        }
        match c {
            '*' => out.push_str("[^/]*"),
            c => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    regex::Regex::new(&format!("{out}$")).expect("a regular expression")
}
