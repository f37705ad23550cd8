//! Cleanup and sweep: what jobs leave goes, whatever happened, and nothing else does.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use support::gitlab::JobPayload;
use support::lifecycle::{Stages, assert_nothing_left, docker, key_of, left, said, shown};
use support::runner::CallEnd;
use support::staging::{AIRLOCK, Host, airlock, base_image, small_component, text};

/// A job without a repository that publishes nothing.
fn job(host: &Host) -> JobPayload {
    host.gitlab.job().name("lint").image(&base_image("PYTHON"))
}

fn prepared<'a>(host: &'a Host, job: &JobPayload) -> Stages<'a> {
    let stages = Stages::new(host, job);
    let output = stages.call(&["prepare"], &[]);
    assert!(output.status.success(), "{}", shown(&output));
    stages
}

fn assert_silent_success(output: &Output) {
    assert_eq!(shown(output), "exit 0\n");
}

/// A container of somebody else's that mounts a volume; it goes when this is dropped.
struct Holder(String);

impl Holder {
    fn of(volume: &str) -> Self {
        let mount = format!("{volume}:/held");
        let id = docker(&["create", "--volume", &mount, &base_image("PYTHON"), "true"]);
        Self(id.into_iter().next().expect("an id"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.0]).output();
    }
}

#[test]
fn cleanup_removes_containers_when_the_record_is_missing() {
    let host = Host::with_layout();
    let job = job(&host);
    let stages = prepared(&host, &job);
    let key = key_of(&host, job.id());
    // What a hub job and a killed build would leave.
    let (network, label) = (format!("airlock-{key}-stack"), format!("airlock.job={key}"));
    docker(&["network", "create", "--internal", "--label", &label, &network]);
    let change = format!("LABEL {label}");
    docker(&[
        "commit",
        "--change",
        &change,
        &format!("airlock-{key}-job"),
        &format!("airlock-build/{key}:billing"),
    ]);
    insta::assert_snapshot!(left(&key).join("\n"));
    fs::remove_dir_all(host.path("state/jobs")).expect("the record");

    assert_silent_success(&stages.call(&["cleanup"], &[]));
    assert_nothing_left(&host, job.id());
    assert_silent_success(&stages.call(&["cleanup"], &[]));
}

#[test]
fn cleanup_goes_on_after_an_error_and_names_what_stays() {
    let host = Host::with_layout();
    let job = job(&host);
    let stages = prepared(&host, &job);
    let key = key_of(&host, job.id());
    let holder = Holder::of(&format!("airlock-{key}-cache"));
    let output = stages.call(&["cleanup"], &[]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(said(&shown(&output)));
    assert_eq!(left(&key), ["volume airlock-<job>-cache"]);
    assert_eq!(host.jobs_in_state(), Vec::<String>::new());
    drop(holder);
    assert_silent_success(&stages.call(&["cleanup"], &[]));
    assert_nothing_left(&host, job.id());
}

#[test]
fn cleanup_touches_the_job_of_the_response_file_and_no_other() {
    let host = Host::with_layout();
    let (ours, other) = (job(&host), job(&host));
    let stages = prepared(&host, &ours);
    let theirs = prepared(&host, &other);
    let key = key_of(&host, other.id());
    let (before, ours_before) = (left(&key), left(&key_of(&host, ours.id())));
    assert!(before.len() >= 5, "{before:?}");

    let other_id = other.id().to_string();
    let forged = |response: &'static str| {
        [("CUSTOM_ENV_CI_JOB_ID", other_id.as_str()), ("JOB_RESPONSE_FILE", response)]
    };
    for response in ["", "/nonexistent/response.json", "/dev/null"] {
        assert_silent_success(&stages.call(&["cleanup"], &forged(response)));
    }
    assert_eq!((left(&key), left(&key_of(&host, ours.id()))), (before.clone(), ours_before));

    let forged = [
        ("CUSTOM_ENV_CI_JOB_ID", other_id.as_str()),
        ("CI_JOB_ID", &other_id),
        ("CUSTOM_ENV_CI_JOB_STATUS", "success"),
        ("CUSTOM_ENV_CI_SERVER_URL", "http://forged.test"),
    ];
    assert_silent_success(&stages.call(&["cleanup"], &forged));
    assert_nothing_left(&host, ours.id());
    assert_eq!(left(&key), before);
    let works = theirs.run("build_script", "echo still here");
    assert_eq!(shown(&works), "exit 0\nstill here\n");
    assert_silent_success(&theirs.call(&["cleanup"], &[]));
    assert_nothing_left(&host, other.id());
}

#[test]
fn cleanup_after_a_killed_delivery_removes_all_and_publishes_nothing() {
    let host = Host::with_layout();
    let repository = small_component();
    let project = host.serve(&repository);
    let job = host.staging_job(&project, &repository);
    let id = host.gitlab.enqueue(&job);
    let mut runner =
        host.runner().kill_driver_when("build_script", |moment| moment.trace.contains("airlock_build["));
    let outcome = runner.run_one();
    assert_eq!(outcome.call("build_script").end, CallEnd::Signaled(9), "{}", outcome.trace);
    assert_eq!(outcome.call("cleanup").end, CallEnd::Exited(0), "{}", outcome.call("cleanup").stderr);
    assert_silent_success(
        &Stages::new(&host, &job).call(&["cleanup"], &[("CUSTOM_ENV_CI_JOB_STATUS", "success")]),
    );
    assert_eq!(host.tags(), Vec::<String>::new());
    assert_nothing_left(&host, id);
}

/// Writes a driver that finds another boot id, as the driver of an earlier boot did.
fn driver_of_an_earlier_boot(directory: &Path) -> std::path::PathBuf {
    let (boot, driver) = (directory.join("boot_id"), directory.join("driver"));
    fs::write(&boot, "00000000-0000-4000-8000-000000000000\n").expect("a file");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount --propagation private sh -c \
         'mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec {AIRLOCK} \"$@\"' {} \"$@\"\n",
        boot.display()
    );
    fs::write(&driver, script).expect("a file");
    fs::set_permissions(&driver, fs::Permissions::from_mode(0o755)).expect("a mode");
    driver
}

/// Keeps the lines that speak of these keys, since other tests' jobs live in the same engine.
fn about(text: &str, keys: &[(&str, &str)]) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let (key, name) = keys.iter().find(|(key, _)| line.contains(key))?;
            Some(line.replace(key, &format!("<{name}>")))
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn the_sweep_removes_what_dead_jobs_left_and_keeps_a_live_job() {
    let host = Host::with_layout();
    let live = job(&host);
    let stages = prepared(&host, &live);
    let live_key = key_of(&host, live.id());
    let live_before = left(&live_key);

    // A job of an earlier boot whose driver was killed; no cleanup ever came.
    let killed = host.gitlab.enqueue(&job(&host).script(&["echo the script has begun", "sleep 1000"]));
    let killed_key = key_of(&host, killed);
    let mut settings = host.runner_settings();
    settings.driver = driver_of_an_earlier_boot(host.directory.path());
    settings.cleanup_args = vec!["--version".to_owned()];
    let outcome = support::runner::Runner::new(&host.gitlab, settings)
        .kill_driver_when("build_script", |moment| moment.trace.contains("\nthe script has begun"))
        .run_one();
    assert_eq!(outcome.call("build_script").end, CallEnd::Signaled(9), "{}", outcome.trace);
    assert!(left(&killed_key).len() >= 5, "{:?}", left(&killed_key));
    assert!(host.jobs_in_state().contains(&killed_key));

    // A job whose time is over, one of which only state is left, and labels that name no job of ours.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot id");
    let scope = live_key.split_once('-').expect("a key").1;
    let late_key = format!("901-{scope}");
    let volume = |name: &str, key: &str| {
        let labels = [
            format!("airlock.job={key}"),
            "airlock.deadline=1".to_owned(),
            format!("airlock.boot={}", boot.trim()),
        ];
        let [job, deadline, boot] = labels.each_ref().map(|label| ["--label", label.as_str()]);
        docker(&[&["volume", "create"], &job[..], &deadline[..], &boot[..], &[name]].concat());
    };
    let (late, foreign) = (format!("airlock-{late_key}-workspace"), format!("foreign-{live_key}"));
    volume(&late, &late_key);
    volume(&foreign, "..");
    let old_key = format!("902-{scope}");
    let old = host.path("state/jobs").join(&old_key);
    fs::create_dir(&old).expect("a directory");
    let touched = Command::new("touch").args(["--date", "2 days ago", text(&old)]).status().expect("touch");
    assert!(touched.success());
    let holder = Holder::of(&late);

    let names = [
        (live_key.as_str(), "live"),
        (&killed_key, "killed"),
        (&late_key, "late"),
        (&old_key, "old"),
        ("`..`", "foreign"),
    ];
    let sweep = || airlock(&["host", "sweep", "--settings", text(&host.settings)]);
    let first = sweep();
    assert_eq!(first.status.code(), Some(3));
    insta::assert_snapshot!("first_sweep", about(&String::from_utf8_lossy(&first.stdout), &names));
    insta::assert_snapshot!("first_sweep_error", said(&String::from_utf8_lossy(&first.stderr)));
    assert_eq!((left(&killed_key), left(&late_key).len()), (vec![], 1));
    assert_eq!(host.jobs_in_state(), std::slice::from_ref(&live_key));

    drop(holder);
    let second = sweep();
    assert!(second.status.success(), "{}", shown(&second));
    insta::assert_snapshot!("second_sweep", about(&String::from_utf8_lossy(&second.stdout), &names));
    assert_eq!(left(&late_key), Vec::<String>::new());
    assert_eq!(left(&live_key), live_before);
    assert_eq!(shown(&stages.run("build_script", "echo still here")), "exit 0\nstill here\n");
    docker(&["volume", "rm", &foreign]);
    assert_silent_success(&stages.call(&["cleanup"], &[]));
    assert_nothing_left(&host, live.id());
}
