//! Volumes: a workspace in memory with a size, and the tools that every container is given.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, VolumeCreateRequest};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveVolumeOptionsBuilder};

use super::{Engine, EngineError, Labels};
use crate::domain::digest::Digest;
use crate::domain::sandbox::SandboxUser;

/// Where the helper image keeps the tools (`executor-config/helper-image`).
const HELPER_TOOLS_DIRECTORY: &str = "/opt/airlock";

impl Engine {
    /// Creates an empty volume of `size_bytes` in memory that belongs to `owner`.
    ///
    /// Its content lives as long as some container that mounts it runs, so the helper holds it for the
    /// whole job. What is written counts against the writer's memory limit too.
    pub async fn create_workspace_volume(
        &self,
        name: &str,
        size_bytes: u64,
        owner: SandboxUser,
        labels: &Labels,
    ) -> Result<(), EngineError> {
        let options =
            format!("size={size_bytes},uid={},gid={},mode=0755,nosuid,nodev", owner.uid(), owner.gid());
        let driver_opts = HashMap::from([("type", "tmpfs"), ("device", "tmpfs"), ("o", options.as_str())]);
        self.create_volume(name, driver_opts, labels).await
    }

    /// Creates the tools volume and fills it with what the helper image keeps in `/opt/airlock`.
    ///
    /// The engine copies at the creation of a container that is never started: no program of any
    /// image runs.
    pub async fn create_tools_volume(
        &self,
        name: &str,
        helper_image: &Digest,
        labels: &Labels,
    ) -> Result<(), EngineError> {
        self.create_volume(name, HashMap::new(), labels).await?;
        let filler = format!("{name}-filler");
        let body = ContainerCreateBody {
            image: Some(helper_image.to_string()),
            cmd: Some(vec!["/nonexistent".into()]),
            labels: Some(owned(labels)),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                mounts: Some(vec![Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(name.to_owned()),
                    target: Some(HELPER_TOOLS_DIRECTORY.to_owned()),
                    ..Mount::default()
                }]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&filler).build();
        self.docker
            .create_container(Some(options), body)
            .await
            .map_err(|e| EngineError::from_bollard(format!("fill the volume `{name}`"), e))?;
        self.remove_container_by_name(&filler).await
    }

    /// Removes a volume; an absent one is no error.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveVolumeOptionsBuilder::default().force(true).build();
        match self.docker.remove_volume(name, Some(options)).await {
            Ok(()) => Ok(()),
            Err(e) => match EngineError::from_bollard(format!("remove the volume `{name}`"), e) {
                error if error.is_absent() => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn create_volume(
        &self,
        name: &str,
        driver_opts: HashMap<&str, &str>,
        labels: &Labels,
    ) -> Result<(), EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            driver_opts: Some(driver_opts.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
            labels: Some(owned(labels)),
            ..VolumeCreateRequest::default()
        };
        self.docker
            .create_volume(request)
            .await
            .map(drop)
            .map_err(|e| EngineError::from_bollard(format!("create the volume `{name}`"), e))
    }
}

fn owned(labels: &Labels) -> HashMap<String, String> {
    labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}
