//! The built image, read once, with its SBOM in both formats.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::delivery::build::BuiltImage;
use crate::delivery::describe::{
    BlockingStream, DescribeError, DescribeInput, DescribeProgress, ImageLabels, KnownLayer, LayerOrigin,
    ReadImage, read_export,
};
use crate::delivery::heartbeat::{Progress, beating_with};
use crate::delivery::layer_cache::LayerCache;
use crate::delivery::sign::UnsignedImage;
use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::engine::Engine;
use crate::failure::{Failure, Outcome};
use crate::job_log::JobLog;
use crate::registry::{BlobContent, ImageStore};
use crate::sbom::{self, Inventory, Layer, LayerFragment, Subject};

/// An image whose bytes are Airlock's own and whose content is known.
pub struct DescribedImage {
    pub repository: Repository,
    pub image: ReadImage<LayerFragment>,
    pub inventory: Inventory,
    pub spdx: Vec<u8>,
    pub cyclonedx: Vec<u8>,
}

impl DescribedImage {
    /// Returns the image as it will be stored; layers that the store has already are left out.
    pub fn unsigned(&self) -> UnsignedImage {
        let layers = self.image.layers.iter().filter_map(|layer| {
            let file = layer.file.clone()?;
            Some((layer.blob.clone(), layer.size, BlobContent::File(file)))
        });
        UnsignedImage {
            repository: self.repository.clone(),
            layers: layers.collect(),
            config: self.image.config.clone(),
            manifest: self.image.manifest.clone(),
            manifest_media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        }
    }
}

/// Reads the image from the engine and writes its SBOM; layers that the store has are not compressed.
pub async fn describe(
    engine: &Engine,
    store: &Arc<dyn ImageStore>,
    built: &BuiltImage<'_>,
    labels: ImageLabels,
    commit_time: i64,
    (work_dir, state_dir): (&Path, &Path),
    log: &JobLog,
) -> Outcome<DescribedImage> {
    let export = engine.export(&built.engine_tag);
    let runtime = Handle::current();
    let (base_layers, image_id) = (built.base_layers.clone(), built.image_id.clone());
    let directory = work_dir.to_owned();
    let (work_dir, cache) = (work_dir.to_owned(), LayerCache::new(state_dir));
    let (store, repository) = (Arc::clone(store), built.plan.repository.clone());
    let progress = Arc::new(Progress::default());
    let noted = Arc::clone(&progress);
    let subject_labels = labels.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let known = |diff_id: &Digest| -> Option<KnownLayer> {
            let cached = cache.get(diff_id)?;
            // An unreachable store is met again, with a better message, when blobs are pushed.
            let there = runtime.block_on(store.has_blob(&repository, &cached.blob)).unwrap_or(false);
            there.then_some(KnownLayer { digest: cached.blob, size: cached.size })
        };
        let said = |state: DescribeProgress| {
            noted.set(match state {
                DescribeProgress::Received { bytes } => format!("{} MiB from the engine", bytes >> 20),
                DescribeProgress::Layers { done, total } => format!("{done} of {total} layers"),
            });
        };
        let scan = |tar: &mut dyn std::io::Read| sbom::scan_layer(tar).map_err(|error| error.to_string());
        let input = DescribeInput {
            work_dir: &work_dir,
            base_layers: &base_layers,
            commit_time,
            labels,
            image_id: Some(&image_id),
        };
        read_export(BlockingStream::new(runtime.clone(), Box::pin(export)), &input, &scan, &known, &said)
    });
    let image = beating_with(log, "reading the image", &progress, reading)
        .await
        .map_err(|e| Failure::internal("reading the image broke off").because(e))?
        .map_err(|error| match error {
            DescribeError::Disk { .. } => {
                Failure::from(error).because(format!("the work directory is `{}`", directory.display()))
            }
            error => error.into(),
        })?;

    let layers: Vec<Layer<'_>> = image
        .layers
        .iter()
        .map(|layer| Layer {
            diff_id: &layer.diff_id,
            fragment: &layer.fragment,
            origin: match layer.origin {
                LayerOrigin::Base => sbom::LayerOrigin::Base,
                LayerOrigin::Own => sbom::LayerOrigin::Own,
            },
        })
        .collect();
    let inventory = sbom::fold(&layers);
    let diff_ids: Vec<Digest> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let created = time::OffsetDateTime::from_unix_timestamp(commit_time)
        .map_err(|e| Failure::internal("the commit's time is no date").because(e))?;
    let subject = Subject {
        repository: built.plan.repository.as_str(),
        manifest: &image.manifest_digest,
        config: &image.config_digest,
        version: &subject_labels.version,
        created,
        revision: &subject_labels.revision,
        source: &subject_labels.source,
        architecture: &image.architecture,
        layers: &diff_ids,
    };
    let (spdx, cyclonedx) = (sbom::spdx(&inventory, &subject), sbom::cyclonedx(&inventory, &subject));
    Ok(DescribedImage { repository: built.plan.repository.clone(), image, inventory, spdx, cyclonedx })
}
