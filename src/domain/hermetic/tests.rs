//! Levels follow from what was measured, and from nothing else.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::digest::Digest;
use crate::domain::sandbox::{
    Limits, Sandbox, SandboxNetwork, SandboxSpec, SandboxUser, SeccompProfile, VolumeMount,
};

const SEALED: &str = "airlock-probe 1
witness found
status Uid 1000\t1000\t1000\t1000
status Gid 1000\t1000\t1000\t1000
status CapInh 0000000000000000
status CapPrm 0000000000000000
status CapEff 0000000000000000
status CapBnd 0000000000000000
status CapAmb 0000000000000000
status NoNewPrivs 1
status Seccomp 2
mount 10 9 0:50 / / ro,relatime - overlay overlay rw
mount 11 10 0:51 / /proc rw - proc proc rw
mount 12 10 0:52 / /builds rw,nosuid - tmpfs tmpfs rw
mount 13 10 0:53 / /.airlock ro - ext4 /dev/vda rw
env PATH
env HOME
namespace net same
interface lo
route6 lo
listed
dns 10.0.0.1 unreachable
dns done
connect 192.0.2.1:80 unreachable
connect 127.0.0.1:80 refused
complete
";

fn sandbox() -> Sandbox {
    Sandbox::seal(SandboxSpec {
        image: Digest::of(b"image"),
        user: SandboxUser::new(1000, 1000).unwrap(),
        network: SandboxNetwork::None,
        tools_volume: "tools".into(),
        mounts: vec![VolumeMount {
            volume: "workspace".into(),
            target: "/builds".into(),
            access: crate::domain::sandbox::Access::ReadWrite,
        }],
        limits: Limits::default(),
        seccomp: SeccompProfile::shipped(),
        source_date_epoch: 0,
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
    })
    .unwrap()
}

fn judged(output: &str) -> Vec<Check> {
    Measurement::parse(output.as_bytes()).checks(&sandbox())
}

fn against(output: &str) -> String {
    judged(output)
        .into_iter()
        .filter_map(|check| match check.outcome {
            CheckOutcome::Held => None,
            CheckOutcome::NotHeld(why) => Some(format!("{}: {why}", check.id.as_str())),
            CheckOutcome::NotMeasured(why) => Some(format!("{}: not measured: {why}", check.id.as_str())),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn callers() -> Vec<Check> {
    [CheckId::SourceIsCommit, CheckId::ImagesByDigest, CheckId::BuildNetwork, CheckId::FreshState]
        .map(Check::held)
        .to_vec()
}

#[test]
fn a_sealed_container_and_a_closed_build_are_h2_and_not_more() {
    let report = HermeticReport::new(judged(SEALED).into_iter().chain(callers()));
    assert_eq!(report.level(), HermeticLevel::H2, "{}", against(SEALED));
    insta::assert_snapshot!(report.kept_from_higher().join("\n"));
}

#[test]
fn a_check_that_nobody_made_does_not_hold() {
    let report = HermeticReport::new(judged(SEALED));
    assert_eq!(report.level(), HermeticLevel::H1);
    let nothing = HermeticReport::new([]);
    assert_eq!(nothing.level(), HermeticLevel::H0);
    insta::assert_snapshot!(report.kept_from_higher().join("\n"));
}

#[test]
fn the_worse_of_two_answers_counts() {
    let twice = [Check::held(CheckId::NoRoute), Check::not_held(CheckId::NoRoute, "route over `eth0`")];
    let report = HermeticReport::new(judged(SEALED).into_iter().chain(callers()).chain(twice));
    assert_eq!(report.level(), HermeticLevel::H0);
}

#[test]
fn every_way_out_is_named() {
    let cases = [
        ("a second interface", "interface lo", "interface lo\ninterface eth0"),
        ("a route", "listed", "route4 eth0\nlisted"),
        ("an IPv6 route", "route6 lo", "route6 lo\nroute6 eth0"),
        ("a name server", "dns 10.0.0.1 unreachable", "dns 127.0.0.11 answered"),
        ("an unclear name server", "dns 10.0.0.1 unreachable", "dns 10.0.0.1 unknown"),
        ("a connection", "192.0.2.1:80 unreachable", "192.0.2.1:80 connected"),
        ("a refusal from outside", "192.0.2.1:80 unreachable", "172.17.0.1:22 refused"),
        ("silence from outside", "192.0.2.1:80 unreachable", "192.0.2.1:80 silent"),
        ("the host's loopback", "127.0.0.1:80 refused", "127.0.0.1:80 connected"),
        ("a proxy", "env HOME", "env HOME\nenv Https_Proxy"),
        ("root", "status Uid 1000\t1000", "status Uid 0\t1000"),
        ("a capability", "CapBnd 0000000000000000", "CapBnd 0000000000000400"),
        ("new privileges", "NoNewPrivs 1", "NoNewPrivs 0"),
        ("no filter", "Seccomp 2", "Seccomp 0"),
        ("the engine's socket", "env HOME", "mount 1 2 3 / /run/docker.sock rw\nenv HOME"),
        ("a device directory", "env HOME", "mount 1 2 3 / /dev/kvm rw\nenv HOME"),
        ("a writable root", "/ / ro,relatime", "/ / rw,relatime"),
        ("an abstract socket", "listed", "unix @/containerd-shim/x\nlisted"),
        ("another namespace", "namespace net same\n", ""),
        ("no witness", "witness found\n", ""),
        ("nothing tried", "connect 192.0.2.1:80 unreachable\nconnect 127.0.0.1:80 refused\n", ""),
        ("cut off", "complete\n", ""),
        ("words after the end", "complete\n", "complete\ninterface lo\n"),
        ("no fact", "listed", "haha"),
        ("another program", "airlock-probe 1", "airlock-probe 2"),
    ];
    let mut page = String::new();
    for (name, from, to) in cases {
        assert!(SEALED.contains(from), "{name}");
        let found = against(&SEALED.replacen(from, to, 1));
        assert!(!found.is_empty(), "{name}");
        // A broken output breaks every check the same way: one line of it is enough.
        let lines: Vec<&str> = found.lines().collect();
        let shown = if lines.len() == 12 { &lines[..1] } else { &lines[..] };
        page += &format!("{name}\n    {}\n", shown.join("\n    "));
    }
    insta::assert_snapshot!(page);
}

#[test]
fn levels_are_numbers_in_documents() {
    assert_eq!(serde_json::to_string(&HermeticLevel::H1).unwrap(), "1");
    assert_eq!(serde_json::from_str::<HermeticLevel>("4").unwrap(), HermeticLevel::H4);
    assert!(serde_json::from_str::<HermeticLevel>("5").is_err());
    let check = Check::not_held(CheckId::NoRoute, "route over `eth0`");
    insta::assert_snapshot!(serde_json::to_string_pretty(&check).unwrap());
}

proptest! {
    #[test]
    fn reads_any_bytes_without_a_panic_and_never_holds_by_them(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let checks = Measurement::parse(&bytes).checks(&sandbox());
        prop_assert!(checks.iter().all(|check| check.outcome != CheckOutcome::Held));
    }

    #[test]
    fn any_cut_of_a_good_answer_holds_nothing(cut in 0..SEALED.len() - 1) {
        let checks = Measurement::parse(&SEALED.as_bytes()[..cut]).checks(&sandbox());
        prop_assert!(checks.iter().all(|check| check.outcome != CheckOutcome::Held));
    }

    #[test]
    fn any_lines_around_facts_are_no_panic(lines in proptest::collection::vec("(mount|dns|connect|status|env|unix)? ?[ -~]{0,30}", 0..40)) {
        let text = format!("airlock-probe 1\n{}\ncomplete\n", lines.join("\n"));
        Measurement::parse(text.as_bytes()).checks(&sandbox());
    }
}
