//! What the hub reads from a verified image and its provenance, and what it demands beyond the policy.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Projects;
use crate::delivery::verify::VerifiedImage;
use crate::domain::digest::Digest;
use crate::domain::evidence::EvidenceKind;
use crate::domain::evidence::provenance::{Origin, Provenance};
use crate::domain::image::{Repository, Tag};
use crate::domain::job::PublishRule;
use crate::failure::Failure;

const VERSION: &str = "org.opencontainers.image.version";
const REVISION: &str = "org.opencontainers.image.revision";

/// What is known of one image of a component.
#[derive(Debug, Clone)]
pub(super) struct ImageFacts {
    pub(super) version: String,
    pub(super) commit: String,
    pub(super) project_id: u64,
    pub(super) project: String,
    /// 0 for an image that was built by hand.
    pub(super) pipeline_id: u64,
    /// `os/architecture`.
    pub(super) platform: String,
    pub(super) config: Digest,
}

#[derive(Deserialize)]
struct ImageConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<RunConfig>,
}

#[derive(Deserialize, Default)]
struct RunConfig {
    #[serde(default, rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

/// Returns the publish rules by which `project_id` may publish `repository`.
pub(super) fn rules_for<'a>(
    rules: &'a [PublishRule],
    project_id: u64,
    repository: &Repository,
) -> Vec<&'a PublishRule> {
    rules
        .iter()
        .filter(|rule| rule.project_id == project_id && rule.repositories.contains(repository))
        .collect()
}

/// Reads the facts of `image`, or tells everything that speaks against it.
pub(super) fn read(
    image: &VerifiedImage,
    repository: &Repository,
    project_id: u64,
    projects: Projects<'_>,
) -> Result<ImageFacts, Failure> {
    let missing: Vec<String> = EvidenceKind::ALL
        .iter()
        .filter(|kind| image.verdict().evidence_of(**kind).is_none())
        .map(|kind| format!("`{kind}`"))
        .collect();
    let provenance = image.verdict().provenance();
    let (Some(provenance), true) = (provenance, missing.is_empty()) else {
        let rule = image.verdict().rule();
        return Err(refused(image, "its policy demands too little for a release")
            .because(format!("the rule {rule} does not demand {}", missing.join(", ")))
            .hint("for the runner's administrator: a rule for the hub's repositories demands spdx, cyclonedx, provenance and test-result"));
    };
    let foreign = match projects {
        Projects::Published(rules) => {
            foreign(provenance, project_id, &rules_for(rules, project_id, repository))
        }
        Projects::Local => Vec::new(),
    };
    let mut causes = Vec::new();
    let config: ImageConfig = match serde_json::from_slice(image.config()) {
        Ok(config) => config,
        Err(why) => return Err(refused(image, "its config cannot be read").because(why)),
    };
    let labels = config.config.unwrap_or_default().labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).map(String::as_str);
    let version = match label(VERSION).map(|text| (text, text.parse::<Tag>())) {
        Some((_, Ok(version))) => version.to_string(),
        Some((text, Err(_))) => {
            causes.push(format!("its label `{VERSION}` is `{}`, expected a version tag", shown(text)));
            String::new()
        }
        None => {
            causes.push(format!("it has no label `{VERSION}`"));
            String::new()
        }
    };
    match label(REVISION) {
        Some(revision) if revision == provenance.commit.id => {}
        found => causes.push(format!(
            "its label `{REVISION}` is {}, expected the provenance's commit {}",
            found.map_or("absent".to_owned(), |text| format!("`{}`", shown(text))),
            provenance.commit.id
        )),
    }
    let word = |text: &str| {
        (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
    };
    if !word(&config.os) || !word(&config.architecture) {
        let (os, architecture) = (shown(&config.os), shown(&config.architecture));
        causes.push(format!("its platform is `{os}/{architecture}`, expected one like `linux/amd64`"));
    }
    if !foreign.is_empty() {
        let failure = refused(image, "it is not this component's");
        return Err(foreign.into_iter().chain(causes).fold(failure, Failure::because).hint(
            "compare `project_id` and the repository in airlock-hub.toml with the host's publish rule, and see who else can write to this repository",
        ));
    }
    if !causes.is_empty() {
        let failure = refused(image, "it does not say what its provenance says");
        return Err(causes.into_iter().fold(failure, Failure::because).hint(
            "run the component's staging job again: a delivery writes these into every image that it makes",
        ));
    }
    Ok(ImageFacts {
        version,
        commit: provenance.commit.id.clone(),
        project_id: provenance.project.id,
        project: provenance.project.path.clone(),
        pipeline_id: pipeline(provenance),
        platform: format!("{}/{}", config.os, config.architecture),
        config: Digest::of(image.config()),
    })
}

/// Returns the pipeline that built the image; 0 where none did.
pub(super) fn pipeline(provenance: &Provenance) -> u64 {
    match provenance.origin {
        Origin::GitLab { pipeline, .. } => pipeline,
        Origin::Local => 0,
    }
}

/// Tells what in the provenance is not as one of the component's publish rules says.
fn foreign(provenance: &Provenance, project_id: u64, rules: &[&PublishRule]) -> Vec<String> {
    let mut causes = Vec::new();
    if provenance.origin == Origin::Local {
        causes.push("it was built by hand and not by a job of GitLab".to_owned());
    }
    let found = &provenance.project;
    let paths: Vec<String> = rules.iter().map(|rule| format!("`{}`", rule.project_path)).collect();
    if found.id != project_id || !rules.iter().any(|rule| rule.project_path == found.path) {
        causes.push(format!(
            "it was built by project {} `{}`, expected project {project_id} {}",
            found.id,
            shown(&found.path),
            once(paths)
        ));
    }
    if !rules.iter().any(|rule| rule.ref_name == provenance.reference) {
        let refs = rules.iter().map(|rule| format!("`{}`", rule.ref_name)).collect();
        causes.push(format!(
            "it was built from the ref `{}`, expected {}",
            shown(&provenance.reference),
            once(refs)
        ));
    }
    causes
}

fn once(mut texts: Vec<String>) -> String {
    texts.sort();
    texts.dedup();
    texts.join(" or ")
}

fn refused(image: &VerifiedImage, why: &str) -> Failure {
    let (repository, digest) = (image.repository(), image.digest().short());
    Failure::refused(format!("`{repository}@sha256:{digest}…` cannot be taken: {why}"))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}
