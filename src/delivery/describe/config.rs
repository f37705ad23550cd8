//! The image's configuration and manifest as Airlock writes them (OCI image specification 1.1,
//! "Image Configuration" and "Image Manifest").
//!
//! Only fields that are named here pass, in a fixed order; everything else an engine adds is left out.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::DescribeError;
use super::export::parse;
use super::{ImageLabels, shown};
use crate::domain::digest::Digest;

pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Deserialize, Serialize)]
pub(super) struct ImageConfig {
    #[serde(default)]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    pub(super) architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    pub(super) os: String,
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    os_version: Option<String>,
    #[serde(default, rename = "os.features", skip_serializing_if = "Option::is_none")]
    os_features: Option<Vec<String>>,
    #[serde(default)]
    config: Option<RunConfig>,
    rootfs: RootFs,
    #[serde(default)]
    history: Option<Vec<History>>,
}

/// The run parameters of the specification, and the two that the engine adds and honours.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RunConfig {
    #[serde(default, skip_serializing_if = "is_empty_text")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<BTreeMap<String, Empty>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Healthcheck>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args_escaped: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volumes: Option<BTreeMap<String, Empty>>,
    #[serde(default, skip_serializing_if = "is_empty_text")]
    working_dir: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "is_empty_text")]
    stop_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shell: Option<Vec<String>>,
    #[serde(default, skip_serializing)]
    on_build: Option<Vec<String>>,
}

/// The engine's own addition; times in nanoseconds.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Healthcheck {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    test: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_period: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_interval: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<i64>,
}

#[derive(Deserialize, Serialize)]
struct Empty {}

#[derive(Deserialize, Serialize)]
struct RootFs {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize, Serialize)]
struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

fn is_empty_text(text: &Option<String>) -> bool {
    text.as_deref().unwrap_or_default().is_empty()
}

/// What is said about an image besides its content.
pub(super) struct Annotated {
    created: String,
    labels: BTreeMap<String, String>,
}

impl Annotated {
    pub(super) fn new(labels: &ImageLabels, commit_time: i64) -> Result<Self, DescribeError> {
        let created = OffsetDateTime::from_unix_timestamp(commit_time)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .ok_or(DescribeError::CommitTime(commit_time))?;
        let label = |name: &str, value: &str| (format!("org.opencontainers.image.{name}"), value.to_owned());
        let labels = BTreeMap::from([
            label("version", &labels.version),
            label("revision", &labels.revision),
            label("source", &labels.source),
            label("created", &created),
        ]);
        Ok(Self { created, labels })
    }
}

impl ImageConfig {
    /// Reads the configuration of an export and refuses what an image may not have.
    pub(super) fn read(member: &str, bytes: &[u8]) -> Result<Self, DescribeError> {
        let config: Self = parse(member, bytes)?;
        let refuse = |reason: String| Err(DescribeError::Document { member: member.to_owned(), reason });
        if config.rootfs.kind != "layers" {
            let kind = shown(config.rootfs.kind.as_bytes());
            return refuse(format!("expected a root filesystem of type `layers`, found `{kind}`"));
        }
        if config.os.is_empty() || config.architecture.is_empty() {
            return refuse("it names no operating system or no architecture".to_owned());
        }
        let on_build = config.config.as_ref().and_then(|run| run.on_build.as_deref());
        match on_build.unwrap_or_default() {
            [] => Ok(config),
            _ => Err(DescribeError::OnBuild),
        }
    }

    /// Returns the bytes of the configuration with the layers `diff_ids` and Airlock's own times and labels.
    ///
    /// History up to the last layer of the base stays. Everything later gets the commit's time; entries
    /// without a layer that stand there cannot be told from the base's own, so they count as ours.
    pub(super) fn write(mut self, said: &Annotated, diff_ids: Vec<Digest>, base_layers: usize) -> Bytes {
        let history = self.history.get_or_insert_default();
        let with_layer = history.iter().filter(|entry| !entry.empty_layer).count();
        // A history that does not fit its layers says nothing about which entries are the base's.
        let mut base_left = if with_layer == diff_ids.len() { base_layers } else { 0 };
        for entry in history.iter_mut() {
            if base_left == 0 {
                entry.created = Some(said.created.clone());
            } else if !entry.empty_layer {
                base_left -= 1;
            }
        }
        self.created = Some(said.created.clone());
        self.rootfs.diff_ids = diff_ids;
        let run = self.config.get_or_insert_default();
        run.labels.get_or_insert_default().extend(said.labels.clone());
        json(&self)
    }
}

/// A descriptor in the manifest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part {
    pub(super) media_type: &'static str,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: Part,
    layers: Vec<Part>,
    annotations: &'a BTreeMap<String, String>,
}

/// Returns the bytes of the manifest.
pub(super) fn manifest(config: Part, layers: Vec<Part>, said: &Annotated) -> Bytes {
    json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE,
        config,
        layers,
        annotations: &said.labels,
    })
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("structs of texts and numbers are always JSON").into()
}
