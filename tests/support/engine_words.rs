//! What several versions of Docker Engine and Compose say in words of their own, said in one way.

/// Returns the text with the engine's own words as a golden file has them.
pub fn engine_words(text: &str) -> String {
    let patterns = [
        (r#"executor failed running \[.*\]: exit code"#, "<command> failed: exit code"),
        (r#"process ".*" did not complete successfully: exit code"#, "<command> failed: exit code"),
        (r"failed to compute cache key: .*", "failed to compute cache key: <why>"),
        (
            r"(failed to solve with frontend .*: )?dockerfile parse error (on )?line",
            "dockerfile parse error, line",
        ),
        (r"no such image: sha256:\w+: No such image", "No such image"),
        (r"Error processing tar file\(unexpected EOF\):[^\n]*", "unexpected EOF"),
        (r"Additional property (\S+) is not allowed", "additional properties '$1' not allowed"),
        (r":\s+(\(root\) )?additional", ": additional"),
        (r#"\S+ must be one of the following: "service_.*"#, "value must be one of <conditions>"),
        (r"value must be one of 'service_.*", "value must be one of <conditions>"),
        (r"experimental (git|OCI) remote resource is disabled.*", "<remote>"),
        (r"failed to (access repository at|pull OCI resource) .*", "<remote>"),
    ];
    patterns.iter().fold(text.to_owned(), |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    })
}
