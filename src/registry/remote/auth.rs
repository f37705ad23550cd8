//! Signing in to a registry: basic or by token (Distribution's token specification).
//!
//! `oci-client` would fetch tokens itself, but it follows any realm, swallows errors and reads without
//! a bound; it gets its tokens from here. A password goes to the registry's own host or to a realm over
//! TLS, nowhere else, and no redirect is followed with it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::challenge::{Challenge, strongest};
use super::credentials::Credentials;
use super::http::{Http, Wire, is_loopback, without_query};
use super::retry::Trouble;
use crate::domain::image::Repository;
use crate::registry::StoreError;

const MAX_TOKEN_BYTES: u64 = 64 * 1024;
/// What the specification assumes where the server does not say how long a token lives.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Pull,
    Push,
}

/// What a request may carry.
#[derive(Clone)]
pub(super) enum Grant {
    Nothing,
    Basic(Credentials),
    Bearer(String),
}

impl Grant {
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::Nothing => return None,
            Self::Basic(Credentials { user, password }) => {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                format!("Basic {pair}")
            }
            Self::Bearer(token) => format!("Bearer {token}"),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Credentials for one registry and the tokens that were got with them.
pub(super) struct Auth {
    credentials: Option<Credentials>,
    auth_file: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Option<Challenge>>,
    tokens: HashMap<(Repository, Access), (String, Instant)>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Auth {
    pub(super) fn password(&self) -> Option<&str> {
        self.credentials.as_ref().map(|known| known.password.as_str())
    }

    pub(super) fn new(credentials: Option<Credentials>, auth_file: Option<PathBuf>) -> Self {
        Self { credentials, auth_file, state: Mutex::default() }
    }

    /// Returns what a request to `repository` carries, asking the registry and its realm where needed.
    pub(super) async fn grant(
        &self,
        http: &Http,
        repository: &Repository,
        access: Access,
        number: u32,
    ) -> Result<Grant, Trouble> {
        let mut state = self.state.lock().await;
        let challenge = match &state.challenge {
            Some(challenge) => challenge.clone(),
            None => {
                let challenge = self.challenge(http, number).await?;
                state.challenge.insert(challenge).clone()
            }
        };
        let (realm, service) = match challenge {
            None => return Ok(Grant::Nothing),
            Some(Challenge::Basic) => {
                return Ok(self.credentials.clone().map_or(Grant::Nothing, Grant::Basic));
            }
            Some(Challenge::Bearer { realm, service }) => (realm, service),
        };
        let key = (repository.clone(), access);
        if let Some((token, until)) = state.tokens.get(&key)
            && Instant::now() < *until
        {
            return Ok(Grant::Bearer(token.clone()));
        }
        let (token, life) =
            self.token(http, repository, access, (&realm, service.as_deref()), number).await?;
        state.tokens.insert(key, (token.clone(), Instant::now() + life));
        Ok(Grant::Bearer(token))
    }

    /// Returns the trouble of an answer 401 or 403: once a token may have run out, twice it is refused.
    pub(super) async fn refused(
        &self,
        http: &Http,
        repository: &Repository,
        access: Access,
        number: u32,
    ) -> Trouble {
        let error = self.unauthorized(http, repository);
        let forgotten = self.state.lock().await.tokens.remove(&(repository.clone(), access)).is_some();
        if forgotten && number == 1 {
            Trouble::Passing { error, pause: Some(Duration::ZERO) }
        } else {
            Trouble::Final(error)
        }
    }

    fn unauthorized(&self, http: &Http, repository: &Repository) -> StoreError {
        StoreError::Unauthorized {
            place: http.place.clone(),
            repository: repository.to_string(),
            auth_file: self.auth_file.clone(),
        }
    }

    async fn challenge(&self, http: &Http, number: u32) -> Result<Option<Challenge>, Trouble> {
        let (status, headers, _) = http.once(http.root(), None, MAX_TOKEN_BYTES, number).await?;
        if status != 401 {
            return Ok(None);
        }
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        match strongest(values) {
            Some(challenge) => Ok(Some(challenge)),
            None => Err(Trouble::Final(StoreError::Malformed {
                place: http.place.clone(),
                what: "it answers 401 and asks for neither `Basic` nor `Bearer`".to_owned(),
                expected: "a challenge for a user name or a token",
            })),
        }
    }

    async fn token(
        &self,
        http: &Http,
        repository: &Repository,
        access: Access,
        (realm, service): (&str, Option<&str>),
        number: u32,
    ) -> Result<(String, Duration), Trouble> {
        let mut url = allowed_realm(http, realm)?;
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        url.query_pairs_mut()
            .extend_pairs(service.map(|service| ("service", service)))
            .append_pair("scope", &format!("repository:{repository}:{actions}"));
        let basic = self.credentials.as_ref().map(|known| (known.user.as_str(), known.password.as_str()));
        let shown = without_query(&url);
        let (status, _, body) = http.once(url, basic, MAX_TOKEN_BYTES, number).await?;
        let malformed = |what: String| {
            Trouble::Final(StoreError::Malformed { place: http.place.clone(), what, expected: "a token" })
        };
        match status {
            200 => {}
            400 | 401 | 403 => return Err(self.unauthorized(http, repository).into()),
            _ => return Err(malformed(format!("its token server `{shown}` answered {status}"))),
        }
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| {
            malformed(format!("its token server `{shown}` answered other than a token in JSON"))
        })?;
        let token = answer
            .token
            .or(answer.access_token)
            .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        let Some(token) = token else {
            return Err(malformed(format!(
                "its token server `{shown}` answered a token that is empty or not ASCII"
            )));
        };
        let life = answer.expires_in.map_or(TOKEN_LIFE, Duration::from_secs).min(LONGEST_TOKEN_LIFE);
        // Renewed early, so that it does not run out on its way.
        Ok((token, life - life / 5))
    }
}

/// Returns the realm's URL if a password may be sent there.
fn allowed_realm(http: &Http, realm: &str) -> Result<Url, StoreError> {
    let refused = |what: String| StoreError::Malformed {
        place: http.place.clone(),
        what,
        expected: "a token server that may be given credentials",
    };
    let url = Url::parse(realm).map_err(|_| refused("the realm is not a URL".to_owned()))?;
    let shown = without_query(&url);
    let encrypted = url.scheme() == "https";
    let at_home = url.scheme() == "http" && http.wire == Wire::PlainLoopback && is_loopback(&url);
    if !(encrypted || at_home) {
        return Err(refused(format!("`{shown}` is not encrypted")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(format!("`{shown}` carries a user name of its own")));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::super::retry::RetryPolicy;
    use super::*;

    fn allowed(wire: Wire, realm: &str) -> bool {
        let host = "127.0.0.1:5000".parse().unwrap();
        let http = Http::new(&host, wire, Some(&[]), RetryPolicy::default()).unwrap();
        allowed_realm(&http, realm).is_ok()
    }

    #[test]
    fn a_password_goes_only_where_it_is_encrypted_or_stays_on_this_machine() {
        for wire in [Wire::Tls, Wire::PlainLoopback] {
            assert!(allowed(wire, "https://gitlab.example.internal/jwt/auth"));
            assert!(!allowed(wire, "http://gitlab.example.internal/jwt/auth"));
            assert!(!allowed(wire, "http://127.0.0.1.example.internal/"));
            assert!(!allowed(wire, "https://user:password@gitlab.example.internal/"));
            assert!(!allowed(wire, "ftp://127.0.0.1/"));
            assert!(!allowed(wire, "/token"));
        }
        assert!(allowed(Wire::PlainLoopback, "http://localhost:8080/token"));
        assert!(!allowed(Wire::Tls, "http://localhost:8080/token"));
    }
}
