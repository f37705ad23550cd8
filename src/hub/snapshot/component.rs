//! One component: where each of its images comes from, resolved once, verified by digest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::facts::{self, ImageFacts};
use super::refusal::Problem;
use super::{Projects, SnapshotComponent, SnapshotImage, SnapshotParts, present};
use crate::delivery::verify::{Completeness, VerifiedImage, verify};
use crate::domain::digest::Digest;
use crate::domain::hub::{HubComponent, HubInputs};
use crate::domain::image::{Repository, Tag};
use crate::domain::release::{ComponentOrigin, ReleaseComponent};
use crate::domain::trust::Channel;
use crate::failure::{CLI_NO_SUCH_TAG, EXIT_REFUSED_BEFORE_SCRIPT, Failure, FailureKind};
use crate::job_log::JobLog;
use crate::registry::ManifestReference;

/// A component that the hub's manifest names.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) component: &'a HubComponent,
    pub(super) parts: &'a SnapshotParts<'a>,
    pub(super) inputs: &'a HubInputs,
}

/// Where the digest of an image comes from.
enum Source {
    Staged,
    Fixed(Digest),
}

/// An image that was resolved, verified and read.
struct Taken {
    image: VerifiedImage,
    facts: ImageFacts,
}

impl Wanted<'_> {
    /// Takes the component, or tells everything that keeps it out.
    pub(super) async fn take(&self, permits: &Semaphore, log: &JobLog) -> Result<SnapshotComponent, Problem> {
        self.refuse_unlisted()?;
        let (origin, sources) = self.sources()?;
        let begun = Instant::now();
        let taken = loop {
            let taken = self.read(&sources, permits).await?;
            let commits: BTreeSet<&str> = taken.values().map(|taken| taken.facts.commit.as_str()).collect();
            if commits.len() <= 1 {
                break taken;
            }
            let patience = self.parts.patience;
            let can_change = sources.values().any(|source| matches!(source, Source::Staged));
            if !can_change || begun.elapsed() + patience.pause > patience.total {
                return Err(self.two_commits(&taken, can_change).into());
            }
            let commits: Vec<&str> = commits.iter().map(|commit| short(commit)).collect();
            log.line(format!(
                "{}: its images are of the commits {}; resolving them again",
                self.name,
                commits.join(" and ")
            ));
            tokio::time::sleep(patience.pause).await;
        };
        let component = self.compose(origin, &taken)?;
        if origin == ComponentOrigin::Staged {
            present::refuse_older(self, &component).await?;
        }
        Ok(component)
    }

    /// Returns the present candidate's version, and what it has of this component.
    pub(super) fn present(&self) -> Option<(&str, &ReleaseComponent)> {
        let release = self.parts.predecessor.as_ref()?.release();
        let component = release.components.iter().find(|component| component.name == self.name)?;
        Some((&release.version, component))
    }

    fn repositories(&self) -> BTreeSet<&Repository> {
        self.component.services.values().collect()
    }

    /// Refuses repositories that no publish rule of the host gives to the component's project.
    fn refuse_unlisted(&self) -> Result<(), Problem> {
        let Projects::Published(rules) = self.parts.projects else { return Ok(()) };
        let id = self.component.project_id;
        let failures: Vec<Failure> = self
            .repositories()
            .into_iter()
            .filter(|repository| facts::rules_for(rules, id, repository).is_empty())
            .map(|repository| {
                Failure::refused(format!(
                    "`{repository}` is in no publish rule of project {id} on this host"
                ))
                .hint("correct `project_id` or the repository in airlock-hub.toml")
                .hint("for the runner's administrator: a `[[publish]]` rule in the host settings lists what a project may publish")
            })
            .collect();
        if failures.is_empty() { Ok(()) } else { Err(Problem::Unusable(failures)) }
    }

    fn sources(&self) -> Result<(ComponentOrigin, BTreeMap<&Repository, Source>), Problem> {
        let change_set = &self.inputs.change_set;
        let staged = change_set.is_empty() || change_set.iter().any(|name| name == self.name);
        let mut origin = if staged { ComponentOrigin::Staged } else { ComponentOrigin::Candidate };
        let (mut sources, mut failures) = (BTreeMap::new(), Vec::new());
        for repository in self.repositories() {
            let source = match self.inputs.overrides.get(repository) {
                Some(digest) => {
                    origin = ComponentOrigin::Override;
                    Source::Fixed(digest.clone())
                }
                None if staged => Source::Staged,
                None => match self.in_candidate(repository) {
                    Ok(digest) => Source::Fixed(digest),
                    Err(failure) => {
                        failures.push(failure);
                        continue;
                    }
                },
            };
            sources.insert(repository, source);
        }
        if failures.is_empty() { Ok((origin, sources)) } else { Err(Problem::Unusable(failures)) }
    }

    fn in_candidate(&self, repository: &Repository) -> Result<Digest, Failure> {
        let found = self
            .present()
            .and_then(|(_, component)| component.images.iter().find(|image| image.repository == *repository));
        found.map(|image| image.manifest.clone()).ok_or_else(|| {
            let present = match &self.parts.predecessor {
                Some(release) => format!("`{}` has no such image of it", release.release().version),
                None => "there is none yet".to_owned(),
            };
            Failure::refused(format!("`{repository}` is to come from the present candidate"))
                .because(present)
                .hint("add the component to AIRLOCK_CHANGE_SET, or run without a change set")
        })
    }

    /// Resolves and verifies every image; tells what is wrong with all of them.
    async fn read<'s>(
        &self,
        sources: &'s BTreeMap<&'s Repository, Source>,
        permits: &Semaphore,
    ) -> Result<BTreeMap<&'s Repository, Taken>, Problem> {
        let reading = sources.iter().map(|(repository, source)| async move {
            let _permit = permits.acquire().await;
            (*repository, self.read_one(repository, source).await)
        });
        let (mut taken, mut failures) = (BTreeMap::new(), Vec::new());
        for (repository, outcome) in join_all(reading).await {
            match outcome {
                Ok(one) => {
                    taken.insert(repository, one);
                }
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() { Ok(taken) } else { Err(Problem::Unusable(failures)) }
    }

    async fn read_one(&self, repository: &Repository, source: &Source) -> Result<Taken, Failure> {
        let SnapshotParts { store, policy, prefix, now, .. } = *self.parts;
        let full = repository.below(prefix);
        let digest = match source {
            Source::Fixed(digest) => digest.clone(),
            Source::Staged => self.staged(&full).await?,
        };
        let reference = ManifestReference::Digest(digest);
        // Both forms: staging leaves both, so one that is absent was taken away, and a client whose
        // verifier knows only that one would refuse the release.
        let complete = Completeness::BothFormats;
        let image = verify(store, &full, &reference, policy, Channel::Staged, complete, now).await?;
        let facts = facts::read(&image, repository, self.component.project_id, self.parts.projects)?;
        Ok(Taken { image, facts })
    }

    /// Reads the tag: the only place where a tag decides, and only which digest is looked at.
    async fn staged(&self, full: &Repository) -> Result<Digest, Failure> {
        let tag: Tag = Channel::Staged
            .as_str()
            .parse()
            .map_err(|e| Failure::internal("`staged` is no tag").because(e))?;
        let found = self.parts.store.manifest(full, &ManifestReference::Tag(tag)).await;
        let found = found
            .map_err(|error| Failure::from(error).while_doing(format!("cannot resolve `{full}:staged`")))?;
        found.map(|manifest| manifest.digest).ok_or_else(|| {
            let kind = FailureKind::Refused { stage: EXIT_REFUSED_BEFORE_SCRIPT, cli: CLI_NO_SUCH_TAG };
            Failure::new(kind, format!("there is no `{full}:staged` in `{}`", self.parts.store.place())).hint(
                format!(
                    "a green staging job of project {} on its staging branch puts the tag",
                    self.component.project_id
                ),
            )
        })
    }

    fn two_commits(&self, taken: &BTreeMap<&Repository, Taken>, waited: bool) -> Failure {
        let total = self.parts.patience.total.as_secs();
        let waited = if waited { format!(" after {total} s") } else { String::new() };
        let failure = Failure::refused(format!("its images are not of one commit{waited}"));
        taken
            .iter()
            .fold(failure, |failure, (repository, taken)| {
                failure.because(format!("`{repository}` is of commit {}", taken.facts.commit))
            })
            .hint("wait until the component's staging job is done, or run it again: it moves all of its tags")
    }

    fn compose(
        &self,
        origin: ComponentOrigin,
        taken: &BTreeMap<&Repository, Taken>,
    ) -> Result<SnapshotComponent, Problem> {
        let Some(first) = taken.values().next() else {
            return Err(Failure::internal("a component without images reached the snapshot").into());
        };
        let facts = &first.facts;
        if let Some((repository, other)) =
            taken.iter().find(|(_, other)| other.facts.version != facts.version)
        {
            let failure = Failure::refused("its images have two versions").because(format!(
                "`{repository}` has `{}`, another image `{}`",
                other.facts.version, facts.version
            ));
            return Err(failure
                .hint("run the component's staging job again: it gives all images one version")
                .into());
        }
        let images = self.component.services.iter().filter_map(|(service, repository)| {
            let one = taken.get(repository)?;
            Some(SnapshotImage {
                service: service.clone(),
                repository: repository.clone(),
                platform: one.facts.platform.clone(),
                config: one.facts.config.clone(),
                image: one.image.clone(),
            })
        });
        Ok(SnapshotComponent {
            name: self.name.to_owned(),
            version: facts.version.clone(),
            origin,
            project_id: facts.project_id,
            project: facts.project.clone(),
            commit: facts.commit.clone(),
            pipeline_id: taken.values().map(|one| one.facts.pipeline_id).max().unwrap_or(0),
            images: images.collect(),
        })
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
