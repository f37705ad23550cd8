//! What newer versions of Docker Engine and Compose say, in the words of those that the golden files are of.

/// Translates to the words of Docker Engine 20.10 and Compose 2.26; what they say stays as it is.
pub fn engine_words(text: &str) -> String {
    let conditions = r#"$1 $1 must be one of the following: "service_started", "service_healthy", "service_completed_successfully""#;
    let patterns = [
        (r#""(/[^"]*)": not found"#, r#""$1" not found: not found"#),
        (r"failed to calculate checksum of ref [a-z0-9:-]+: ", ""),
        (
            r"([a-z]+:) dockerfile parse error on line",
            "$1 failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile parse error line",
        ),
        (r"daemon: No such image: (sha256:\w+)", "daemon: no such image: $1: No such image: $1"),
        (r"stream error: unexpected EOF", "stream error: Error processing tar file(unexpected EOF):"),
        (
            r"(: |services\.api) additional properties '(\w+)' not allowed",
            "$1 Additional property $2 is not allowed",
        ),
        (r": {2,}Additional", ": (root) Additional"),
        (
            r"(\S+) value must be one of 'service_started', 'service_healthy', 'service_completed_successfully'",
            conditions,
        ),
        (
            r"failed to access repository at \S+:",
            r#"experimental git remote resource is disabled. "COMPOSE_EXPERIMENTAL_GIT_REMOTE" must be set"#,
        ),
        (
            r"failed to pull OCI resource .*",
            r#"experimental OCI remote resource is disabled. "COMPOSE_EXPERIMENTAL_OCI_REMOTE" must be set"#,
        ),
    ];
    let text = patterns.iter().fold(text.to_owned(), |text, (pattern, with)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    });
    // Newer engines write the command as a quoted string.
    let failed =
        regex::Regex::new(r#"process "(.*)" did not complete successfully: exit code"#).expect("a pattern");
    let unquote = |found: &regex::Captures<'_>| {
        let command = found[1].replace(r#"\""#, "\"").replace(r"\\", r"\");
        format!("executor failed running [{command}]: exit code")
    };
    failed.replace_all(&text, unquote).into_owned()
}
