//! The private tags of a job's images, `airlock-build/<key>:<name>`: found by the key in their name.
//!
//! An image that was loaded carries the labels of whoever built it, so no label leads to it.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::ListImagesOptionsBuilder;

use super::{BUILD_TAG_PREFIX, CleanupReport, Engine, EngineError, Leftover, LeftoverKind};

impl Engine {
    /// Returns the private tags of images by the key of the job that made them: `airlock-build/<key>:<name>`.
    ///
    /// An image that was loaded carries the labels of whoever built it; what is the job's own is the tag.
    pub async fn private_tags(&self) -> Result<BTreeMap<String, Vec<Leftover>>, EngineError> {
        let filters = HashMap::from([("reference", vec![format!("{BUILD_TAG_PREFIX}*")])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = self.docker.list_images(Some(options)).await;
        let images = images.map_err(|e| EngineError::from_bollard("list the private tags", e))?;
        let mut tags: BTreeMap<String, Vec<Leftover>> = BTreeMap::new();
        for image in images {
            for tag in image.repo_tags {
                let key = tag.strip_prefix(BUILD_TAG_PREFIX).and_then(|rest| rest.split_once(':'));
                let Some((key, _)) = key else { continue };
                let (key, labels) = (key.to_owned(), image.labels.clone());
                let leftover = Leftover { kind: LeftoverKind::BuildTag, name: tag, labels };
                tags.entry(key).or_default().push(leftover);
            }
        }
        Ok(tags)
    }

    /// Removes the private tags of one job, and each image with its last name; never stops at an error.
    pub async fn remove_private_tags(&self, key: &str) -> CleanupReport {
        let mut report = CleanupReport::default();
        let tags = match self.private_tags().await {
            Ok(mut tags) => tags.remove(key).unwrap_or_default(),
            Err(error) => {
                report.failures.push((None, error));
                return report;
            }
        };
        for tag in tags {
            match self.remove(&tag).await {
                Ok(()) => report.removed.push(tag),
                Err(error) => report.failures.push((Some(tag), error)),
            }
        }
        report
    }

    /// Returns when a tag was given to its image, in seconds since the epoch, where the engine knows it.
    pub async fn tagged_at(&self, tag: &str) -> Result<Option<i64>, EngineError> {
        match self.docker.inspect_image(tag).await {
            Ok(found) => {
                let time = found.metadata.and_then(|metadata| metadata.last_tag_time);
                Ok(time.map(|time| time.unix_timestamp()).filter(|seconds| *seconds > 0))
            }
            Err(e) => match EngineError::from_bollard(format!("look at the image `{tag}`"), e) {
                error if error.is_absent() => Ok(None),
                error => Err(error),
            },
        }
    }
}
