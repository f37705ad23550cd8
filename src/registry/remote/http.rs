//! What is read from a registry: bounded bytes, bounded time, credentials to its own host alone.
//!
//! `oci-client` reads manifests, lists and error bodies without a bound and hides status codes and
//! `Link`, so reads are made here; what is sent goes through it (`push.rs`).

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use url::Url;

use super::auth::{Access, Auth};
use super::retry::{RetryPolicy, Trouble, is_passing};
use crate::domain::digest::Digest;
use crate::domain::image::{RegistryHost, Repository};
use crate::registry::StoreError;

/// How much of an error's body is kept for the person who reads it.
const MAX_ERROR_BYTES: u64 = 16 * 1024;
const MAX_REDIRECTS: usize = 5;

/// Whether the connection is encrypted; plain text never leaves this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Tls,
    PlainLoopback,
}

/// A client for one registry.
pub(super) struct Http {
    client: reqwest::Client,
    /// Follows nothing: where a password is sent is decided before it is sent.
    strict: reqwest::Client,
    base: Url,
    pub(super) wire: Wire,
    pub(super) place: String,
    pub(super) policy: RetryPolicy,
}

/// An answer of status 200, or 404 without a body.
pub(super) struct Answer {
    pub(super) found: bool,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What to ask for.
pub(super) struct Question<'a> {
    pub(super) repository: &'a Repository,
    pub(super) url: Url,
    pub(super) accept: Option<&'a str>,
    /// The most bytes that are read.
    pub(super) limit: u64,
    /// The thing's name in texts.
    pub(super) what: &'a str,
}

impl Http {
    pub(super) fn new(
        host: &RegistryHost,
        wire: Wire,
        roots: Option<&[reqwest::Certificate]>,
        policy: RetryPolicy,
    ) -> Result<Self, StoreError> {
        let settings = |error: &dyn std::fmt::Display| StoreError::Settings {
            what: format!("cannot make a client for the registry `{host}`: {error}"),
        };
        let builder = |redirects: Policy| {
            let mut builder = reqwest::Client::builder()
                .user_agent(concat!("airlock/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(policy.silence.min(Duration::from_secs(10)))
                .read_timeout(policy.silence)
                .retry(reqwest::retry::never())
                .redirect(redirects);
            builder = match (wire, roots) {
                // A proxy named in the environment must not see what is said on loopback.
                (Wire::PlainLoopback, _) => builder.no_proxy().tls_certs_only([]),
                (Wire::Tls, Some(roots)) => builder.https_only(true).tls_certs_only(roots.iter().cloned()),
                (Wire::Tls, None) => builder.https_only(true),
            };
            builder.build().map_err(|error| settings(&deepest(&error)))
        };
        let scheme = match wire {
            Wire::Tls => "https",
            Wire::PlainLoopback => "http",
        };
        let base = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|error| settings(&error))?;
        Ok(Self {
            client: builder(Policy::custom(move |attempt| redirect(attempt, wire)))?,
            strict: builder(Policy::none())?,
            base,
            wire,
            place: host.to_string(),
            policy,
        })
    }

    /// Returns the URL of `rest` below `/v2/<repository>/`; the types allow no character that needs care.
    pub(super) fn url(&self, repository: &Repository, rest: &str) -> Url {
        self.base.join(&format!("{repository}/{rest}")).expect("repositories and references are URL paths")
    }

    /// Returns `/v2/`, which every registry answers and which says how to sign in.
    pub(super) fn root(&self) -> Url {
        self.base.clone()
    }

    /// Returns whether `url` is this registry's own.
    pub(super) fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin() && url.path().starts_with(self.base.path())
    }

    /// Asks for something bounded, as often as the policy allows.
    pub(super) async fn get(&self, auth: &Auth, question: &Question<'_>) -> Result<Answer, StoreError> {
        self.policy.run(&self.place, question.limit, |number| self.attempt(auth, question, number)).await
    }

    /// Fetches something bounded into a file, whose content is digested on the way; `None` when it is absent.
    pub(super) async fn download(
        &self,
        auth: &Auth,
        question: &Question<'_>,
        path: &Path,
    ) -> Result<Option<Digest>, StoreError> {
        let attempt = |number| async move {
            match self.ask(auth, question, number).await?.1 {
                Some(response) => self.body_to_file(response, question, path, number).await.map(Some),
                None => Ok(None),
            }
        };
        self.policy.run(&self.place, question.limit, attempt).await
    }

    async fn attempt(&self, auth: &Auth, question: &Question<'_>, number: u32) -> Result<Answer, Trouble> {
        let ((url, headers), response) = self.ask(auth, question, number).await?;
        match response {
            Some(response) => {
                let body = self.body(response, question.limit, question.what, number).await?;
                Ok(Answer { found: true, url, headers, body })
            }
            None => Ok(Answer { found: false, url, headers, body: Bytes::new() }),
        }
    }

    /// Sends the question once; the response is there for a 200 and absent for a 404.
    async fn ask(
        &self,
        auth: &Auth,
        question: &Question<'_>,
        number: u32,
    ) -> Result<((Url, HeaderMap), Option<reqwest::Response>), Trouble> {
        let grant = auth.grant(self, question.repository, Access::Pull, number).await?;
        let mut request = self.client.get(question.url.clone());
        if let Some(accept) = question.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(header) = grant.header() {
            request = request.header(AUTHORIZATION, header);
        }
        let response = request.send().await.map_err(|error| self.broken(error, number))?;
        let (url, headers) = (response.url().clone(), response.headers().clone());
        match response.status().as_u16() {
            200 => Ok(((url, headers), Some(response))),
            404 => Ok(((url, headers), None)),
            401 | 403 => Err(auth.refused(self, question.repository, Access::Pull, number).await),
            status => {
                let body = self.error_body(response).await;
                Err(self.answered(status, &headers, format!("a request for `{}`", question.what), body))
            }
        }
    }

    async fn body_to_file(
        &self,
        mut response: reqwest::Response,
        question: &Question<'_>,
        path: &Path,
        number: u32,
    ) -> Result<Digest, Trouble> {
        let limit = question.limit;
        let io = |source| StoreError::Io { what: format!("write `{}`", path.display()), source };
        // What an attempt before this one left is written over.
        let mut file = tokio::fs::File::create(path).await.map_err(io)?;
        let (mut hasher, mut length) = (Sha256::new(), 0);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error, number))? {
            length += chunk.len() as u64;
            if length > limit {
                let (place, what) = (self.place.clone(), question.what.to_owned());
                return Err(StoreError::TooLarge { place, what, limit }.into());
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(io)?;
        }
        file.flush().await.map_err(io)?;
        Ok(Digest::from_sha256(hasher.finalize().into()))
    }

    /// Sends one request that follows no redirect and returns status, headers and a bounded body; `basic`
    /// goes to exactly this URL.
    pub(super) async fn once(
        &self,
        url: Url,
        basic: Option<(&str, &str)>,
        limit: u64,
        number: u32,
    ) -> Result<(u16, HeaderMap, Bytes), Trouble> {
        let what = url.host_str().unwrap_or("a host without name").to_owned();
        let mut request = self.strict.get(url);
        if let Some((user, password)) = basic {
            request = request.basic_auth(user, Some(password));
        }
        let response = request.send().await.map_err(|error| self.broken(error, number))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if is_passing(status) {
            let body = self.error_body(response).await;
            return Err(self.answered(status, &headers, "the sign-in".to_owned(), body));
        }
        let body = self.body(response, limit, &what, number).await?;
        Ok((status, headers, body))
    }

    async fn body(
        &self,
        mut response: reqwest::Response,
        limit: u64,
        what: &str,
        number: u32,
    ) -> Result<Bytes, Trouble> {
        let too_large = || StoreError::TooLarge { place: self.place.clone(), what: what.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error, number))? {
            if body.len() as u64 + chunk.len() as u64 > limit {
                return Err(too_large().into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Reads what the registry says about an error, as far as it is short.
    async fn error_body(&self, mut response: reqwest::Response) -> Bytes {
        let mut body = BytesMut::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > MAX_ERROR_BYTES {
                break;
            }
        }
        body.freeze()
    }

    /// Returns the trouble of a request that got no whole answer.
    pub(super) fn broken(&self, error: reqwest::Error, number: u32) -> Trouble {
        let source = deepest(&error);
        let place = self.place.clone();
        // A certificate does not get better by asking again, and a redirect was refused on purpose.
        if source.contains("certificate") || error.is_redirect() {
            return Trouble::Final(StoreError::Unsafe { place, source: source.into() });
        }
        let error = StoreError::Unreachable { place, attempts: number, source: source.into() };
        Trouble::Passing { error, pause: None }
    }

    /// Returns the trouble of an answer that is not the one that was wanted.
    pub(super) fn answered(&self, status: u16, headers: &HeaderMap, what: String, body: Bytes) -> Trouble {
        let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = shown(&body);
        if is_full(status, &body) {
            let what = format!("it answered {status} to {what}");
            return Trouble::Final(StoreError::NoRoom { place: self.place.clone(), what });
        }
        let error = StoreError::Answered { place: self.place.clone(), what, status, body };
        if is_passing(status) {
            Trouble::Passing { error, pause: seconds.map(Duration::from_secs) }
        } else {
            Trouble::Final(error)
        }
    }
}

/// Registries say "no room" in several ways: by status, by the operating system's words, or (Distribution)
/// by the number of its error in the detail.
fn is_full(status: u16, body: &str) -> bool {
    matches!(status, 413 | 507)
        || (status >= 500 && (body.contains("no space left on device") || body.contains("\"Err\":28")))
        || (matches!(status, 403 | 412) && body.contains("quota") && body.contains("exceed"))
}

fn redirect(attempt: Attempt, wire: Wire) -> reqwest::redirect::Action {
    let inside = match wire {
        Wire::Tls => attempt.url().scheme() == "https",
        Wire::PlainLoopback => is_loopback(attempt.url()) || attempt.url().scheme() == "https",
    };
    if !inside {
        let error = format!("redirected to `{}`, which is not encrypted", without_query(attempt.url()));
        attempt.error(error)
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error(format!("redirected more than {MAX_REDIRECTS} times"))
    } else {
        // reqwest takes the authorization away when scheme, host or port change.
        attempt.follow()
    }
}

/// Returns whether the URL's host is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Returns the URL without what may be a secret in it.
pub(super) fn without_query(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// Returns the innermost reason: reqwest's outer texts repeat the URL, whose query may be signed.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    if text.starts_with("invalid peer certificate") {
        return format!("its certificate is not accepted: {text}");
    }
    text
}

/// Returns what a person may read of an error body: the registry's own message where there is one.
pub(super) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect::<String>().trim().to_owned()
}
