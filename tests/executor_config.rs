//! Everything in `executor-config/` is used: what a platform team copies is what the product takes.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use airlock::domain::sandbox::SeccompProfile;
use airlock::domain::trust::TrustPolicy;
use airlock::settings::{Settings, StorePlace};
use support::staging::{AIRLOCK, airlock, base_image, text};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("executor-config").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("executor-config/{name}: {error}"))
}

fn runner_config() -> toml::Table {
    toml::from_str(&read("config.toml")).expect("config.toml is TOML")
}

fn custom(config: &toml::Table) -> &toml::Value {
    &config["runners"][0]["custom"]
}

#[test]
fn the_runners_configuration_calls_the_four_stages_as_the_binary_takes_them() {
    let config = runner_config();
    let custom = custom(&config);
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("script");
    std::fs::write(&script, "exit 0\n").expect("a file");
    for stage in ["config", "prepare", "run", "cleanup"] {
        let program = custom[&format!("{stage}_exec")].as_str().expect("a program");
        assert_eq!(
            program, "/usr/local/bin/airlock",
            "absolute: GitLab Runner's directory changes with each attempt"
        );
        let arguments = custom[&format!("{stage}_args")].as_array().expect("arguments");
        let mut words: Vec<&str> = arguments.iter().map(|word| word.as_str().expect("a word")).collect();
        assert_eq!(words, ["executor", stage]);
        if stage == "run" {
            words.extend([text(&script), "build_script"]);
        }
        // The words are understood: what is missing is only this machine's own settings file.
        words.extend(["--settings", "/nonexistent/host.toml"]);
        let output = airlock(&words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with("error: cannot read the host settings `/nonexistent/host.toml`"), "{said}");
    }
    let more: Vec<&String> =
        custom.as_table().expect("a table").keys().filter(|key| key.ends_with("_args")).collect();
    assert_eq!(more.len(), 4, "{more:?}");
}

#[test]
fn the_runners_configuration_has_what_the_contract_asks_for() {
    let config = runner_config();
    let runner = &config["runners"][0];
    let custom = custom(&config);
    assert_eq!(runner["executor"].as_str(), Some("custom"));
    assert_eq!(custom["graceful_kill_timeout"].as_integer(), Some(90));
    // The runner waits 300 s for a cancelled job, then calls cleanup beside what still runs.
    let force = custom["force_kill_timeout"].as_integer().expect("a number");
    assert!(90 + force < 300, "{force}");
    assert!(config["shutdown_timeout"].as_integer().expect("a number") > 90 + force);
    assert_eq!(runner["safe_directory_checkout"].as_bool(), Some(true));
    assert!(runner["output_limit"].as_integer().expect("a number") > 4096, "the summary stands at the end");
    assert_eq!(runner["shell"].as_str(), Some("bash"));
    assert_eq!(runner["custom_build_dir"]["enabled"].as_bool(), Some(true));

    // What the config stage answers agrees with it (contract §1.8).
    let directory = tempfile::tempdir().expect("a directory");
    let settings = directory.path().join("host.toml");
    std::fs::write(&settings, read("host.toml")).expect("a file");
    let output = airlock(&["executor", "config", "--settings", text(&settings)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    for key in ["builds_dir", "cache_dir"] {
        assert_eq!(answer[key].as_str(), runner[key].as_str(), "{key}");
        assert!(answer[key].as_str().is_some_and(|path| path.starts_with('/')), "{key}");
    }
    assert_eq!(answer["builds_dir_is_shared"], false);
    assert_eq!(answer["driver"]["name"], "airlock");
    assert_eq!(answer["driver"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(answer.get("job_env").is_none(), "nothing of the host goes into a job's environment");
}

#[test]
fn the_host_settings_and_the_trust_policy_are_taken_by_the_product_and_agree() {
    let settings = Settings::parse(&read("host.toml")).expect("host.toml");
    assert!(matches!(settings.store.place, StorePlace::Registry { .. }));
    assert_eq!(settings.state_dir, Path::new("/var/lib/airlock"));
    assert_eq!(settings.trust, Path::new("/etc/airlock/trust.toml"));

    // The policy names keys; they are made as the README says, under the names that it gives.
    let directory = tempfile::tempdir().expect("a directory");
    let release = "file:/etc/airlock/release-2026.key".to_owned();
    assert!(read("host.toml").contains(&release), "the template shows the key of a hub's host");
    for url in [&settings.keys.image, &settings.keys.attestation, &release] {
        let name =
            url.strip_prefix("file:/etc/airlock/").and_then(|name| name.strip_suffix(".key")).expect("a key");
        let made = generate(&directory.path().join(name));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let policy = read("trust.toml");
    let read_key = |name: &str| {
        let name = Path::new(name).file_name().expect("a name");
        std::fs::read_to_string(directory.path().join(name))
    };
    let parsed = TrustPolicy::parse(&policy, "trust.toml", &read_key);
    assert!(parsed.is_ok(), "{:?}", parsed.err());
    // Host and clients speak of one builder and one prefix.
    assert!(policy.contains(&format!("builder_id = \"{}\"", settings.builder_id)));
    let prefix = settings.store.prefix.as_ref().expect("a prefix");
    assert!(policy.contains(&format!("repositories = [\"{prefix}/**\"]")));
}

fn generate(path: &Path) -> Output {
    Command::new(AIRLOCK)
        .args(["key", "generate", text(path)])
        .env_clear()
        .env("COSIGN_PASSWORD", "")
        .output()
        .expect("the built binary runs")
}

#[test]
fn the_seccomp_profile_is_the_one_in_the_binary_and_the_engine_enforces_it() {
    let profile = SeccompProfile::parse(&read("seccomp.json")).expect("a profile");
    assert_eq!(SeccompProfile::shipped(), profile);

    let program = "import errno, socket, sys
for name, family, kind in [('INET', socket.AF_INET, socket.SOCK_STREAM), ('UNIX', socket.AF_UNIX, socket.SOCK_STREAM),
                           ('VSOCK', 40, socket.SOCK_STREAM), ('ALG', 38, socket.SOCK_SEQPACKET)]:
    try:
        socket.socket(family, kind).close()
        print(name, 'works')
    except OSError as error:
        print(name, errno.errorcode[error.errno])
";
    let seccomp = format!("seccomp={}", text(&path("seccomp.json")));
    let output = Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--security-opt", &seccomp, &base_image("PYTHON")])
        .args(["python3", "-c", program])
        .output()
        .expect("the docker client");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "INET works\nUNIX works\nVSOCK EPERM\nALG EPERM\n");
}

#[test]
fn the_helper_image_has_what_its_definition_lists_and_no_gitlab_runner() {
    let definition = read("helper-image/Dockerfile");
    let instructions: Vec<&str> = definition.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(instructions.iter().all(|line| !line.contains("gitlab-runner")), "{definition}");
    let checked = definition.split("for program in ").nth(1).and_then(|rest| rest.split(';').next());
    let programs: Vec<&str> = checked.expect("the list of programs").split_whitespace().collect();
    assert!(programs.contains(&"git") && programs.contains(&"bash"), "{programs:?}");
    let script = format!(
        "for program in {}; do command -v $program >/dev/null || echo missing $program; done; \
         command -v gitlab-runner gitlab-runner-helper && echo found; \
         stat -c '%u:%g' /builds; ls /opt/airlock; test -s /etc/ssl/certs/ca-certificates.crt || echo no certificates",
        programs.join(" ")
    );
    let output = Command::new("docker")
        .args([
            "run",
            "--rm",
            "--network",
            "none",
            "--entrypoint",
            "sh",
            &base_image("HELPER"),
            "-c",
            &script,
        ])
        .output()
        .expect("the docker client");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1000:1000\nbin\nexec\nkill\nprobe\n");
}

#[test]
fn the_timer_calls_the_sweep_that_the_binary_has() {
    let service = read("airlock-sweep.service");
    let command = service.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let mut words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words.remove(0), "/usr/local/bin/airlock");
    words.push("--help");
    let output = airlock(&words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let timer = read("airlock-sweep.timer");
    assert!(timer.contains("OnBootSec=") && timer.contains("[Install]"), "{timer}");
}

#[test]
fn every_file_of_the_folder_is_known_to_a_test() {
    let mut names: Vec<String> = std::fs::read_dir(path(""))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let known = [
        "airlock-sweep.service",
        "airlock-sweep.timer",
        "config.toml",
        "helper-image",
        "host.toml",
        "seccomp.json",
        "trust.toml",
    ];
    assert_eq!(names, known);
}
