//! What `scripts/bootstrap` leaves on a machine, what a platform team copies, and the sample component.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}; `make test` runs scripts/bootstrap first"))
}

fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Output {
    let program = program.as_ref();
    Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn stdout(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The images in `target/airlock-images.env`, as (name, reference).
fn base_images() -> Vec<(String, String)> {
    read("target/airlock-images.env")
        .lines()
        .map(|line| line.split_once('=').expect("NAME=reference"))
        .map(|(name, reference)| (name.to_owned(), reference.to_owned()))
        .collect()
}

#[test]
fn the_newer_tools_start_and_are_in_their_version_ranges() {
    let versions = read("target/tools/versions");
    for (name, major) in [("cosign2", "2."), ("cosign3", "3."), ("skopeo", "1."), ("compose", "2.")] {
        let version = versions
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("{name} is not in target/tools/versions"));
        assert!(version.starts_with(major), "{name} is {version}");
        let program = root().join("target/tools/bin").join(name);
        assert!(run(program, &["--help"]).status.success(), "{name} starts");
    }
}

#[test]
fn skopeo_brings_its_own_libraries() {
    // A copy elsewhere still works: nothing in it names the place where it was unpacked.
    let directory = tempfile::tempdir().expect("a directory");
    let copied =
        run("cp", &["-a", "target/tools/skopeo", "target/tools/bin", &directory.path().to_string_lossy()]);
    assert!(copied.status.success());
    let version = stdout(directory.path().join("bin/skopeo"), &["--version"]);
    assert!(version.starts_with("skopeo version 1."), "{version}");
}

#[test]
fn the_schemas_are_the_published_ones_and_their_references_are_beside_them() {
    let schemas = root().join("target/tools/schemas");
    for (file, marker) in [
        ("cyclonedx-1.6.schema.json", "bom-1.6.schema.json"),
        ("spdx-2.3.schema.json", "SPDX 2.3"),
        ("spdx.schema.json", "spdx.schema.json"),
        ("jsf-0.82.schema.json", "jsf-0.82"),
    ] {
        let text = std::fs::read_to_string(schemas.join(file)).expect(file);
        let _: serde_json::Value = serde_json::from_str(&text).expect(file);
        assert!(text.contains(marker), "{file} contains {marker}");
        for reference in text.split("\"$ref\"").skip(1) {
            let target = reference.split('"').nth(1).expect("a reference");
            let target = target.split('#').next().expect("a first part");
            assert!(target.is_empty() || schemas.join(target).is_file(), "{file} refers to {target}");
        }
    }
}

#[test]
fn the_engine_knows_every_base_image_by_digest() {
    let images = base_images();
    let names: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["DEBIAN", "PYTHON", "POSTGRES", "PYTHON_PG", "GO", "HUB_TESTS", "HELPER"]);
    for (_, reference) in &images {
        let found = stdout("docker", &["image", "inspect", "--format", "{{json .RepoDigests}}", reference]);
        assert!(found.contains(reference.as_str()), "{found}");
    }
}

#[test]
fn the_helper_image_owns_the_workspace_as_the_unprivileged_user() {
    let (_, helper) = base_images().pop().expect("the helper image");
    let script = "set -e; stat -c %u:%g /builds; git --version; /opt/airlock/bin/busybox echo busybox; \
                  test -s /etc/ssl/certs/ca-certificates.crt; cd /opt/airlock && find . -type f | LC_ALL=C sort";
    let said = stdout(
        "docker",
        &["run", "--rm", "--network=none", "--read-only", "--user=1000:1000", &helper, "bash", "-c", script],
    );
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("1000:1000"));
    assert!(lines.next().is_some_and(|line| line.starts_with("git version 2.")), "{said}");
    assert_eq!(lines.next(), Some("busybox"));
    let mut expected: Vec<String> = vec!["./bin/busybox".into()];
    for entry in
        std::fs::read_dir(root().join("executor-config/helper-image/rootfs/opt/airlock")).expect("the tools")
    {
        expected.push(format!("./{}", entry.expect("an entry").file_name().to_string_lossy()));
    }
    expected.sort();
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

#[test]
fn a_second_bootstrap_installs_nothing() {
    let said = stdout("scripts/bootstrap", &[]);
    assert!(said.contains("host packages  all there"), "{said}");
    assert!(said.contains("already running"), "{said}");
}

#[test]
fn the_runner_configuration_is_ready_to_paste() {
    let config: toml::Table = toml::from_str(&read("executor-config/config.toml")).expect("TOML");
    let runner = config["runners"].as_array().expect("runners")[0].as_table().expect("a runner");
    assert_eq!(runner["executor"].as_str(), Some("custom"));
    assert_eq!(runner["builds_dir"].as_str(), Some("/builds"));
    assert_eq!(runner["cache_dir"].as_str(), Some("/cache"));
    assert_eq!(runner["safe_directory_checkout"].as_bool(), Some(true));
    assert_eq!(runner["debug_trace_disabled"].as_bool(), Some(true));
    assert!(runner["output_limit"].as_integer() > Some(4096));
    let custom = runner["custom"].as_table().expect("runners.custom");
    for stage in ["config", "prepare", "run", "cleanup"] {
        let program = PathBuf::from(custom[&format!("{stage}_exec")].as_str().expect("a path"));
        assert!(program.is_absolute(), "GitLab Runner changes its directory");
        let arguments: Vec<_> =
            custom[&format!("{stage}_args")].as_array().expect("a list").iter().map(|a| a.as_str()).collect();
        assert_eq!(arguments, [Some("executor"), Some(stage)]);
        let help = run(env!("CARGO_BIN_EXE_airlock"), &["executor", stage, "--help"]);
        assert!(help.status.success(), "the binary knows `executor {stage}`");
    }
    assert_eq!(custom["graceful_kill_timeout"].as_integer(), Some(90));
}

#[test]
fn host_settings_and_trust_policy_agree() {
    let host: toml::Table = toml::from_str(&read("executor-config/host.toml")).expect("TOML");
    let trust: toml::Table = toml::from_str(&read("executor-config/trust.toml")).expect("TOML");
    let rule = &trust["require"].as_array().expect("require")[0];
    assert_eq!(rule["builder_id"], host["provenance"]["builder_id"]);
    let prefix = host["store"]["prefix"].as_str().expect("a prefix");
    assert_eq!(rule["repositories"][0].as_str(), Some(format!("{prefix}/**").as_str()));
    let template = read("executor-config/host.toml");
    for key in trust["key"].as_array().expect("key") {
        // The key of releases is the hub's host's alone: the template shows it behind `#`.
        let key_use = key["use"].as_str().expect("a use");
        let shown = template.lines().map(|line| line.trim_start_matches("# "));
        let private = shown
            .filter_map(|line| line.strip_prefix(key_use)?.strip_prefix(" = \"")?.strip_suffix('"'))
            .find(|url| url.starts_with("file:"))
            .expect("a key");
        let public = key["public"].as_str().expect("a path");
        assert_eq!(private.strip_prefix("file:"), Some(public.replace(".pub", ".key").as_str()));
    }
}

#[test]
fn the_sample_component_becomes_the_same_commit_each_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let python = &base_images()[1].1;
    let mut commits = Vec::new();
    for name in ["first", "second"] {
        let place = directory.path().join(name);
        let place = place.to_str().expect("UTF-8");
        stdout("scripts/sample-repository", &[place]);
        commits.push(stdout("git", &["-C", place, "rev-parse", "staging"]));
        assert_eq!(stdout("git", &["-C", place, "rev-parse", "main"]), commits[0]);
        for file in ["Dockerfile", "airlock.toml", ".gitlab-ci.yml"] {
            let text = std::fs::read_to_string(Path::new(place).join(file)).expect(file);
            assert!(text.contains(python.as_str()), "{file} names the base image of this machine");
            assert!(!text.contains(&"0".repeat(64)), "{file} has no placeholder left");
        }
    }
    assert_eq!(commits[0], commits[1]);
}

#[test]
fn the_sample_repository_keeps_what_someone_changed_in_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("billing");
    let path = place.to_str().expect("UTF-8");
    stdout("scripts/sample-repository", &[path]);
    std::fs::write(place.join("VERSION"), "9.9.9\n").expect("a change");
    let said = stdout("scripts/sample-repository", &[path]);
    assert!(said.contains("kept"), "{said}");
    assert_eq!(std::fs::read_to_string(place.join("VERSION")).expect("the file"), "9.9.9\n");

    let other = directory.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    let refused = run("scripts/sample-repository", &[other.to_str().expect("UTF-8")]);
    assert_eq!(refused.status.code(), Some(2), "a directory of someone else's is never replaced");
}

#[test]
fn the_sample_components_unit_tests_pass_in_its_base_image() {
    let component = root().join("integration-hub/components/billing");
    let mount = format!("{}:/source:ro", component.display());
    let script = "cp -r /source /work/billing && cd /work/billing && make stage-unit-test >/work/log 2>&1 \
                  || { cat /work/log; exit 1; }; cat reports/unit.xml";
    let python = &base_images()[1].1;
    let report = stdout(
        "docker",
        &[
            "run",
            "--rm",
            "--network=none",
            "--read-only",
            "--cap-drop=ALL",
            "--user=1000:1000",
            "--tmpfs=/work:uid=1000,gid=1000,mode=0755",
            "--volume",
            &mount,
            python,
            "sh",
            "-c",
            script,
        ],
    );
    assert!(report.contains("failures=\"0\" errors=\"0\" skipped=\"0\""), "{report}");
    assert!(report.matches("<testcase").count() >= 20, "{report}");
}
