//! What GitLab says about a job: facts, run phases, the publish decision.
//!
//! Facts come from the job response alone; the author of a job can change none of them, he can only
//! choose which ref he pushes to.

use serde::{Deserialize, Serialize};
use url::Url;

use super::commit::ObjectId;
use super::hub::HubRule;
use super::image::Repository;

/// What GitLab itself says about a job (runner contract §4.2, the parts no author can change).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFacts {
    pub job_id: u64,
    pub job_name: String,
    pub project_id: u64,
    /// Absent on runners before 18.5.
    pub project_path: String,
    pub pipeline_id: u64,
    pub user_id: Option<u64>,
    pub ref_name: String,
    pub ref_type: String,
    /// `None` where GitLab or the runner is too old to say; it counts as not protected.
    pub protected: Option<bool>,
    pub commit: ObjectId,
    /// The repository's URL without user and password.
    pub repository_url: Url,
    pub runner_uuid: String,
    /// The job's time limit in seconds.
    pub timeout_s: u64,
}

impl JobFacts {
    /// Returns the URL of the job's page in GitLab.
    pub fn job_url(&self) -> String {
        let project = self.repository_url.as_str().trim_end_matches(".git");
        format!("{project}/-/jobs/{}", self.job_id)
    }
}

/// One rule of the host settings: what may publish which repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRule {
    pub project_id: u64,
    pub project_path: String,
    pub ref_name: String,
    pub job: String,
    pub script: Vec<String>,
    pub repositories: Vec<Repository>,
}

/// Whether a job publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishDecision<'a> {
    /// Every fact of this rule matches.
    Publish(&'a PublishRule),
    /// No rule matches; the texts name the facts that kept a near rule from matching.
    Nothing(Vec<String>),
}

/// Names the facts that differ from what a rule expects, beside project id and job.
fn differences(project_path: &str, ref_name: &str, facts: &JobFacts) -> Vec<String> {
    let mut differences = Vec::new();
    if project_path != facts.project_path {
        differences.push(format!("project path is `{}`, expected `{project_path}`", facts.project_path));
    }
    if ref_name != facts.ref_name {
        differences.push(format!("ref is `{}`, expected `{ref_name}`", facts.ref_name));
    }
    if facts.ref_type != "branch" {
        differences.push(format!("ref type is `{}`, expected `branch`", facts.ref_type));
    }
    match facts.protected {
        Some(true) => {}
        Some(false) => differences.push("the ref is not protected".to_owned()),
        None => differences.push(
            "GitLab does not say that the ref is protected (needs GitLab 18.3, runner 18.4)".to_owned(),
        ),
    }
    differences
}

/// Whether a job is the hub's: the one that tests the platform and promotes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubDecision<'a> {
    /// Every fact of the rule matches.
    Hub(&'a HubRule),
    /// Another job; the text names the facts that kept a near rule from matching.
    Other(Option<String>),
}

impl HubDecision<'_> {
    /// Decides by comparing every fact to the byte; a fact that is null is no match.
    pub fn decide<'a>(rule: Option<&'a HubRule>, facts: &JobFacts) -> HubDecision<'a> {
        let near = rule.filter(|rule| rule.project_id == facts.project_id && rule.job == facts.job_name);
        let Some(rule) = near else { return HubDecision::Other(None) };
        let differences = differences(&rule.project_path, &rule.ref_name, facts);
        if differences.is_empty() {
            HubDecision::Hub(rule)
        } else {
            HubDecision::Other(Some(differences.join("; ")))
        }
    }
}

impl PublishDecision<'_> {
    /// Decides by comparing every fact to the byte; a fact that is null is no match.
    pub fn decide<'a>(rules: &'a [PublishRule], facts: &JobFacts) -> PublishDecision<'a> {
        let mut near = Vec::new();
        for rule in
            rules.iter().filter(|rule| rule.project_id == facts.project_id && rule.job == facts.job_name)
        {
            let differences = differences(&rule.project_path, &rule.ref_name, facts);
            if differences.is_empty() {
                return PublishDecision::Publish(rule);
            }
            near.push(differences.join("; "));
        }
        PublishDecision::Nothing(near)
    }
}

/// The second argument of `run` (runner contract §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunPhase {
    /// A script that GitLab Runner wrote: runs in the helper container.
    Predefined(String),
    /// The user's own script.
    Step(String),
    /// The user's `after_script`.
    AfterScript,
    /// A phase this version does not know: runs in the job container and never fails by being unknown.
    Unknown(String),
}

const PREDEFINED: [&str; 10] = [
    "prepare_script",
    "get_sources",
    "clear_worktree",
    "restore_cache",
    "download_artifacts",
    "archive_cache",
    "archive_cache_on_failure",
    "upload_artifacts_on_success",
    "upload_artifacts_on_failure",
    "cleanup_file_variables",
];

impl RunPhase {
    /// Parses the name; every text is a phase.
    pub fn parse(name: &str) -> Self {
        match name {
            name if PREDEFINED.contains(&name) => RunPhase::Predefined(name.to_owned()),
            "after_script" => RunPhase::AfterScript,
            name if name == "build_script" || name.starts_with("step_") => RunPhase::Step(name.to_owned()),
            name => RunPhase::Unknown(name.to_owned()),
        }
    }

    /// Returns the name as GitLab Runner gave it.
    pub fn name(&self) -> &str {
        match self {
            RunPhase::Predefined(name) | RunPhase::Step(name) | RunPhase::Unknown(name) => name,
            RunPhase::AfterScript => "after_script",
        }
    }

    /// Returns the step's name in the job response: `build_script` stands for `step_script`.
    pub fn step_name(&self) -> Option<&str> {
        match self {
            RunPhase::Step(name) if name == "build_script" => Some("script"),
            RunPhase::Step(name) => name.strip_prefix("step_"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> JobFacts {
        JobFacts {
            job_id: 101,
            job_name: "stage-unit-test".into(),
            project_id: 17,
            project_path: "acme/billing".into(),
            pipeline_id: 5,
            user_id: Some(3),
            ref_name: "staging".into(),
            ref_type: "branch".into(),
            protected: Some(true),
            commit: "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b".parse().expect("an id"),
            repository_url: "https://gitlab.acme.internal/acme/billing.git".parse().expect("a URL"),
            runner_uuid: String::new(),
            timeout_s: 600,
        }
    }

    fn rules() -> Vec<PublishRule> {
        vec![PublishRule {
            project_id: 17,
            project_path: "acme/billing".into(),
            ref_name: "staging".into(),
            job: "stage-unit-test".into(),
            script: vec!["make stage-unit-test".into()],
            repositories: vec!["billing/api".parse().expect("a repository")],
        }]
    }

    #[test]
    fn a_job_publishes_when_every_fact_is_equal_to_the_byte() {
        assert!(matches!(PublishDecision::decide(&rules(), &facts()), PublishDecision::Publish(_)));
    }

    fn hub_rule() -> HubRule {
        HubRule {
            project_id: 17,
            project_path: "acme/billing".into(),
            ref_name: "staging".into(),
            job: "stage-unit-test".into(),
            script: vec!["make integration-test".into()],
            override_users: Vec::new(),
        }
    }

    #[test]
    fn a_job_is_the_hubs_when_every_fact_is_equal_to_the_byte() {
        let rule = hub_rule();
        assert_eq!(HubDecision::decide(Some(&rule), &facts()), HubDecision::Hub(&rule));
        assert_eq!(HubDecision::decide(None, &facts()), HubDecision::Other(None));
    }

    #[test]
    fn a_near_hub_rule_names_the_fact_that_differs() {
        let changes: [(&str, fn(&mut JobFacts)); 7] = [
            ("another ref", |f| f.ref_name = "main".into()),
            ("a tag", |f| f.ref_type = "tag".into()),
            ("an unprotected ref", |f| f.protected = Some(false)),
            ("an unknown protection", |f| f.protected = None),
            ("another path", |f| f.project_path = "acme/hub2".into()),
            ("another project", |f| f.project_id = 18),
            ("another job name", |f| f.job_name = "Stage-unit-test".into()),
        ];
        let rule = hub_rule();
        let mut texts = String::new();
        for (name, change) in changes {
            let mut facts = facts();
            change(&mut facts);
            match HubDecision::decide(Some(&rule), &facts) {
                HubDecision::Hub(_) => panic!("{name} was taken for the hub"),
                HubDecision::Other(near) => {
                    texts.push_str(&format!("{name}: {}\n", near.unwrap_or_default()))
                }
            }
        }
        insta::assert_snapshot!(texts);
    }

    #[test]
    fn a_near_rule_names_the_fact_that_differs() {
        let changes: [(&str, fn(&mut JobFacts)); 7] = [
            ("another ref", |f| f.ref_name = "staging ".into()),
            ("a tag", |f| f.ref_type = "tag".into()),
            ("an unprotected ref", |f| f.protected = Some(false)),
            ("an unknown protection", |f| f.protected = None),
            ("another path", |f| f.project_path = "Acme/billing".into()),
            ("another project", |f| f.project_id = 18),
            ("another job name", |f| f.job_name = "stage-unit-test2".into()),
        ];
        let mut texts = String::new();
        for (name, change) in changes {
            let mut facts = facts();
            change(&mut facts);
            match PublishDecision::decide(&rules(), &facts) {
                PublishDecision::Publish(_) => panic!("{name} was published"),
                PublishDecision::Nothing(near) => texts.push_str(&format!("{name}: {}\n", near.join(" | "))),
            }
        }
        insta::assert_snapshot!(texts);
    }

    #[test]
    fn phases_are_told_apart_and_unknown_ones_are_no_error() {
        assert_eq!(RunPhase::parse("get_sources"), RunPhase::Predefined("get_sources".into()));
        assert_eq!(RunPhase::parse("build_script").step_name(), Some("script"));
        assert_eq!(RunPhase::parse("step_script").step_name(), Some("script"));
        assert_eq!(RunPhase::parse("step_release").step_name(), Some("release"));
        assert_eq!(RunPhase::parse("after_script"), RunPhase::AfterScript);
        assert_eq!(RunPhase::parse("from_the_future"), RunPhase::Unknown("from_the_future".into()));
    }
}
