//! Removal by label: containers, volumes, networks and build tags of a job, whatever is left of them.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bollard::models::NetworkDisconnectRequest;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
    ListVolumesOptionsBuilder,
};

use super::{Engine, EngineError};

/// The repository prefix of the private tags that builds leave (`airlock-build/…`).
pub const BUILD_TAG_PREFIX: &str = "airlock-build/";

/// How long the engine is left alone after a look that could not remove everything.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(3)];

/// What kind of thing was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftoverKind {
    Container,
    Volume,
    Network,
    BuildTag,
}

impl fmt::Display for LeftoverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::BuildTag => "build tag",
        })
    }
}

/// A thing of the engine's that carries a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub kind: LeftoverKind,
    /// The id of a container or network, the name of a volume or tag.
    pub name: String,
    pub labels: HashMap<String, String>,
}

/// What a removal did; an empty list of failures means that nothing is left.
#[derive(Debug, Default)]
pub struct CleanupReport {
    pub removed: Vec<Leftover>,
    pub failures: Vec<(Option<Leftover>, EngineError)>,
}

impl CleanupReport {
    /// Returns how many things of a kind were removed.
    pub fn removed(&self, kind: LeftoverKind) -> usize {
        self.removed.iter().filter(|leftover| leftover.kind == kind).count()
    }
}

impl Engine {
    /// Removes everything that carries `label=value`; never stops at an error, and finds nothing to
    /// do the second time.
    pub async fn remove_by_label(&self, label: &str, value: &str) -> CleanupReport {
        let mut removed = Vec::new();
        // A client that died in the middle leaves calls that the engine still finishes: a container that
        // comes up after the first look holds what the first look found, or is found by none. So only a
        // look that finds nothing is the last.
        let mut pauses = PAUSES.iter();
        loop {
            let mut report = self.remove_once(label, value).await;
            let found_nothing = report.removed.is_empty() && report.failures.is_empty();
            removed.append(&mut report.removed);
            let pause = match pauses.next() {
                Some(pause) if !found_nothing => pause,
                _ => return CleanupReport { removed, failures: report.failures },
            };
            if !report.failures.is_empty() {
                tokio::time::sleep(*pause).await;
            }
        }
    }

    async fn remove_once(&self, label: &str, value: &str) -> CleanupReport {
        let mut report = CleanupReport::default();
        // Containers first: they hold volumes, networks and images.
        for kind in
            [LeftoverKind::Container, LeftoverKind::Volume, LeftoverKind::Network, LeftoverKind::BuildTag]
        {
            let found = match self.list_kind(kind, label, Some(value)).await {
                Ok(found) => found,
                Err(error) => {
                    report.failures.push((None, error));
                    continue;
                }
            };
            for leftover in found {
                match self.remove(&leftover).await {
                    Ok(()) => report.removed.push(leftover),
                    Err(error) => report.failures.push((Some(leftover), error)),
                }
            }
        }
        report
    }

    /// Returns everything that carries `label`, with this value or with any.
    pub async fn list_by_label(
        &self,
        label: &str,
        value: Option<&str>,
    ) -> Result<Vec<Leftover>, EngineError> {
        let mut all = Vec::new();
        for kind in
            [LeftoverKind::Container, LeftoverKind::Volume, LeftoverKind::Network, LeftoverKind::BuildTag]
        {
            all.extend(self.list_kind(kind, label, value).await?);
        }
        Ok(all)
    }

    async fn list_kind(
        &self,
        kind: LeftoverKind,
        label: &str,
        value: Option<&str>,
    ) -> Result<Vec<Leftover>, EngineError> {
        let wanted = value.map_or_else(|| label.to_owned(), |value| format!("{label}={value}"));
        let filters = HashMap::from([("label", vec![wanted])]);
        let failed = |e| EngineError::from_bollard(format!("list what carries the label `{label}`"), e);
        let leftover = |name: String, labels| Leftover { kind, name, labels };
        Ok(match kind {
            LeftoverKind::Container => {
                let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
                self.docker
                    .list_containers(Some(options))
                    .await
                    .map_err(failed)?
                    .into_iter()
                    .filter_map(|c| Some(leftover(c.id?, c.labels.unwrap_or_default())))
                    .collect()
            }
            LeftoverKind::Volume => {
                let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
                self.docker
                    .list_volumes(Some(options))
                    .await
                    .map_err(failed)?
                    .volumes
                    .unwrap_or_default()
                    .into_iter()
                    .map(|v| leftover(v.name, v.labels))
                    .collect()
            }
            LeftoverKind::Network => {
                let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
                self.docker
                    .list_networks(Some(options))
                    .await
                    .map_err(failed)?
                    .into_iter()
                    .filter_map(|n| Some(leftover(n.id?, n.labels.unwrap_or_default())))
                    .collect()
            }
            LeftoverKind::BuildTag => {
                let options = ListImagesOptionsBuilder::default().filters(&filters).build();
                self.docker
                    .list_images(Some(options))
                    .await
                    .map_err(failed)?
                    .into_iter()
                    .flat_map(|image| {
                        let labels = image.labels;
                        image.repo_tags.into_iter().map(move |tag| (tag, labels.clone()))
                    })
                    .filter(|(tag, _)| tag.starts_with(BUILD_TAG_PREFIX))
                    .map(|(tag, labels)| leftover(tag, labels))
                    .collect()
            }
        })
    }

    async fn remove(&self, leftover: &Leftover) -> Result<(), EngineError> {
        match leftover.kind {
            LeftoverKind::Container => self.remove_container_by_name(&leftover.name).await,
            LeftoverKind::Volume => self.remove_volume(&leftover.name).await,
            LeftoverKind::BuildTag => self.remove_image_tag(&leftover.name).await,
            LeftoverKind::Network => self.remove_network(&leftover.name).await,
        }
    }

    /// Removes a network and whatever is still connected to it; an absent one is no error.
    async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let what = format!("remove the network `{name}`");
        match self.docker.remove_network(name).await {
            Ok(()) => return Ok(()),
            Err(e) => match EngineError::from_bollard(what.clone(), e) {
                error if error.is_absent() => return Ok(()),
                // It has endpoints: a container that outlives the network, as the test's does.
                EngineError::Answered { status: 403, .. } => {}
                error => return Err(error),
            },
        }
        let found = self.docker.inspect_network(name, None).await;
        let connected = found.map_err(|e| EngineError::from_bollard(what.clone(), e))?.containers;
        for container in connected.unwrap_or_default().into_keys() {
            let request = NetworkDisconnectRequest { container, force: Some(true) };
            if let Err(e) = self.docker.disconnect_network(name, request).await {
                match EngineError::from_bollard(what.clone(), e) {
                    error if error.is_absent() => {}
                    error => return Err(error),
                }
            }
        }
        self.docker.remove_network(name).await.map_err(|e| EngineError::from_bollard(what, e))
    }
}
