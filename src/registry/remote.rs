//! A remote registry (OCI distribution specification 1.1), spoken to through `oci-client` and, for what
//! must be bounded, `reqwest`.
//!
//! TLS always, except to this machine's own loopback where no CA is named. Nothing is sent to a host
//! that the settings do not name but the token server the registry asks for, over TLS.

mod auth;
mod challenge;
pub mod credentials;
mod http;
mod listing;
mod push;
mod retry;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::http::header::CONTENT_TYPE;
use async_trait::async_trait;
use bytes::Bytes;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use serde_json::Value;

use self::auth::Auth;
use self::http::{Http, Question, Wire};
pub use self::retry::RetryPolicy;
use super::{
    BlobContent, Descriptor, ImageStore, MAX_MANIFEST_BYTES, ManifestReference, StoreError, StoredManifest,
    checked_manifest, referrers,
};
use crate::domain::digest::Digest;
use crate::domain::image::{RegistryHost, Repository, Tag};

const MAX_CA_BYTES: u64 = 1024 * 1024;
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// How often the list of referrers is written again when somebody else writes it too.
const FALLBACK_WRITES: u32 = 3;

/// Which registry, whom it must be certified by, and who we are there.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// The registry's host and port.
    pub host: RegistryHost,
    /// PEM file of the only authorities that may certify it; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// Credentials in the form of Docker's `config.json`, mode 0600.
    pub auth_file: Option<PathBuf>,
    /// How patiently it is asked.
    pub retry: RetryPolicy,
}

/// One remote registry.
pub struct RemoteRegistry {
    http: Http,
    auth: Auth,
    client: oci_client::Client,
}

impl RemoteRegistry {
    /// Reads the files that the settings name; the registry itself is not asked yet.
    pub fn connect(settings: RemoteSettings) -> Result<Self, StoreError> {
        let RemoteSettings { host, ca, auth_file, retry } = settings;
        let wire = match &ca {
            None if host.is_loopback() => Wire::PlainLoopback,
            _ => Wire::Tls,
        };
        let roots = ca.map(read_ca).transpose()?;
        let credentials = auth_file.as_deref().map(|path| credentials::read(path, &host)).transpose()?;
        let client = oci_client(&host, wire, roots.as_ref().map(|(pem, _)| pem), &retry)?;
        let certificates = roots.as_ref().map(|(_, certificates)| certificates.as_slice());
        let http = Http::new(&host, wire, certificates, retry)?;
        Ok(Self { http, auth: Auth::new(credentials, auth_file), client })
    }

    /// Returns the password, for those who must keep it out of what they write.
    pub fn password(&self) -> Option<&str> {
        self.auth.password()
    }
}

/// Returns the certificates of a PEM file, as they are and parsed.
fn read_ca(path: PathBuf) -> Result<(Vec<Certificate>, Vec<reqwest::Certificate>), StoreError> {
    use std::io::Read;

    let shown = path.display();
    let failed = |source| StoreError::SettingsFile { what: format!("read the CA file `{shown}`"), source };
    let mut text = Vec::new();
    let file = std::fs::File::open(&path).map_err(failed)?;
    file.take(MAX_CA_BYTES).read_to_end(&mut text).map_err(failed)?;
    let no_certificate =
        || StoreError::Settings { what: format!("the CA file `{shown}` has no certificate in PEM form") };
    let blocks = pem::parse_many(&text).map_err(|_| no_certificate())?;
    let mut both = (Vec::new(), Vec::new());
    for block in blocks.iter().filter(|block| block.tag() == "CERTIFICATE") {
        let certificate = reqwest::Certificate::from_der(block.contents()).map_err(|_| no_certificate())?;
        let data = block.contents().to_vec();
        both.0.push(Certificate { encoding: CertificateEncoding::Der, data });
        both.1.push(certificate);
    }
    if both.0.is_empty() { Err(no_certificate()) } else { Ok(both) }
}

fn oci_client(
    host: &RegistryHost,
    wire: Wire,
    roots: Option<&Vec<Certificate>>,
    policy: &RetryPolicy,
) -> Result<oci_client::Client, StoreError> {
    // A proxy named in the environment must not see what is said on loopback; the client has no switch
    // for that, but proxies of its own (here: none that answers) take the environment's place.
    let off = (wire == Wire::PlainLoopback).then(|| "http://127.0.0.1:9".to_owned());
    let config = ClientConfig {
        protocol: match wire {
            Wire::Tls => ClientProtocol::Https,
            Wire::PlainLoopback => ClientProtocol::Http,
        },
        use_monolithic_push: true,
        tls_certs_only: roots.cloned().unwrap_or_default(),
        connect_timeout: Some(policy.silence.min(Duration::from_secs(10))),
        no_proxy: off.is_some().then(|| "localhost,127.0.0.0/8,::1".to_owned()),
        http_proxy: off.clone(),
        https_proxy: off,
        user_agent: concat!("airlock/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    oci_client::Client::try_from(config).map_err(|error| StoreError::Settings {
        what: format!("cannot make a client for the registry `{host}`: {}", http::deepest(&error)),
    })
}

#[async_trait]
impl ImageStore for RemoteRegistry {
    fn place(&self) -> String {
        self.http.place.clone()
    }

    fn docker_reference(&self, repository: &Repository) -> String {
        format!("{}/{repository}", self.http.place)
    }

    async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, StoreError> {
        self.find_blob(repository, digest).await
    }

    async fn put_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        content: BlobContent,
    ) -> Result<(), StoreError> {
        if self.find_blob(repository, digest).await? {
            return Ok(());
        }
        self.send_blob(repository, digest, size, &content).await
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let what = format!("{repository}@{digest}");
        let url = self.http.url(repository, &format!("blobs/{digest}"));
        let question = Question { repository, url, accept: None, limit, what: &what };
        let answer = self.http.get(&self.auth, &question).await?;
        if !answer.found {
            return Ok(None);
        }
        self.same(digest, &answer.body, what)?;
        Ok(Some(answer.body))
    }

    async fn blob_to_file(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        path: &Path,
    ) -> Result<bool, StoreError> {
        let what = format!("{repository}@{digest}");
        let url = self.http.url(repository, &format!("blobs/{digest}"));
        let question = Question { repository, url, accept: None, limit: size, what: &what };
        let outcome = self.http.download(&self.auth, &question, path).await.and_then(|found| match found {
            None => Ok(false),
            Some(found) if found == *digest => Ok(true),
            Some(found) => {
                let (place, expected) = (self.place(), digest.clone());
                Err(StoreError::WrongDigest { place, what: what.clone(), expected, found })
            }
        });
        if !matches!(outcome, Ok(true)) {
            let _ = tokio::fs::remove_file(path).await;
        }
        outcome
    }

    async fn manifest(
        &self,
        repository: &Repository,
        reference: &ManifestReference,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let (name, what) = match reference {
            ManifestReference::Tag(tag) => (tag.to_string(), format!("{repository}:{tag}")),
            ManifestReference::Digest(digest) => (digest.to_string(), format!("{repository}@{digest}")),
        };
        let url = self.http.url(repository, &format!("manifests/{name}"));
        let limit = MAX_MANIFEST_BYTES;
        let question = Question { repository, url, accept: Some(ACCEPTED), limit, what: &what };
        let answer = self.http.get(&self.auth, &question).await?;
        if !answer.found {
            return Ok(None);
        }
        let bytes = answer.body;
        if let ManifestReference::Digest(digest) = reference {
            self.same(digest, &bytes, what.clone())?;
        }
        let header = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type(header, &bytes).ok_or_else(|| StoreError::Malformed {
            place: self.place(),
            what: format!("`{what}`"),
            expected: "a manifest whose media type is the same in the answer's header and in itself",
        })?;
        Ok(Some(StoredManifest { media_type, digest: Digest::of(&bytes), bytes }))
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        media_type: &str,
        bytes: Bytes,
        tag: Option<&Tag>,
    ) -> Result<Digest, StoreError> {
        let manifest = checked_manifest(media_type, &bytes)?;
        self.send_manifest(repository, &manifest, &bytes, tag).await?;
        Ok(manifest.digest)
    }

    async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        limit: usize,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let mut all = self.referrers_by_api(repository, subject, limit).await?.unwrap_or_default();
        // Also where the API answers: a registry that learned it later may not know the older ones.
        if all.len() < limit {
            let tag = ManifestReference::Tag(referrers::fallback_tag(subject));
            let index = self.manifest(repository, &tag).await?;
            all.extend(index.and_then(|index| referrers::entries(&index.bytes)).unwrap_or_default());
        }
        Ok(referrers::descriptors(all, limit))
    }

    async fn put_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, StoreError> {
        let manifest = checked_manifest(media_type, &bytes)?;
        let descriptor = referrers::descriptor_of(media_type, &bytes, subject)?;
        self.send_manifest(repository, &manifest, &bytes, None).await?;
        if self.api_lists(repository, subject, &descriptor.digest).await? {
            return Ok(descriptor.digest);
        }
        let tag = referrers::fallback_tag(subject);
        let reference = ManifestReference::Tag(tag.clone());
        for _ in 0..FALLBACK_WRITES {
            let present = self.manifest(repository, &reference).await?;
            let old = present.as_ref().map(|manifest| manifest.bytes.as_ref());
            let Some(index) = referrers::with_entry(old, &descriptor) else {
                return Ok(descriptor.digest);
            };
            let entry = checked_manifest(referrers::INDEX, &index)?;
            self.send_manifest(repository, &entry, &index, Some(&tag)).await?;
            // Whoever wrote between our read and our write lost an entry, or took ours: the next round
            // reads the list again and finds ours in it, or adds it.
        }
        let present = self.manifest(repository, &reference).await?;
        let old = present.as_ref().map(|manifest| manifest.bytes.as_ref());
        match referrers::with_entry(old, &descriptor) {
            None => Ok(descriptor.digest),
            Some(_) => Err(StoreError::Malformed {
                place: self.place(),
                what: format!("`{repository}:{tag}` loses the entry {}", descriptor.digest),
                expected: "a list of referrers that keeps what is written",
            }),
        }
    }

    async fn tags(&self, repository: &Repository, limit: usize) -> Result<Vec<Tag>, StoreError> {
        self.list_tags(repository, limit).await
    }
}

impl RemoteRegistry {
    fn same(&self, expected: &Digest, bytes: &[u8], what: String) -> Result<(), StoreError> {
        let found = Digest::of(bytes);
        if found == *expected {
            return Ok(());
        }
        Err(StoreError::WrongDigest { place: self.place(), what, expected: expected.clone(), found })
    }
}

/// Returns the media type that header and content agree on: two readings of one digest are an attack
/// (CVE-2021-41190).
fn media_type(header: Option<&str>, bytes: &[u8]) -> Option<String> {
    let header = header.map(|value| value.split(';').next().unwrap_or(value).trim());
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let inside = document.as_object()?.get("mediaType").and_then(Value::as_str);
    match (header, inside) {
        (Some(header), Some(inside)) => (header == inside).then(|| inside.to_owned()),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}
