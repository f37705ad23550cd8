//! Keys by `airlock key generate` are Cosign's: both majors read both halves, without a network.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::staging::{AIRLOCK, text};
use crate::tools::{BOTH, accepts, rejects, tool};

#[test]
fn cosign_reads_both_halves_of_a_generated_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    for password in ["", "a long password with ünïcode"] {
        let pair = at(&format!("pair-{}", password.len()));
        let made = std::process::Command::new(AIRLOCK)
            .env_clear()
            .env("COSIGN_PASSWORD", password)
            .args(["key", "generate", text(&pair)])
            .output()
            .expect("the built binary runs");
        accepts("airlock", &made);
        let (private, public) = (pair.with_extension("key"), pair.with_extension("pub"));
        assert_eq!(fs::metadata(&private).expect("a key").permissions().mode() & 0o7777, 0o600);
        fs::write(at("content"), "something to sign").expect("a file");
        fs::write(at("other"), "something else").expect("a file");
        for major in BOTH {
            let run = |password: &str, arguments: &[&str]| {
                tool(major)
                    .env("HOME", directory.path())
                    .env("COSIGN_PASSWORD", password)
                    .args(arguments)
                    .output()
                    .expect("cosign runs")
            };
            let told = run(password, &["public-key", "--key", text(&private)]);
            accepts(major, &told);
            assert_eq!(told.stdout, fs::read(&public).expect("a key"), "{major}");
            rejects(major, &run("wrong", &["public-key", "--key", text(&private)]), "");

            let signature = at(&format!("{major}.signature"));
            let (content, other) = (at("content"), at("other"));
            let mut sign = vec!["sign-blob", "--yes", "--tlog-upload=false", "--key", text(&private)];
            if major == "cosign3" {
                sign.extend(["--use-signing-config=false", "--new-bundle-format=false"]);
            }
            sign.extend(["--output-signature", text(&signature), text(&content)]);
            accepts(major, &run(password, &sign));
            let verify = |what| {
                let mut words =
                    vec!["verify-blob", "--key", text(&public), "--insecure-ignore-tlog=true", "--signature"];
                words.extend([text(&signature), what]);
                if major == "cosign3" {
                    words.push("--new-bundle-format=false");
                }
                run("", &words)
            };
            accepts(major, &verify(text(&content)));
            rejects(major, &verify(text(&other)), "");
        }
    }
}
