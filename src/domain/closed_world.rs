//! The closed-world claim of a hub's stack: what a probe on each of its networks could not reach.
//!
//! It stands beside the hermetic level and is no part of it: a stack has a network, which must lead
//! nowhere. What was not measured counts as not held.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Most bytes of a probe's answer that are read.
pub const MAX_PROBE_BYTES: usize = 64 * 1024;

/// What was measured on every network of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedWorld {
    pub networks: Vec<NetworkReport>,
}

/// What was measured on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkReport {
    pub network: String,
    pub checks: Vec<ClosedCheck>,
}

/// One thing that a probe tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedCheck {
    /// What must hold, in words.
    pub what: String,
    pub outcome: ClosedOutcome,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClosedOutcome {
    Held,
    NotHeld,
    NotMeasured,
}

/// The engine's own resolver, which every container on a network of its own asks.
pub const ENGINE_RESOLVER: &str = "127.0.0.11";

/// An address that must not be reached from a closed network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForbiddenTarget {
    /// `address:port` to connect to, an IPv6 address in brackets; the bare address of a name server.
    pub address: String,
    /// Whose it is, in words: `the host`.
    pub whose: &'static str,
    pub way: Way,
}

/// How a target is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// A TCP connection.
    Connect,
    /// A question to a name server.
    Ask,
}

impl ClosedWorld {
    /// Returns whether every network is known to be closed; a stack always has one.
    pub fn holds(&self) -> bool {
        !self.networks.is_empty() && self.networks.iter().all(NetworkReport::holds)
    }

    /// Returns what speaks against the claim, a line each.
    pub fn failures(&self) -> Vec<String> {
        let failed = |network: &NetworkReport| {
            let name = network.network.clone();
            let lines = network.checks.iter().filter(|check| check.outcome != ClosedOutcome::Held);
            lines.map(|check| format!("`{name}`: {}", check.describe())).collect::<Vec<_>>()
        };
        self.networks.iter().flat_map(failed).collect()
    }
}

impl NetworkReport {
    /// Reads the probe's answer; every target and every fixed check gets its line.
    pub fn parse(network: &str, answer: &[u8], targets: &[ForbiddenTarget]) -> Self {
        let text = String::from_utf8_lossy(&answer[..answer.len().min(MAX_PROBE_BYTES)]);
        let complete =
            text.lines().next() == Some("network-probe 2") && text.lines().last() == Some("complete");
        let mut facts: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for line in text.lines().filter(|_| complete) {
            let mut words = line.splitn(3, ' ');
            if let (Some(kind), Some(name), Some(value)) = (words.next(), words.next(), words.next()) {
                // Said twice, in different words: neither counts.
                facts
                    .entry((kind, name))
                    .and_modify(|known| {
                        if *known != value {
                            *known = "twice"
                        }
                    })
                    .or_insert(value);
            }
        }
        let check = |what: String, (kind, name), held: &[&str], broken: &[&str]| {
            let outcome = match facts.get(&(kind, name)) {
                Some(value) if held.contains(value) => ClosedOutcome::Held,
                Some(value) if broken.contains(value) => ClosedOutcome::NotHeld,
                _ => ClosedOutcome::NotMeasured,
            };
            ClosedCheck { what, outcome }
        };
        let mut checks = vec![
            check(
                "there is no IPv6 address but the link's own".into(),
                ("address", "ipv6"),
                &["none"],
                &["there"],
            ),
            check(
                "nobody else is on the network's link".into(),
                ("link", "neighbours"),
                &["none"],
                &["there"],
            ),
            check(
                "the engine's resolver has no answer for outside names".into(),
                ("ask", ENGINE_RESOLVER),
                // It says SERVFAIL, or nothing, when it has nobody to ask.
                &["silent", "servfail", "unreachable"],
                &["answered"],
            ),
        ];
        // A refusal is an answer too: somebody is there.
        let (held, broken) = (["silent", "unreachable"], ["connected", "refused", "answered", "servfail"]);
        checks.extend(targets.iter().map(|target| {
            let (kind, verb) = match target.way {
                Way::Connect => ("connect", "reached"),
                Way::Ask => ("ask", "asked for a name"),
            };
            let what = format!("{} cannot be {verb}: {}", target.whose, target.address);
            check(what, (kind, target.address.as_str()), &held, &broken)
        }));
        Self { network: network.to_owned(), checks }
    }

    /// Returns how many checks held.
    pub fn held(&self) -> usize {
        self.checks.iter().filter(|check| check.outcome == ClosedOutcome::Held).count()
    }

    /// Adds what could not even be tried, which counts against the claim.
    pub fn not_tried(mut self, what: impl Into<String>) -> Self {
        self.checks.push(ClosedCheck { what: what.into(), outcome: ClosedOutcome::NotMeasured });
        self
    }

    /// Returns whether everything held.
    pub fn holds(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.outcome == ClosedOutcome::Held)
    }
}

impl ClosedCheck {
    /// Returns what was found, in words.
    pub fn describe(&self) -> String {
        let word = match self.outcome {
            ClosedOutcome::Held => "held",
            ClosedOutcome::NotHeld => "NOT HELD",
            ClosedOutcome::NotMeasured => "not measured",
        };
        format!("{word}: {}", self.what)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(address: &str, whose: &'static str, way: Way) -> ForbiddenTarget {
        ForbiddenTarget { address: address.into(), whose, way }
    }

    fn targets() -> Vec<ForbiddenTarget> {
        vec![
            target("172.20.0.1:22", "the network's gateway", Way::Connect),
            target("[2001:db8::1]:80", "an outside address", Way::Connect),
            target("10.0.0.53", "the host's name server", Way::Ask),
        ]
    }

    const CLOSED: &str = "network-probe 2\naddress ipv6 none\nconnect 172.20.0.1:22 silent\n\
        connect [2001:db8::1]:80 unreachable\nask 10.0.0.53 unreachable\nask 127.0.0.11 servfail\n\
        link neighbours none\ncomplete\n";

    #[test]
    fn a_closed_network_is_one_where_everything_was_tried_and_nothing_answered() {
        let report = NetworkReport::parse("p-default", CLOSED.as_bytes(), &targets());
        assert!(report.holds());
        assert!(ClosedWorld { networks: vec![report] }.holds());
        assert!(!ClosedWorld::default().holds());
    }

    #[test]
    fn whatever_answers_or_is_not_said_speaks_against_it() {
        let changes = [
            ("silent", "refused"),
            ("silent", "connected"),
            ("silent", "strange"),
            ("ipv6 none", "ipv6 there"),
            ("neighbours none", "neighbours there"),
            ("neighbours none", "neighbours untried"),
            ("127.0.0.11 servfail", "127.0.0.11 answered"),
            ("127.0.0.11 servfail", "127.0.0.11 unknown"),
            ("ask 127.0.0.11 servfail\n", ""),
            ("53 unreachable", "53 servfail"),
            ("53 unreachable", "53 answered"),
            ("complete", "cut"),
            ("network-probe 2", "network-probe 1"),
            ("complete", "connect 172.20.0.1:22 refused\ncomplete"),
        ];
        let mut told = String::new();
        for (from, to) in changes {
            let report = NetworkReport::parse("p-default", CLOSED.replace(from, to).as_bytes(), &targets());
            assert!(!report.holds(), "{from} → {to}");
            let world = ClosedWorld { networks: vec![report] };
            told.push_str(&format!("{from:?} → {to:?}\n  {}\n", world.failures().join("\n  ")));
        }
        insta::assert_snapshot!(told);
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic_and_never_hold(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(!NetworkReport::parse("n", &bytes, &targets()).holds());
        }
    }
}
