//! `airlock try`: the staging job on a developer's machine, from a commit of his repository.

mod support;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::engine_words::engine_words;
use support::git_repository::GitRepository;
use support::staging::{AIRLOCK, Host, base_image, redact, small_component, text, write_small_component};

/// A developer's machine: a home of its own, nothing of the host's environment.
struct Machine {
    home: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory") }
    }

    fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(AIRLOCK);
        command
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home.path())
            .stdin(Stdio::null());
        command
    }

    fn airlock(&self, directory: &Path, arguments: &[&str]) -> Output {
        self.command(directory, arguments).output().expect("the built binary runs")
    }

    /// Runs `airlock try` with the two images that there always are.
    fn try_in(&self, directory: &Path, more: &[&str]) -> Output {
        let (helper, image) = (base_image("HELPER"), base_image("PYTHON"));
        let mut arguments = vec!["try", "--helper-image", &helper, "--image", &image];
        arguments.extend(more);
        self.airlock(directory, &arguments)
    }

    fn jobs(&self) -> Vec<PathBuf> {
        let jobs = self.home.path().join(".local/state/airlock/jobs");
        std::fs::read_dir(jobs).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }

    fn golden(&self, directory: &Path, output: &Output) -> String {
        let text = format!("{}{}", stdout(output), String::from_utf8_lossy(&output.stderr));
        let text = text
            .replace(text_of(self.home.path()), "<home>")
            .replace(text_of(directory), "<tree>")
            .replace(text_of(directory.parent().expect("a directory")), "<parent>");
        let patterns = [
            (r"(?m)^  … .*\n", ""),
            // Newer engines tell the steps as well.
            (r"(?m)^  \[2/3\] COPY app.py /srv/app.py\n  \[3/3\] RUN echo built > /srv/built\n", ""),
            (r"sandbox [0-9a-f]{12}", "sandbox <container>"),
            (r"\b[0-9]+(\.[0-9])? ([KM]iB|bytes)\b", "<size>"),
            (r"commit [0-9a-f]{12}\b", "commit <short>"),
            (r"\b[0-9]+ packages\b", "<n> packages"),
            (r"packages    [0-9]+ ", "packages    <n> "),
        ];
        patterns.iter().fold(redact(&text), |text, (pattern, with)| {
            regex::Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
        })
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn expect_success(output: Output) -> Output {
    assert!(output.status.success(), "{}{}", stdout(&output), String::from_utf8_lossy(&output.stderr));
    output
}

/// Returns a row of the summary.
fn row(output: &Output, name: &str) -> String {
    let text = stdout(output);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("  {name}")));
    line.unwrap_or_else(|| panic!("no row `{name}` in\n{text}")).trim().to_owned()
}

/// Runs the command that the summary prints, as a person pastes it, and returns its report.
fn verify_as_printed(machine: &Machine, output: &Output) -> serde_json::Value {
    let command = row(output, "look next");
    assert!(command.starts_with("airlock verify "), "{command}");
    let bin = Path::new(AIRLOCK).parent().expect("a directory");
    let verified = Command::new("sh")
        .args(["-c", &format!("{command} --json")])
        .current_dir("/")
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("HOME", machine.home.path())
        .output()
        .expect("a shell");
    assert!(verified.status.success(), "{command}\n{}", String::from_utf8_lossy(&verified.stderr));
    serde_json::from_slice(&verified.stdout).expect("JSON")
}

/// Returns what a try of process `pid` left in the engine.
fn left_by(pid: u32) -> String {
    let ending = format!("-{pid}");
    let mut left = String::new();
    for arguments in [
        ["ps", "--all", "--format", "{{.Label \"airlock.job\"}}"].as_slice(),
        &["volume", "ls", "--format", "{{.Label \"airlock.job\"}}"],
        &["images", "--format", "{{.Repository}}"],
    ] {
        let output = Command::new("docker").args(arguments).output().expect("the docker client");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for line in stdout(&output).lines().filter(|line| line.contains("try-") && line.ends_with(&ending)) {
            left.push_str(line);
            left.push('\n');
        }
    }
    left
}

#[test]
fn a_try_takes_the_commit_and_not_the_working_tree_and_the_second_gives_the_same_digest() {
    let (machine, repository) = (Machine::new(), small_component());
    let tree = repository.path();
    // Each of these would make the try fail, or change the image, if it were used.
    repository.write("app.py", "raise SystemExit('not committed')\n");
    repository.write("staged.py", "staged = True\n");
    repository.git(&["add", "staged.py"]);
    repository.write("untracked.py", "untracked = True\n");
    repository.write("odd\u{1b}[2J name.py", "");
    repository.remove("VERSION");
    let first = expect_success(machine.try_in(&tree, &["--layout", "../store"]));
    insta::assert_snapshot!(machine.golden(&tree, &first));
    let report = verify_as_printed(&machine, &first);
    assert_eq!(report["provenance"]["mode"], "local", "{report:#}");
    assert_eq!(report["provenance"]["ref"], "staging", "{report:#}");
    assert_eq!(report["provenance"]["commit"], repository.head());
    assert_eq!(row(&first, "stored in"), repository.path().with_file_name("store").display().to_string());
    assert_eq!(machine.jobs(), Vec::<PathBuf>::new());

    let keys = machine.home.path().join(".local/state/airlock/keys");
    let key = std::fs::read(keys.join("image.key")).expect("a throw-away key");
    let second = expect_success(machine.try_in(&tree, &["--layout", "../store"]));
    assert_eq!(row(&first, "digest"), row(&second, "digest"));
    assert_eq!(std::fs::read(keys.join("image.key")).expect("the key"), key, "keys are used again");
    assert!(stdout(&second).contains("complete already"), "{}", stdout(&second));
}

#[test]
fn a_revision_is_tried_under_the_name_of_its_branch_whatever_is_checked_out() {
    let (machine, mut repository) = (Machine::new(), small_component());
    repository.new_branch("feature/sums-2");
    repository.write("airlock.toml", format!("schema = 1\n\n[try]\nimage = \"{}\"\n", base_image("PYTHON")));
    let wanted = repository.commit("on a branch with a slash");
    repository.switch("staging");
    repository.git(&["checkout", "--quiet", "--detach"]);
    // A quote and a space in a path: what is printed can be pasted all the same.
    let helper = base_image("HELPER");
    let store = repository.path().with_file_name("it's a store");
    let arguments = ["try", "--helper-image", &helper, "--layout", text(&store), "feature/sums-2"];
    let tried = expect_success(machine.airlock(&repository.path(), &arguments));
    let report = verify_as_printed(&machine, &tried);
    assert_eq!(report["provenance"]["commit"], wanted);
    assert_eq!(report["provenance"]["ref"], "feature/sums-2", "{report:#}");

    // On no branch at all.
    let detached = expect_success(machine.try_in(&repository.path(), &["--layout", text(&store)]));
    let report = verify_as_printed(&machine, &detached);
    assert_eq!(report["provenance"]["commit"], repository.head());
    assert_eq!(report["provenance"]["ref"], "HEAD", "{report:#}");
}

#[test]
fn a_sha256_repository_in_a_directory_with_an_odd_name_can_be_tried() {
    let machine = Machine::new();
    let mut repository = GitRepository::create_with_format("staging", "sha256");
    write_small_component(&repository);
    let commit = repository.commit("first version");
    assert_eq!(commit.len(), 64);
    let odd = repository.path().with_file_name("My Component -- (2)");
    std::fs::rename(repository.path(), &odd).expect("a directory moves");
    let tried = expect_success(machine.try_in(&odd, &["--keys", "../own keys"]));
    assert!(stdout(&tried).contains("━━ my-component-2:"), "{}", stdout(&tried));
    let report = verify_as_printed(&machine, &tried);
    assert_eq!(report["provenance"]["commit"], commit);
    assert!(odd.with_file_name("own keys").join("trust.toml").is_file());
}

#[test]
fn a_try_with_host_settings_uses_the_hosts_registry_and_keys() {
    let host = Host::with_registry();
    let (machine, repository) = (Machine::new(), small_component());
    let image = base_image("PYTHON");
    let arguments = ["try", "--settings", text(&host.settings), "--image", &image];
    // The host's own keys are not enough: its policy wants a builder that a try never is.
    let refused = machine.airlock(&repository.path(), &arguments);
    assert_eq!(refused.status.code(), Some(3), "{}", stdout(&refused));
    insta::assert_snapshot!("under_the_hosts_own_policy", redact(&String::from_utf8_lossy(&refused.stderr)));
    assert!(!stdout(&refused).contains("\ntag "), "{}", stdout(&refused));

    // A host that lets its developers try: its policy takes what no GitLab project stands behind.
    let trust = std::fs::read_to_string(host.path("trust.toml")).expect("the policy");
    let trust = trust
        .replace("project_from_repository = true", "project_from_repository = false")
        .replace("https://gitlab.test/airlock", "urn:airlock:builder:local-try");
    std::fs::write(host.path("trust.toml"), trust).expect("a file");
    let tried = expect_success(machine.airlock(&repository.path(), &arguments));
    assert_eq!(row(&tried, "signed by"), "image-2026 (image), attestation-2026 (attestations)");
    assert_eq!(row(&tried, "stored in"), host.registry.as_ref().expect("a registry").host);
    let report = verify_as_printed(&machine, &tried);
    assert_eq!(report["provenance"]["mode"], "local", "{report:#}");
    assert!(!machine.home.path().join(".local").exists(), "nothing is kept beside the host's own state");
    assert_eq!(host.jobs_in_state(), Vec::<String>::new());
}

#[test]
fn what_keeps_a_try_from_starting_is_told_with_the_next_step() {
    let machine = Machine::new();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let unborn = GitRepository::create("staging");
    let repository = small_component();
    let (helper, image) = (base_image("HELPER"), base_image("PYTHON"));
    let mut golden = String::new();
    let mut case = |name: &str, code: i32, directory: &Path, arguments: &[&str]| {
        let mut words = vec!["try"];
        words.extend(arguments);
        let output = machine.airlock(directory, &words);
        assert_eq!(output.status.code(), Some(code), "{name}\n{}", machine.golden(directory, &output));
        golden.push_str(&format!("── {name}\nexit {code}\n{}\n", machine.golden(directory, &output)));
    };
    let both = ["--helper-image", &helper, "--image", &image];
    let with = |word: &'static str| [both.as_slice(), &[word]].concat();
    case("not a repository", 2, elsewhere.path(), &both);
    case("no commit yet", 2, &unborn.path(), &both);
    case("no such revision", 2, &repository.path(), &with("nobody/knows"));
    case("a revision that looks like an option", 2, &repository.path(), &with("--upload-pack=x"));
    case("no helper image", 2, &repository.path(), &["--image", &image]);
    case("no image", 2, &repository.path(), &["--helper-image", &helper]);
    case("an unpinned image", 2, &repository.path(), &["--helper-image", &helper, "--image", "python:3"]);
    case("settings and keys", 2, &repository.path(), &["--settings", "/x.toml", "--keys", "keys"]);
    case("no settings", 2, &repository.path(), &["--settings", "/nonexistent/host.toml"]);
    case("layout is a file", 3, &repository.path(), &[&both[..], &["--layout", "Makefile"]].concat());
    insta::assert_snapshot!(golden);
    assert_eq!(machine.jobs(), Vec::<PathBuf>::new());
}

#[test]
fn red_tests_a_refused_dockerfile_and_a_failing_build_have_exit_codes_of_their_own() {
    let (machine, mut repository) = (Machine::new(), small_component());
    let tree = repository.path();
    let mut golden = String::new();
    let base = base_image("PYTHON");
    for (name, code, file, content) in [
        ("red tests", 20, "Makefile", "stage-unit-test:\n\t@echo one test is red; exit 1\n".to_owned()),
        ("refused Dockerfile", 16, "Dockerfile", format!("FROM {base}\nADD https://example.com/x /x\n")),
        ("failing build", 20, "Dockerfile", format!("FROM {base}\nRUN false\n")),
    ] {
        write_small_component(&repository);
        repository.write(file, content);
        repository.commit(name);
        let output = machine.try_in(&tree, &["--layout", "../store"]);
        assert_eq!(output.status.code(), Some(code), "{name}\n{}", machine.golden(&tree, &output));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("runner problem"), "{said}");
        golden.push_str(&format!("── {name}\nexit {code}\n{}\n", engine_words(&redact(&said))));
        assert!(!stdout(&output).contains("━━"), "{}", stdout(&output));
    }
    insta::assert_snapshot!(golden);
    assert!(!tree.with_file_name("store").join("local").exists());
    assert_eq!(machine.jobs(), Vec::<PathBuf>::new());
}

/// Starts a try, waits until its output has `moment`, sends SIGINT as Ctrl-C does, waits for its end.
fn interrupted(machine: &Machine, directory: &Path, moment: &str) -> (Child, String) {
    let (helper, image) = (base_image("HELPER"), base_image("PYTHON"));
    let mut child = machine
        .command(directory, &["try", "--helper-image", &helper, "--image", &image])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built binary runs");
    let mut out = child.stdout.take().expect("a pipe");
    let (mut said, mut chunk) = (Vec::new(), [0; 4096]);
    let started = Instant::now();
    while !String::from_utf8_lossy(&said).contains(moment) {
        assert!(started.elapsed() < Duration::from_secs(120), "{}", String::from_utf8_lossy(&said));
        let length = out.read(&mut chunk).expect("its output");
        assert_ne!(length, 0, "it ended before `{moment}`: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&chunk[..length]);
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    out.read_to_end(&mut said).expect("its output");
    let mut error = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut error).expect("its words");
    child.wait().expect("its end");
    (child, error)
}

#[test]
fn ctrl_c_ends_a_try_and_leaves_nothing() {
    let (machine, mut repository) = (Machine::new(), small_component());
    let tree = repository.path();
    let mut golden = String::new();
    for (name, file, content, moment) in [
        ("in the test", "Makefile", "stage-unit-test:\n\t@echo it runs; sleep 300\n".to_owned(), "it runs"),
        (
            "in the build",
            "Dockerfile",
            format!("FROM {}\nRUN echo it builds; sleep 30\n", base_image("PYTHON")),
            "\n  it builds",
        ),
        ("in the description", "app.py", "def add(a, b):\n    return b + a\n".to_owned(), "── Describe"),
    ] {
        write_small_component(&repository);
        repository.write(file, content);
        repository.commit(name);
        let (mut child, error) = interrupted(&machine, &tree, moment);
        assert_eq!(child.wait().expect("its end").code(), Some(130), "{name}: {error}");
        golden.push_str(&format!("── {name}\n{}\n", redact(&error)));
        assert_eq!(left_by(child.id()), "", "{name}");
        assert_eq!(machine.jobs(), Vec::<PathBuf>::new(), "{name}");
    }
    insta::assert_snapshot!(golden);
    assert!(!machine.home.path().join(".local/state/airlock/store/tree").exists(), "nothing is published");
}
