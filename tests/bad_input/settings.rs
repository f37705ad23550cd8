//! Host settings and trust policy: what is unknown is refused by every verb that reads them.

use std::fs;

use super::bench::Job;
use crate::support::staging::{Host, text};

fn with_an_unknown_key() -> Host {
    Host::new(crate::support::staging::Place::Layout, |settings| {
        settings.replace("[sandbox]\n", "[sandbox]\nprivileged = true\n")
    })
}

#[test]
fn an_unknown_key_in_the_settings_is_refused_by_every_stage_and_verb() {
    let host = with_an_unknown_key();
    let job = Job::new(&host);
    let settings = text(&host.settings);
    let config = job.call(&["executor", "config", "--settings", settings]).expect_system_failure();
    assert_eq!(config.stdout, "", "GitLab Runner reads the answer from standard output");
    insta::assert_snapshot!(config.golden());
    for called in [job.prepare(), job.run("prepare_script"), job.cleanup()] {
        let called = called.expect_system_failure();
        let words = |text: &str| text.split("\nnote: ").next().expect("a first part").to_owned();
        assert_eq!(words(&called.stderr), words(&config.stderr));
    }
    let sweep = job.call(&["host", "sweep", "--settings", settings]).expect_system_failure();
    assert!(!sweep.stderr.contains("note: "), "{}", sweep.stderr);
    assert!(!host.path("state").exists(), "nothing is made with settings that are not understood");
}

#[test]
fn settings_that_are_missing_or_too_large_are_named() {
    let host = Host::with_layout();
    let job = Job::new(&host);
    let good = fs::read_to_string(&host.settings).expect("the settings");
    fs::write(&host.settings, format!("{good}\n{}", "# a long remark\n".repeat(5000))).expect("a file");
    let large = job.prepare().expect_system_failure().golden();
    fs::remove_file(&host.settings).expect("a file");
    let missing = job.prepare().expect_system_failure().golden();
    insta::assert_snapshot!(format!("── too large\n{large}\n── missing\n{missing}"));
}

#[test]
fn a_trust_policy_that_cannot_be_used_is_named_by_verify() {
    let host = Host::with_layout();
    let job = Job::new(&host);
    let trust = host.path("trust.toml");
    let good = fs::read_to_string(&trust).expect("the policy");
    let mut golden = String::new();
    let mut case = |name: &str, content: Option<String>| {
        match content {
            Some(content) => fs::write(&trust, content).expect("a file"),
            None => fs::remove_file(&trust).expect("a file"),
        }
        let layout = host.path("store");
        let arguments = ["verify", "--trust", text(&trust), "--layout", text(&layout), "acme/billing:staged"];
        let called = job.call(&arguments).expect_system_failure();
        golden.push_str(&format!("── {name}\n{}\n", called.golden()));
    };
    case("unknown key", Some(format!("allow_anything = true\n{good}")));
    case("unknown key of a key", Some(good.replace("use = \"image\"", "use = \"image\"\nweight = 2")));
    case("unknown use", Some(good.replace("use = \"image\"", "use = \"everything\"")));
    case("unknown evidence", Some(good.replace("\"spdx\"", "\"spdz\"")));
    case("public key is absent", Some(good.replace("image.pub", "nobody.pub")));
    case("not TOML", Some("schema = ".to_owned()));
    case("absent", None);
    insta::assert_snapshot!(golden);
}
