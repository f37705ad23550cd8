//! Releases in their repository: read by tag or digest, checked, verified.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::delivery::verify::{collect, store_failure};
use crate::domain::digest::Digest;
use crate::domain::evidence::Format;
use crate::domain::evidence::layout::OCI_MANIFEST;
use crate::domain::image::Repository;
use crate::domain::release::{MAX_RELEASE_BYTES, RELEASE_MEDIA_TYPE, Release};
use crate::domain::trust::{AcceptedSignature, Channel, Subject, TrustPolicy};
use crate::failure::{
    CLI_NO_SUCH_TAG, CLI_WRONG_SIGNATURE, EXIT_REFUSED_BY_PUBLISH_POLICY, Failure, FailureKind, Outcome,
};
use crate::registry::{Descriptor, ImageStore, ManifestReference, StoredManifest};

/// Media type of the empty config (OCI image specification, "Guidance for an empty descriptor").
const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";
/// The empty config.
pub(super) const EMPTY: &[u8] = b"{}";

/// A release that was read back, is canonical, and is signed by a trusted `release` key.
///
/// Only [`read`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedRelease {
    repository: Repository,
    manifest: StoredManifest,
    release: Release,
    signature: AcceptedSignature,
}

impl VerifiedRelease {
    /// Returns the repository of the platform's releases.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the manifest's digest.
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &StoredManifest {
        &self.manifest
    }

    /// Returns the document.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// Returns the name of the key that signed it.
    pub fn key(&self) -> &str {
        self.signature.key()
    }

    /// Returns the forms in which a good signature was found.
    pub fn formats(&self) -> &BTreeSet<Format> {
        self.signature.formats()
    }
}

/// What a platform's `:candidate` names.
#[derive(Debug)]
pub enum Standing {
    Nothing,
    Release(Box<VerifiedRelease>),
    /// Something that is no release, or that no trusted key signed.
    Untrusted {
        digest: Digest,
        why: Failure,
    },
}

impl Standing {
    /// Returns the digest that the tag names.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Nothing => None,
            Self::Release(release) => Some(release.digest()),
            Self::Untrusted { digest, .. } => Some(digest),
        }
    }
}

/// The manifest that carries a release document (OCI image specification, "Artifacts").
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReleaseManifest {
    schema_version: u8,
    media_type: String,
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl ReleaseManifest {
    /// Describes the manifest of a document.
    pub(super) fn of(document: &[u8]) -> Self {
        let descriptor = |media_type: &str, bytes: &[u8]| Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: None,
        };
        Self {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            artifact_type: RELEASE_MEDIA_TYPE.to_owned(),
            config: descriptor(EMPTY_CONFIG, EMPTY),
            layers: vec![descriptor(RELEASE_MEDIA_TYPE, document)],
        }
    }

    /// Returns the manifest's bytes.
    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("strings and numbers are JSON").into()
    }
}

/// Returns the repository of a platform's releases: `<prefix>/<platform>/release`.
pub fn repository_of(prefix: Option<&Repository>, platform: &str) -> Outcome<Repository> {
    let name: Repository = format!("{platform}/release").parse().map_err(|error| {
        Failure::usage(format!("`{}` is no name of a platform", crate::job_log::printable(platform)))
            .because(error)
            .hint("name the platform as `platform` in `airlock-hub.toml` does")
    })?;
    Ok(name.below(prefix))
}

/// Reads and verifies the release that `reference` names.
pub async fn read(
    store: &dyn ImageStore,
    policy: &TrustPolicy,
    repository: &Repository,
    reference: &ManifestReference,
    now: OffsetDateTime,
) -> Outcome<VerifiedRelease> {
    let found = find(store, repository, reference).await?.ok_or_else(|| {
        let shown = match reference {
            ManifestReference::Tag(tag) => format!("{repository}:{tag}"),
            ManifestReference::Digest(digest) => format!("{repository}@sha256:{}…", digest.short()),
        };
        let kind = FailureKind::Refused { stage: EXIT_REFUSED_BY_PUBLISH_POLICY, cli: CLI_NO_SUCH_TAG };
        Failure::new(kind, format!("there is no release `{shown}` in `{}`", store.place()))
            .hint("`airlock release list` shows what there is")
    })?;
    check(store, policy, repository, reference, found, now).await
}

/// Looks at what `:candidate` names; what nobody trusted signed is a finding here, not a failure.
pub async fn standing(
    store: &dyn ImageStore,
    policy: &TrustPolicy,
    prefix: Option<&Repository>,
    platform: &str,
    now: OffsetDateTime,
) -> Outcome<Standing> {
    let repository = repository_of(prefix, platform)?;
    let reference = ManifestReference::Tag(Channel::Candidate.tag());
    let Some(found) = find(store, &repository, &reference).await? else { return Ok(Standing::Nothing) };
    let digest = found.digest.clone();
    match check(store, policy, &repository, &reference, found, now).await {
        Ok(release) => Ok(Standing::Release(Box::new(release))),
        Err(why) if matches!(why.kind(), FailureKind::Refused { .. }) => {
            Ok(Standing::Untrusted { digest, why })
        }
        Err(failure) => Err(failure),
    }
}

/// Reads and verifies the release that `:candidate` names; `None` when there is none yet.
///
/// # Errors
/// What stands there is not trusted: nothing can follow it, and only a person decides what replaces it.
pub async fn candidate(
    store: &dyn ImageStore,
    policy: &TrustPolicy,
    prefix: Option<&Repository>,
    platform: &str,
    now: OffsetDateTime,
) -> Outcome<Option<VerifiedRelease>> {
    match standing(store, policy, prefix, platform, now).await? {
        Standing::Nothing => Ok(None),
        Standing::Release(release) => Ok(Some(*release)),
        Standing::Untrusted { why, .. } => Err(why.hint(format!(
            "for the release team: `airlock promote {platform} VERSION` points `:candidate` at a release that is trusted; where there is none, remove the tag and run the hub's job again"
        ))),
    }
}

async fn find(
    store: &dyn ImageStore,
    repository: &Repository,
    reference: &ManifestReference,
) -> Outcome<Option<StoredManifest>> {
    store.manifest(repository, reference).await.map_err(store_failure("read the release"))
}

async fn check(
    store: &dyn ImageStore,
    policy: &TrustPolicy,
    repository: &Repository,
    reference: &ManifestReference,
    manifest: StoredManifest,
    now: OffsetDateTime,
) -> Outcome<VerifiedRelease> {
    let name = format!("{repository}@sha256:{}…", manifest.digest.short());
    let broken = |why: String| {
        let kind = FailureKind::Refused { stage: EXIT_REFUSED_BY_PUBLISH_POLICY, cli: CLI_WRONG_SIGNATURE };
        Failure::new(kind, format!("`{name}` is not a release")).because(why).hint(
            "look at what was pushed there, and by whom; a release is written by a hub's green job alone",
        )
    };
    if let ManifestReference::Digest(digest) = reference
        && *digest != manifest.digest
    {
        return Err(broken(format!("expected {digest}, the store returned {}", manifest.digest)));
    }
    let parsed: ReleaseManifest =
        serde_json::from_slice(&manifest.bytes).map_err(|e| broken(format!("its manifest: {e}")))?;
    let [layer] = parsed.layers.as_slice() else {
        return Err(broken(format!("it has {} layers, expected 1", parsed.layers.len())));
    };
    if manifest.media_type != OCI_MANIFEST
        || parsed.schema_version != 2
        || parsed.media_type != OCI_MANIFEST
        || parsed.artifact_type != RELEASE_MEDIA_TYPE
        || layer.media_type != RELEASE_MEDIA_TYPE
        || parsed.config.media_type != EMPTY_CONFIG
    {
        return Err(broken("its media types are not those of a release".into()));
    }
    // The signature first: nothing that nobody vouches for is parsed further than it must be.
    let subject = Subject {
        repository: repository.clone(),
        digest: manifest.digest.clone(),
        channel: Channel::Candidate,
    };
    let evidence = collect(store, repository, &manifest.digest).await?;
    let signature = policy.judge_release(&subject, &evidence, now)?;
    let document = store
        .blob(repository, &layer.digest, MAX_RELEASE_BYTES)
        .await
        .map_err(store_failure("read the release"))?
        .ok_or_else(|| broken("its document is absent".into()))?;
    let release = Release::parse(&document).map_err(|e| broken(e.to_string()))?;
    // A genuine document in another's place is none of this place: the signature covers only its bytes.
    check_place(&release, repository, reference).map_err(broken)?;
    Ok(VerifiedRelease { repository: repository.clone(), manifest, release, signature })
}

#[cfg(test)]
impl VerifiedRelease {
    /// Makes a release that nobody verified, for the tests of those who only read its document.
    pub(crate) fn unchecked(repository: Repository, release: Release) -> Self {
        let bytes = Bytes::from(serde_json::to_vec(&release).expect("a release is JSON"));
        let digest = Digest::of(&bytes);
        let manifest = StoredManifest { media_type: OCI_MANIFEST.to_owned(), digest, bytes };
        let signature = AcceptedSignature::unchecked("release-2026");
        Self { repository, manifest, release, signature }
    }
}

/// Checks that a document stands where it says: in its platform's repository, under its own version.
fn check_place(
    release: &Release,
    repository: &Repository,
    reference: &ManifestReference,
) -> Result<(), String> {
    let own = format!("{}/release", release.platform);
    let path = repository.as_str();
    if path != own && !path.ends_with(&format!("/{own}")) {
        return Err(format!(
            "it is a release of the platform `{}`, not of the one that this repository is for",
            release.platform
        ));
    }
    match reference {
        ManifestReference::Tag(tag)
            if tag.as_str().parse::<Channel>().is_err() && tag.as_str() != release.version =>
        {
            Err(format!("it is the release `{}`, under the tag `{tag}`", release.version))
        }
        _ => Ok(()),
    }
}
