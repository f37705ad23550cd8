//! The JSON of a provenance predicate (SLSA v1.2, "Provenance"), in the order in which it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    BUILD_TYPE, Commit, Hermetic, MAX_HERMETIC_LEVEL, NotEvidence, Origin, Project, Provenance, Resource,
};
use crate::domain::image::PinnedImage;

const MAX_ITEMS: usize = 4096;
const MAX_TEXT: usize = 16 * 1024;
const IMAGE_SCHEME: &str = "docker://";
const GIT_SCHEME: &str = "git+";
const COMMIT: &str = "gitCommit";
const TREE: &str = "gitTree";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
    external_parameters: ExternalParameters,
    internal_parameters: InternalParameters,
    resolved_dependencies: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExternalParameters {
    source: String,
    #[serde(rename = "ref")]
    reference: String,
    entry_point: String,
    script: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<PinnedImage>,
}

#[derive(Serialize, Deserialize)]
struct InternalParameters {
    name: String,
    executor: String,
    architecture: String,
    mode: Mode,
    project: Project,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pipeline: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runner: Option<u64>,
    hermetic: Hermetic,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    GitLab,
    Local,
}

#[derive(Serialize, Deserialize)]
struct RunDetails {
    builder: Builder,
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    byproducts: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Builder {
    id: String,
    #[serde(default)]
    version: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    invocation_id: String,
    #[serde(with = "time::serde::rfc3339")]
    started_on: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    finished_on: OffsetDateTime,
}

impl From<&Provenance> for Predicate {
    fn from(p: &Provenance) -> Self {
        let (mode, pipeline, job, runner) = match p.origin {
            Origin::GitLab { pipeline, job, runner } => {
                (Mode::GitLab, Some(pipeline), Some(job), Some(runner))
            }
            Origin::Local => (Mode::Local, None, None, None),
        };
        let git = Resource {
            name: None,
            uri: Some(format!("{GIT_SCHEME}{}@{}", p.source, p.reference)),
            digest: [(COMMIT, Some(&p.commit.id)), (TREE, p.commit.tree.as_ref())]
                .into_iter()
                .filter_map(|(name, id)| Some((name.to_owned(), id?.clone())))
                .collect(),
            media_type: None,
        };
        let images = p.base_images.iter().map(|image| Resource {
            name: None,
            uri: Some(format!("{IMAGE_SCHEME}{image}")),
            digest: BTreeMap::from([("sha256".to_owned(), image.digest().hex().to_owned())]),
            media_type: None,
        });
        Self {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.into(),
                external_parameters: ExternalParameters {
                    source: p.source.clone(),
                    reference: p.reference.clone(),
                    entry_point: p.entry_point.clone(),
                    script: p.script.clone(),
                    image: p.image.clone(),
                },
                internal_parameters: InternalParameters {
                    name: p.entry_point.clone(),
                    executor: "custom".into(),
                    architecture: p.architecture.clone(),
                    mode,
                    project: p.project.clone(),
                    pipeline,
                    job,
                    runner,
                    hermetic: p.hermetic.clone(),
                },
                resolved_dependencies: std::iter::once(git)
                    .chain(images)
                    .chain(p.other_dependencies.iter().cloned())
                    .collect(),
            },
            run_details: RunDetails {
                builder: Builder { id: p.builder_id.clone(), version: p.versions.clone() },
                metadata: Metadata {
                    invocation_id: p.invocation_id.clone(),
                    started_on: whole_seconds(p.started_on),
                    finished_on: whole_seconds(p.finished_on),
                },
                byproducts: p.byproducts.clone(),
            },
        }
    }
}

impl TryFrom<Predicate> for Provenance {
    type Error = NotEvidence;

    fn try_from(predicate: Predicate) -> Result<Self, NotEvidence> {
        let Predicate { build_definition: build, run_details: run } = predicate;
        if build.build_type != BUILD_TYPE {
            return Err(error(format!(
                "expected the build type `{BUILD_TYPE}`, found `{}`",
                build.build_type
            )));
        }
        let (external, internal) = (build.external_parameters, build.internal_parameters);
        let lists = [
            external.script.len(),
            internal.hermetic.checks.len(),
            build.resolved_dependencies.len(),
            run.byproducts.len(),
            run.builder.version.len(),
        ];
        if lists.iter().any(|len| *len > MAX_ITEMS) {
            return Err(error(format!("a list has more than {MAX_ITEMS} entries")));
        }
        let texts = [
            &external.source,
            &external.reference,
            &external.entry_point,
            &internal.project.path,
            &internal.architecture,
            &run.builder.id,
            &run.metadata.invocation_id,
        ];
        if texts.iter().any(|text| text.len() > MAX_TEXT || text.chars().any(char::is_control)) {
            return Err(error(format!("a text is longer than {MAX_TEXT} bytes or has control characters")));
        }
        // Near the year 9999 an offset can carry a time out of what can be written again.
        let times = [run.metadata.started_on, run.metadata.finished_on];
        if times.iter().any(|time| time.checked_to_offset(time::UtcOffset::UTC).is_none()) {
            return Err(error("a time is not between the years 0 and 9999 in UTC"));
        }
        if internal.hermetic.level > MAX_HERMETIC_LEVEL {
            return Err(error(format!("there is no hermetic level {}", internal.hermetic.level)));
        }
        let origin = match (internal.mode, internal.pipeline, internal.job, internal.runner) {
            (Mode::GitLab, Some(pipeline), Some(job), Some(runner)) => {
                Origin::GitLab { pipeline, job, runner }
            }
            (Mode::Local, None, None, None) => Origin::Local,
            _ => return Err(error("mode, pipeline, job and runner contradict each other")),
        };
        let (commits, others): (Vec<_>, Vec<_>) = build
            .resolved_dependencies
            .into_iter()
            .partition(|resource| resource.digest.contains_key(COMMIT));
        let [commit] = <[Resource; 1]>::try_from(commits)
            .map_err(|commits| error(format!("expected one commit, found {}", commits.len())))?;
        let (base_images, other_dependencies) = split_images(others)?;
        Ok(Self {
            source: external.source,
            reference: external.reference,
            entry_point: external.entry_point,
            script: external.script,
            image: external.image,
            project: internal.project,
            origin,
            architecture: internal.architecture,
            versions: run.builder.version,
            hermetic: internal.hermetic,
            commit: Commit { id: object_id(&commit, COMMIT)?, tree: optional_object_id(&commit)? },
            base_images,
            other_dependencies,
            builder_id: run.builder.id,
            invocation_id: run.metadata.invocation_id,
            started_on: run.metadata.started_on,
            finished_on: run.metadata.finished_on,
            byproducts: run.byproducts,
        })
    }
}

fn split_images(resources: Vec<Resource>) -> Result<(Vec<PinnedImage>, Vec<Resource>), NotEvidence> {
    let (mut images, mut others) = (Vec::new(), Vec::new());
    for resource in resources {
        match resource.uri.as_deref().and_then(|uri| uri.strip_prefix(IMAGE_SCHEME)) {
            Some(name) => {
                let image: PinnedImage = name.parse().map_err(error)?;
                if resource.digest.get("sha256").is_none_or(|hex| hex != image.digest().hex()) {
                    return Err(error("a base image's name and digest differ"));
                }
                images.push(image);
            }
            None => others.push(resource),
        }
    }
    Ok((images, others))
}

fn optional_object_id(resource: &Resource) -> Result<Option<String>, NotEvidence> {
    resource.digest.contains_key(TREE).then(|| object_id(resource, TREE)).transpose()
}

fn object_id(resource: &Resource, name: &str) -> Result<String, NotEvidence> {
    let id = resource.digest.get(name).map(String::as_str).unwrap_or_default();
    let hex = id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if hex && matches!(id.len(), 40 | 64) {
        Ok(id.to_owned())
    } else {
        Err(error(format!("`{name}` is not a git object id")))
    }
}

fn whole_seconds(time: OffsetDateTime) -> OffsetDateTime {
    time.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).expect("zero is a nanosecond")
}

fn error(why: impl std::fmt::Display) -> NotEvidence {
    NotEvidence::new("provenance of a staging job", why)
}
