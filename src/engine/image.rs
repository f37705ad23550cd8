//! Images: resolved to an immutable id, tagged, exported. A tag never decides anything here.

use std::fmt;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListImagesOptions, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use time::OffsetDateTime;

use super::{Engine, EngineError};
use crate::domain::digest::Digest;
use crate::domain::image::PinnedImage;

/// How long the engine may take to fetch an image.
const PULL_TIMEOUT: Duration = Duration::from_secs(1800);

/// A user of a registry; the password is never shown.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.username)
    }
}

/// An image that the engine has, known to be the one that was pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The immutable id: what a sandbox takes.
    pub id: Digest,
    pub pinned: PinnedImage,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub user: String,
    /// `ONBUILD` triggers, which would act in a build from this image.
    pub on_build: Vec<String>,
    /// The diff ids, lowest first.
    pub layers: Vec<Digest>,
    pub architecture: String,
}

impl Engine {
    /// Returns the pinned image, from the engine's own store or else pulled by its digest.
    ///
    /// The image that comes back has this digest among its own: the engine checked the bytes against
    /// it when it fetched them.
    pub async fn resolve_image(
        &self,
        image: &PinnedImage,
        credentials: Option<Credentials>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ResolvedImage, EngineError> {
        let name = image.to_string();
        let found = match self.docker.inspect_image(&name).await {
            Ok(found) => found,
            Err(e) => {
                let error = EngineError::from_bollard(format!("look at the image `{name}`"), e);
                if !error.is_absent() {
                    return Err(error);
                }
                self.pull(image, credentials, progress).await?;
                self.docker
                    .inspect_image(&name)
                    .await
                    .map_err(|e| EngineError::from_bollard(format!("look at the image `{name}`"), e))?
            }
        };
        resolved(image, found)
    }

    async fn pull(
        &self,
        image: &PinnedImage,
        credentials: Option<Credentials>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::default()
            .from_image(&image.name())
            .tag(image.digest().as_str())
            .build();
        let credentials = credentials.map(|credentials| DockerCredentials {
            username: Some(credentials.username),
            password: Some(credentials.password),
            serveraddress: Some(image.host().to_string()),
            ..DockerCredentials::default()
        });
        let what = format!("pull the image `{image}`");
        let pulling = async {
            let mut steps = std::pin::pin!(self.slow.create_image(Some(options), None, credentials));
            while let Some(step) = steps.next().await {
                if let Some(status) = step?.status {
                    progress(&status);
                }
            }
            Ok(())
        };
        match tokio::time::timeout(PULL_TIMEOUT, pulling).await {
            Err(_) => Err(EngineError::Timeout { what, after: PULL_TIMEOUT }),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(pull_error(image, what, error)),
        }
    }

    /// Gives the image `id` a further name; `name` is `repository:tag`.
    pub async fn tag_image(&self, id: &Digest, name: &str) -> Result<(), EngineError> {
        let what = format!("tag the image {} as `{name}`", id.short());
        let (repository, tag) =
            name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).ok_or_else(|| {
                EngineError::Malformed { what: what.clone(), why: "the name has no tag".into() }
            })?;
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        self.docker
            .tag_image(id.as_str(), Some(options))
            .await
            .map_err(|e| EngineError::from_bollard(what, e))
    }

    /// Takes a tag away, and the image with its last name; an absent one is no error.
    pub async fn remove_image_tag(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::default().build();
        match self.docker.remove_image(name, Some(options), None).await {
            Ok(_) => Ok(()),
            Err(e) => match EngineError::from_bollard(format!("remove the tag `{name}`"), e) {
                error if error.is_absent() => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Returns every name that begins with `prefix`, with the time at which it was last given.
    pub async fn names_below(&self, prefix: &str) -> Result<Vec<(String, OffsetDateTime)>, EngineError> {
        let failed = |e| EngineError::from_bollard(format!("list the images named `{prefix}…`"), e);
        let images = self.docker.list_images(None::<ListImagesOptions>).await.map_err(failed)?;
        let mut names = Vec::new();
        for name in images.into_iter().flat_map(|image| image.repo_tags) {
            if !name.starts_with(prefix) {
                continue;
            }
            // Gone since it was listed, or nobody gave it the name after it was loaded: not ours to judge.
            let Ok(found) = self.docker.inspect_image(&name).await else { continue };
            let given = found.metadata.and_then(|known| known.last_tag_time).filter(|time| time.year() > 1);
            names.extend(given.map(|time| (name, time)));
        }
        Ok(names)
    }

    /// Returns the id that a name stands for now; `None` when there is no such image.
    pub async fn image_id(&self, name: &str) -> Result<Option<Digest>, EngineError> {
        let what = format!("look at the image `{name}`");
        match self.docker.inspect_image(name).await {
            Ok(found) => image_id_of(&found, &what).map(Some),
            Err(e) => match EngineError::from_bollard(what, e) {
                error if error.is_absent() => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Returns the image as the tar stream of `docker save`; layers come in any order, the manifest last.
    pub fn export(&self, name: &str) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let what = format!("export the image `{name}`");
        self.slow.export_image(name).map_err(move |e| EngineError::from_bollard(what.clone(), e))
    }
}

fn resolved(image: &PinnedImage, found: ImageInspect) -> Result<ResolvedImage, EngineError> {
    let what = format!("look at the image `{image}`");
    let id = image_id_of(&found, &what)?;
    let known = found.repo_digests.unwrap_or_default();
    let wanted = image.digest().as_str();
    // The engine shortens the names of its default registry, so only the digest is compared.
    if !known.iter().any(|name| name.rsplit_once('@').is_some_and(|(_, digest)| digest == wanted)) {
        return Err(EngineError::WrongImage {
            image: image.to_string(),
            expected: wanted.to_owned(),
            found: if known.is_empty() { "no digest at all".to_owned() } else { known.join(", ") },
        });
    }
    let config = found.config.unwrap_or_default();
    let layers = found
        .root_fs
        .and_then(|root| root.layers)
        .unwrap_or_default()
        .iter()
        .map(|layer| layer.parse())
        .collect::<Result<Vec<Digest>, _>>()
        .map_err(|e| EngineError::Malformed { what, why: e.to_string() })?;
    Ok(ResolvedImage {
        id,
        pinned: image.clone(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        on_build: config.on_build.unwrap_or_default(),
        layers,
        architecture: found.architecture.unwrap_or_default(),
    })
}

fn image_id_of(found: &ImageInspect, what: &str) -> Result<Digest, EngineError> {
    found.id.as_deref().unwrap_or_default().parse().map_err(|e: crate::domain::digest::NotADigest| {
        EngineError::Malformed { what: what.to_owned(), why: e.to_string() }
    })
}

fn pull_error(image: &PinnedImage, what: String, error: bollard::errors::Error) -> EngineError {
    use bollard::errors::Error;
    let refused = |text: &str| {
        ["not found", "unknown", "denied", "unauthorized", "no such"]
            .iter()
            .any(|word| text.to_lowercase().contains(word))
    };
    match error {
        Error::DockerResponseServerError { status_code, message }
            if matches!(status_code, 401 | 403 | 404) || refused(&message) =>
        {
            EngineError::ImageAbsent { image: image.to_string(), why: message }
        }
        Error::DockerStreamError { error } if refused(&error) => {
            EngineError::ImageAbsent { image: image.to_string(), why: error }
        }
        Error::DockerResponseServerError { message: why, .. } | Error::DockerStreamError { error: why } => {
            EngineError::PullFailed { image: image.to_string(), registry: image.host().to_string(), why }
        }
        error => EngineError::from_bollard(what, error),
    }
}
