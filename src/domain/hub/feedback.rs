//! What a component is told about the hub run that tested it: one commit status.

use url::Url;

/// The name under which GitLab shows the status.
pub const STATUS_NAME: &str = "airlock/integration";
/// Longest description or URL that GitLab takes, in bytes.
pub const MAX_STATUS_BYTES: usize = 255;

/// How a hub run ended for the components that it tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntegrationVerdict {
    /// The platform's release that has the component now.
    Green { release: String },
    /// Why there is none.
    Red { reason: String },
}

/// One commit status; the description fits what GitLab takes and has no control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    pub component: String,
    pub project_id: u64,
    pub commit: String,
    pub green: bool,
    pub description: String,
    /// The hub's job; absent when its URL is longer than GitLab takes.
    pub target_url: Option<String>,
}

impl CommitStatus {
    /// Composes the status of one component.
    pub fn new(
        component: &str,
        project_id: u64,
        commit: &str,
        verdict: &IntegrationVerdict,
        job: Option<&Url>,
    ) -> Self {
        let (green, description) = match verdict {
            IntegrationVerdict::Green { release } => (true, format!("in release {release}")),
            IntegrationVerdict::Red { reason } => (false, reason.clone()),
        };
        Self {
            component: component.to_owned(),
            project_id,
            commit: commit.to_owned(),
            green,
            description: fitting(&description),
            target_url: job.map(ToString::to_string).filter(|url| url.len() <= MAX_STATUS_BYTES),
        }
    }

    /// Returns GitLab's word for the state.
    pub fn state(&self) -> &'static str {
        if self.green { "success" } else { "failed" }
    }
}

/// Returns `text` on one line, cut at a character's border.
fn fitting(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect();
    if line.len() <= MAX_STATUS_BYTES {
        return line;
    }
    let room = MAX_STATUS_BYTES - "…".len();
    let cut = line.char_indices().map(|(at, _)| at).take_while(|at| *at <= room).last().unwrap_or(0);
    format!("{}…", &line[..cut])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_status_says_the_release_or_the_reason() {
        let job = Url::parse("https://gitlab.test/acme/hub/-/jobs/9").expect("a URL");
        let of = |verdict| CommitStatus::new("billing", 17, "ab", &verdict, Some(&job));
        let green = of(IntegrationVerdict::Green { release: "2.3.0-r42".into() });
        assert_eq!((green.state(), green.description.as_str()), ("success", "in release 2.3.0-r42"));
        assert_eq!(green.target_url.as_deref(), Some("https://gitlab.test/acme/hub/-/jobs/9"));
        let red = of(IntegrationVerdict::Red { reason: "service `api`\nexited\u{1b}[2J with 1".into() });
        assert_eq!((red.state(), red.description.as_str()), ("failed", "service `api` exited[2J with 1"));
        let long = Url::parse(&format!("https://gitlab.test/{}", "x".repeat(300))).expect("a URL");
        let verdict = IntegrationVerdict::Red { reason: "x".into() };
        assert_eq!(CommitStatus::new("billing", 17, "ab", &verdict, Some(&long)).target_url, None);
    }

    proptest! {
        #[test]
        fn any_reason_fits(reason in "\\PC{0,400}", tail in any::<String>()) {
            let reason = reason + &tail;
            let verdict = IntegrationVerdict::Red { reason: reason.clone() };
            let description = CommitStatus::new("a", 1, "ab", &verdict, None).description;
            prop_assert!(description.len() <= MAX_STATUS_BYTES);
            prop_assert!(!description.chars().any(char::is_control));
            prop_assert!(reason.len() > MAX_STATUS_BYTES || !description.ends_with('…') || reason.ends_with('…') );
        }
    }
}
