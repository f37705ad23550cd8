//! The seccomp profile of every sandbox: the shipped one, or the platform team's own.

use serde_json::Value;

/// A seccomp profile in the engine's JSON form.
///
/// Guarantees only the form: a default action that is not to allow, and a list of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompProfile(String);

/// Why a text is not a seccomp profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a seccomp profile: {0}")]
pub struct NotASeccompProfile(pub String);

impl SeccompProfile {
    /// Returns the profile that Airlock ships (`executor-config/seccomp.json`).
    pub fn shipped() -> Self {
        Self::parse(include_str!("../../../executor-config/seccomp.json"))
            .expect("the shipped profile is checked by a test")
    }

    /// Parses a profile.
    pub fn parse(text: &str) -> Result<Self, NotASeccompProfile> {
        if text.len() > 256 * 1024 {
            return Err(NotASeccompProfile("more than 256 KiB".into()));
        }
        let profile: Value = serde_json::from_str(text).map_err(|e| NotASeccompProfile(e.to_string()))?;
        match profile.get("defaultAction").and_then(Value::as_str) {
            Some("SCMP_ACT_ERRNO" | "SCMP_ACT_KILL" | "SCMP_ACT_KILL_PROCESS" | "SCMP_ACT_KILL_THREAD") => {}
            Some(other) => {
                return Err(NotASeccompProfile(format!(
                    "`defaultAction` is `{}`: expected one that refuses",
                    other.chars().take(40).collect::<String>()
                )));
            }
            None => return Err(NotASeccompProfile("`defaultAction` is missing".into())),
        }
        if !profile.get("syscalls").is_some_and(Value::is_array) {
            return Err(NotASeccompProfile("`syscalls` is not a list".into()));
        }
        Ok(Self(profile.to_string()))
    }

    /// Returns the JSON without white space, as the engine takes it inline.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}
