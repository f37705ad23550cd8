//! The command line as a person meets it: every help text, misuse of `airlock verify`, and keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const AIRLOCK: &str = env!("CARGO_BIN_EXE_airlock");

/// Runs the binary in a directory, with no environment but what is given.
fn airlock(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(AIRLOCK)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .expect("the built binary runs")
}

/// Returns what was said, with the exit code.
fn told(output: &Output) -> String {
    format!(
        "exit code {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().expect("it was not killed"),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn every_verb_has_a_help_text() {
    let directory = tempfile::tempdir().expect("a directory");
    let verbs: [&[&str]; 16] = [
        &[],
        &["executor"],
        &["executor", "config"],
        &["executor", "prepare"],
        &["executor", "run"],
        &["executor", "cleanup"],
        &["try"],
        &["verify"],
        &["release"],
        &["release", "list"],
        &["release", "show"],
        &["release", "diff"],
        &["promote"],
        &["key"],
        &["key", "generate"],
        &["host"],
    ];
    for verb in verbs.into_iter().chain([&["host", "sweep"][..]]) {
        let output = airlock(directory.path(), &[], &[verb, &["--help"]].concat());
        assert!(output.status.success(), "{verb:?}");
        let name = format!("help_{}", if verb.is_empty() { "airlock".to_owned() } else { verb.join("_") });
        insta::assert_snapshot!(name, String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn the_help_lists_every_verb() {
    // A verb that is added must come with its golden help text above.
    let directory = tempfile::tempdir().expect("a directory");
    let listed = |verb: &[&str]| -> Vec<String> {
        let output = airlock(directory.path(), &[], &[verb, &["--help"]].concat());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let commands =
            text.split("Commands:\n").nth(1).expect("commands").split("\n\n").next().expect("a list");
        let entry =
            |line: &str| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')).map(str::to_owned);
        let words = commands.lines().filter_map(|line| entry(line)?.split(' ').next().map(str::to_owned));
        words.filter(|word| word != "help").collect()
    };
    assert_eq!(listed(&[]), ["executor", "try", "verify", "release", "promote", "key", "host"]);
    assert_eq!(listed(&["executor"]), ["config", "prepare", "run", "cleanup"]);
    assert_eq!(listed(&["release"]), ["list", "show", "diff"]);
    assert_eq!(listed(&["key"]), ["generate"]);
    assert_eq!(listed(&["host"]), ["sweep"]);
}

#[test]
fn verify_says_what_is_wrong_with_how_it_was_called() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
    write("good.toml", "schema = 1\n");
    write("unknown.toml", "schema = 1\ntrust_everything = true\n");
    write("future.toml", "schema = 2\n");
    write(
        "no-key.toml",
        "schema = 1\n[[key]]\nname = \"a\"\nuse = \"image\"\npublic = \"absent.pub\"\nnot_before = 2026-01-01T00:00:00Z\nnot_after = 2027-01-01T00:00:00Z\n",
    );
    write("huge.toml", &"#".repeat(70_000));
    write("ca.pem", "not a certificate\n");
    write("open.json", "{\"auths\":{}}");
    fs::set_permissions(directory.path().join("open.json"), fs::Permissions::from_mode(0o644))
        .expect("a mode");
    let image = "registry.example:5000/acme/billing:staged";
    let digest = format!("registry.example:5000/acme/billing@sha256:{}", "A".repeat(64));
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("no_reference", vec![]),
        ("no_policy", vec![image]),
        ("policy_with_an_unknown_key", vec!["--trust", "unknown.toml", image]),
        ("policy_of_another_schema", vec!["--trust", "future.toml", image]),
        ("policy_without_its_key_file", vec!["--trust", "no-key.toml", image]),
        ("policy_too_large", vec!["--trust", "huge.toml", image]),
        ("no_registry", vec!["--trust", "good.toml", "acme/billing:staged"]),
        ("no_tag", vec!["--trust", "good.toml", "registry.example:5000/acme/billing"]),
        ("not_a_digest", vec!["--trust", "good.toml", &digest]),
        ("not_a_tag", vec!["--trust", "good.toml", "registry.example/acme/billing:a b"]),
        ("capitals", vec!["--trust", "good.toml", "registry.example/Acme:staged"]),
        ("control_characters", vec!["--trust", "good.toml", "registry.example/\u{1b}[31macme"]),
        ("empty", vec!["--trust", "good.toml", ""]),
        ("channel", vec!["--trust", "good.toml", "--channel", "production", image]),
        ("ca_absent", vec!["--trust", "good.toml", "--ca", "absent.pem", image]),
        ("ca_is_none", vec!["--trust", "good.toml", "--ca", "ca.pem", image]),
        ("auth_absent", vec!["--trust", "good.toml", "--auth-file", "absent.json", image]),
        ("auth_readable_by_all", vec!["--trust", "good.toml", "--auth-file", "open.json", image]),
        ("layout_and_ca", vec!["--trust", "good.toml", "--layout", ".", "--ca", "ca.pem", "a:b"]),
        ("layout_with_a_host", vec!["--trust", "good.toml", "--layout", ".", "registry.example:5000/a:b"]),
        ("unknown_flag", vec!["--trust", "good.toml", "--insecure", image]),
    ];
    for (name, arguments) in cases {
        let output = airlock(directory.path(), &[], &[&["verify"], arguments.as_slice()].concat());
        assert!(output.stdout.is_empty(), "{name}");
        insta::assert_snapshot!(format!("verify_{name}"), told(&output));
        assert_eq!(output.status.code(), Some(2), "{name}");
    }
    let json = airlock(directory.path(), &[], &["verify", "--json", "--trust", "unknown.toml", image]);
    insta::assert_snapshot!("verify_as_json", told(&json));
}

#[test]
fn key_generate_never_overwrites_and_says_what_it_needs() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("password"), "from a file\nsecond line\n").expect("a file");
    fs::set_permissions(at("password"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let from_file = ["key", "generate", "--password-file", "password"];
    let generate = |path: &str| airlock(directory.path(), &[], &[&from_file[..], &[path]].concat());

    insta::assert_snapshot!("key_made", told(&generate("image")));
    let mode = |name: &str| fs::metadata(at(name)).expect("a file").permissions().mode() & 0o7777;
    assert_eq!((mode("image.key"), mode("image.pub")), (0o600, 0o644));
    let before = (fs::read(at("image.key")).expect("a key"), fs::read(at("image.pub")).expect("a key"));

    insta::assert_snapshot!("key_exists", told(&generate("image")));
    // The half that is there is never changed, and no second half of another pair is put beside it.
    fs::rename(at("image.key"), at("kept.key")).expect("renamed");
    insta::assert_snapshot!("key_public_half_exists", told(&generate("image")));
    assert!(!at("image.key").exists());
    fs::rename(at("kept.key"), at("image.key")).expect("renamed");
    assert_eq!(
        before,
        (fs::read(at("image.key")).expect("a key"), fs::read(at("image.pub")).expect("a key"))
    );

    insta::assert_snapshot!(
        "key_without_a_password",
        told(&airlock(directory.path(), &[], &["key", "generate", "other"]))
    );
    let absent = airlock(directory.path(), &[], &["key", "generate", "--password-file", "absent", "other"]);
    insta::assert_snapshot!("key_password_file_absent", told(&absent));
    insta::assert_snapshot!("key_directory_absent", told(&generate("nowhere/other")));
    fs::set_permissions(at("password"), fs::Permissions::from_mode(0o644)).expect("a mode");
    insta::assert_snapshot!("key_password_readable_by_others", told(&generate("other")));
    assert!(!at("other.key").exists() && !at("other.pub").exists());
    let empty = airlock(directory.path(), &[("COSIGN_PASSWORD", "")], &["key", "generate", "empty"]);
    assert!(empty.status.success(), "{}", told(&empty));
    let two: Vec<_> = ["image.key", "empty.key"].map(|name| fs::read(at(name)).expect("a key")).into();
    assert_ne!(two[0], two[1]);
}

#[test]
fn a_key_that_cannot_be_used_is_refused_with_the_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    for (name, password) in [("password", "right\n"), ("wrong", "wrong\n")] {
        fs::write(at(name), password).expect("a file");
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    let made = airlock(directory.path(), &[], &["key", "generate", "--password-file", "password", "image"]);
    assert!(made.status.success(), "{}", told(&made));
    let file = format!("file:{}", at("image.key").display());
    let open = |password: &str| {
        let opened = airlock::keys::open(&file, password.to_owned().into());
        let shown = directory.path().display().to_string();
        opened
            .map(|_| ())
            .map_err(|e| airlock::failure::Failure::from(e).to_string().replace(&shown, "<directory>"))
    };
    assert_eq!(open("right"), Ok(()));
    insta::assert_snapshot!("key_with_the_wrong_password", open("wrong").expect_err("refused"));
    fs::set_permissions(at("image.key"), fs::Permissions::from_mode(0o640)).expect("a mode");
    insta::assert_snapshot!("key_readable_by_others", open("right").expect_err("refused"));
}

#[test]
fn the_page_about_verifying_has_the_exit_codes_of_the_help_text() {
    let directory = tempfile::tempdir().expect("a directory");
    let help =
        String::from_utf8(airlock(directory.path(), &[], &["verify", "--help"]).stdout).expect("UTF-8");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify-with-cosign-and-skopeo.md");
    let page = fs::read_to_string(page).expect("the page");
    let rows: Vec<(String, String)> = page
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
            cells[0].parse::<u8>().ok()?;
            Some((cells[0].to_owned(), cells[2].to_owned()))
        })
        .collect();
    let listed: Vec<(String, String)> = help
        .split("Exit codes:\n")
        .nth(1)
        .expect("exit codes")
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| (code.to_owned(), meaning.to_owned()))
        .collect();
    assert!(listed.len() > 8);
    assert_eq!(rows, listed);
}
