//! The hermetic level that was measured, and what kept it from being higher.
//!
//! A level holds when every check that it and the levels below it need holds; a check that nobody
//! measured does not hold. Nothing here reads a setting: what was configured does not count.

use std::fmt;

use serde::{Serialize, Serializer};

mod measurement;
#[cfg(test)]
mod tests;

pub use measurement::Measurement;

/// How hermetic a build or test was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HermeticLevel {
    /// Isolated only.
    H0 = 0,
    /// The user's steps have no network.
    H1 = 1,
    /// The whole build and test have no network, and every input is immutable and verified.
    H2 = 2,
    /// Inputs are complete in signed provenance, and the host has no undeclared influence.
    H3 = 3,
    /// An independent rebuild gave the same digest.
    H4 = 4,
}

impl HermeticLevel {
    /// Returns the number, as it stands in the provenance.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the level with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::H0, Self::H1, Self::H2, Self::H3, Self::H4]
            .into_iter()
            .find(|level| u64::from(level.number()) == number)
    }
}

impl fmt::Display for HermeticLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "H{}", self.number())
    }
}

impl Serialize for HermeticLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> serde::Deserialize<'de> for HermeticLevel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::from_number(number)
            .ok_or_else(|| serde::de::Error::custom(format!("`{number}` is no hermetic level: 0 to 4")))
    }
}

/// What is checked; the probe measures some, the caller knows the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckId {
    OnlyLoopback,
    NoRoute,
    NoDns,
    NoConnection,
    NoProxyVariables,
    UnprivilegedUser,
    NoCapability,
    NoNewPrivileges,
    SeccompFilter,
    NoForeignMount,
    ReadOnlyRoot,
    NoSharedSocket,
    /// By the caller: the workspace is exactly the commit's tree, fetched by the control plane.
    SourceIsCommit,
    /// By the caller: every image is given by digest.
    ImagesByDigest,
    /// By the caller: no build step has a network, `ADD` and frontends included.
    BuildNetwork,
    /// By the caller: workspace, network and user are fresh, and go with the job.
    FreshState,
}

impl CheckId {
    /// Returns every check, in the order in which people read them.
    pub const ALL: [Self; 16] = [
        Self::OnlyLoopback,
        Self::NoRoute,
        Self::NoDns,
        Self::NoConnection,
        Self::NoProxyVariables,
        Self::UnprivilegedUser,
        Self::NoCapability,
        Self::NoNewPrivileges,
        Self::SeccompFilter,
        Self::NoForeignMount,
        Self::ReadOnlyRoot,
        Self::NoSharedSocket,
        Self::SourceIsCommit,
        Self::ImagesByDigest,
        Self::BuildNetwork,
        Self::FreshState,
    ];

    /// Returns the identifier, as it stands in the provenance.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnlyLoopback => "only-loopback",
            Self::NoRoute => "no-route",
            Self::NoDns => "no-dns",
            Self::NoConnection => "no-connection",
            Self::NoProxyVariables => "no-proxy-variables",
            Self::UnprivilegedUser => "unprivileged-user",
            Self::NoCapability => "no-capability",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::SeccompFilter => "seccomp-filter",
            Self::NoForeignMount => "no-foreign-mount",
            Self::ReadOnlyRoot => "read-only-root",
            Self::NoSharedSocket => "no-shared-socket",
            Self::SourceIsCommit => "source-is-commit",
            Self::ImagesByDigest => "images-by-digest",
            Self::BuildNetwork => "build-network",
            Self::FreshState => "fresh-state",
        }
    }

    /// Returns what holds when the check holds.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnlyLoopback => "the only network interface is `lo`",
            Self::NoRoute => "there is no route",
            Self::NoDns => "no name server answers",
            Self::NoConnection => "no address can be connected to",
            Self::NoProxyVariables => "no variable names a proxy",
            Self::UnprivilegedUser => "steps run as the sandbox's unprivileged user",
            Self::NoCapability => "steps have no capability",
            Self::NoNewPrivileges => "steps cannot gain privileges",
            Self::SeccompFilter => "a seccomp filter is on",
            Self::NoForeignMount => "only declared things are mounted",
            Self::ReadOnlyRoot => "the root file system is read-only",
            Self::NoSharedSocket => "no socket of another process is in reach",
            Self::SourceIsCommit => "the source is the commit's own tree",
            Self::ImagesByDigest => "every image is given by digest",
            Self::BuildNetwork => "no step of the image build has a network",
            Self::FreshState => "nothing writable is shared with another job",
        }
    }

    /// Returns the lowest level that needs the check.
    pub fn needed_for(self) -> HermeticLevel {
        match self {
            Self::OnlyLoopback
            | Self::NoRoute
            | Self::NoDns
            | Self::NoConnection
            | Self::NoProxyVariables
            | Self::UnprivilegedUser
            | Self::NoCapability
            | Self::NoNewPrivileges
            | Self::NoForeignMount => HermeticLevel::H1,
            Self::SeccompFilter
            | Self::ReadOnlyRoot
            | Self::NoSharedSocket
            | Self::SourceIsCommit
            | Self::ImagesByDigest
            | Self::BuildNetwork
            | Self::FreshState => HermeticLevel::H2,
        }
    }
}

/// How a check ended; the reason is shown to people and stands in the provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
    Held,
    NotHeld(String),
    NotMeasured(String),
}

/// One check and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub id: CheckId,
    pub outcome: CheckOutcome,
}

impl Check {
    /// Creates a check that held.
    pub fn held(id: CheckId) -> Self {
        Self { id, outcome: CheckOutcome::Held }
    }

    /// Creates a check that did not hold.
    pub fn not_held(id: CheckId, reason: impl Into<String>) -> Self {
        Self { id, outcome: CheckOutcome::NotHeld(reason.into()) }
    }

    /// Creates a check that could not be made.
    pub fn not_measured(id: CheckId, reason: impl Into<String>) -> Self {
        Self { id, outcome: CheckOutcome::NotMeasured(reason.into()) }
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let (outcome, reason) = match &self.outcome {
            CheckOutcome::Held => ("held", None),
            CheckOutcome::NotHeld(reason) => ("not-held", Some(reason)),
            CheckOutcome::NotMeasured(reason) => ("not-measured", Some(reason)),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", self.id.as_str())?;
        map.serialize_entry("name", self.id.name())?;
        map.serialize_entry("outcome", outcome)?;
        if let Some(reason) = reason {
            map.serialize_entry("reason", reason)?;
        }
        map.end()
    }
}

/// Every check, each exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HermeticReport {
    checks: Vec<Check>,
}

impl HermeticReport {
    /// Creates a report; a check that is missing counts as not measured, one given twice counts by its
    /// worse outcome.
    pub fn new(given: impl IntoIterator<Item = Check>) -> Self {
        let given: Vec<Check> = given.into_iter().collect();
        let checks = CheckId::ALL
            .into_iter()
            .map(|id| {
                let mut of_this = given.iter().filter(|check| check.id == id);
                let worst = of_this.clone().find(|check| check.outcome != CheckOutcome::Held);
                worst
                    .or(of_this.next())
                    .cloned()
                    .unwrap_or_else(|| Check::not_measured(id, "nothing measured it"))
            })
            .collect();
        Self { checks }
    }

    /// Returns every check, in the fixed order.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Returns the level that was measured; never above H2, since nothing here proves more.
    pub fn level(&self) -> HermeticLevel {
        [HermeticLevel::H2, HermeticLevel::H1]
            .into_iter()
            .find(|level| self.failing_for(*level).next().is_none())
            .unwrap_or(HermeticLevel::H0)
    }

    /// Returns why the level is not the next higher one, one sentence a check.
    pub fn kept_from_higher(&self) -> Vec<String> {
        let next = match self.level() {
            HermeticLevel::H0 => HermeticLevel::H1,
            HermeticLevel::H1 => HermeticLevel::H2,
            _ => {
                return vec![
                    "H3 needs complete inputs in the provenance, which Airlock does not claim yet".to_owned(),
                ];
            }
        };
        self.failing_for(next)
            .map(|check| match &check.outcome {
                CheckOutcome::Held => check.id.as_str().to_owned(),
                CheckOutcome::NotHeld(reason) => format!("`{}` does not hold: {reason}", check.id.as_str()),
                CheckOutcome::NotMeasured(reason) => {
                    format!("`{}` is not measured: {reason}", check.id.as_str())
                }
            })
            .collect()
    }

    fn failing_for(&self, level: HermeticLevel) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(move |check| check.id.needed_for() <= level && check.outcome != CheckOutcome::Held)
    }
}
