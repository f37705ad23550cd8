//! The create request is the page that shows what hermetic means.

use std::collections::BTreeMap;

use super::*;

fn spec() -> SandboxSpec {
    SandboxSpec {
        image: Digest::of(b"image"),
        user: SandboxUser::new(1000, 1000).unwrap(),
        network: SandboxNetwork::None,
        tools_volume: "airlock-8123-tools".into(),
        mounts: vec![VolumeMount {
            volume: "airlock-8123-workspace".into(),
            target: "/builds".into(),
            access: Access::ReadWrite,
        }],
        limits: Limits::default(),
        seccomp: SeccompProfile::shipped(),
        source_date_epoch: 1_795_342_500,
        env: BTreeMap::new(),
        labels: BTreeMap::from([
            ("airlock.job".into(), "8123".into()),
            ("airlock.role".into(), "job".into()),
        ]),
    }
}

/// The profile is a file of its own; the page shows its name instead.
fn page(sandbox: &Sandbox) -> String {
    let text = serde_json::to_string_pretty(&sandbox.to_create_request()).unwrap();
    let profile = serde_json::to_string(SeccompProfile::shipped().as_json()).unwrap();
    text.replace(profile.trim_matches('"'), "<executor-config/seccomp.json>")
}

#[test]
fn shows_what_hermetic_means_on_one_page() {
    insta::assert_snapshot!(page(&Sandbox::seal(spec()).unwrap()));
}

#[test]
fn shows_the_probe_beside_a_container() {
    let job = Sandbox::seal(spec()).unwrap();
    let probe = job.probe_beside("0123456789abcdef", Digest::of(b"helper")).unwrap();
    insta::assert_snapshot!(page(&probe));
}

#[test]
fn every_refusal_says_why() {
    type Change = Box<dyn Fn(&mut SandboxSpec)>;
    let broken: Vec<(&str, Change)> = vec![
        ("path that climbs out", Box::new(|s| s.mounts[0].target = "/builds/../etc".into())),
        ("root as a mount point", Box::new(|s| s.mounts[0].target = "/".into())),
        ("tools covered", Box::new(|s| s.mounts[0].target = TOOLS_DIRECTORY.into())),
        ("host path as a volume", Box::new(|s| s.mounts[0].volume = "/var/run".into())),
        ("host network", Box::new(|s| s.network = SandboxNetwork::Only("host".into()))),
        ("injected network mode", Box::new(|s| s.network = SandboxNetwork::Only("container:x".into()))),
        ("fixed variable", Box::new(|s| drop(s.env.insert("HOME".into(), "/".into())))),
        ("proxy variable", Box::new(|s| drop(s.env.insert("https_proxy".into(), "x".into())))),
        ("no name", Box::new(|s| drop(s.env.insert("A=B".into(), "x".into())))),
        ("no process limit", Box::new(|s| s.limits.pids = 0)),
    ];
    let mut page = String::new();
    for (name, change) in broken {
        let mut spec = spec();
        change(&mut spec);
        page += &format!("{name}: {}\n", Sandbox::seal(spec).expect_err(name));
    }
    page += &format!("root: {}\n", SandboxUser::new(0, 0).unwrap_err());
    page += &format!("idle: {}\n", SandboxUser::new(IDLE_UID, 1000).unwrap_err());
    for text in ["{}", "[", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}"#] {
        page += &format!("profile {text}: {}\n", SeccompProfile::parse(text).unwrap_err());
    }
    insta::assert_snapshot!(page);
}

#[test]
fn the_shipped_profile_names_no_call_that_leaves_the_sandbox() {
    let profile = SeccompProfile::shipped();
    for call in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "userfaultfd",
        "keyctl",
        "add_key",
        "request_key",
        "socketcall",
        "bpf",
        "unshare",
        "setns",
        "mount",
        "kexec_load",
        "open_by_handle_at",
    ] {
        let names: Vec<String> =
            serde_json::from_str::<serde_json::Value>(profile.as_json()).unwrap()["syscalls"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|rule| rule["names"].as_array().unwrap().clone())
                .map(|name| name.as_str().unwrap().to_owned())
                .collect();
        assert!(!names.iter().any(|name| name == call), "{call}");
    }
}
