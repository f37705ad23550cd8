//! Credentials from a file in the form of Docker's `config.json`, for exactly one registry host.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use docker_credential::DockerCredential;
use serde_json::Value;

use crate::domain::image::RegistryHost;
use crate::registry::StoreError;

const MAX_BYTES: u64 = 64 * 1024;

/// A user name and a password.
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// Reads the credentials for `host`; a file that has none for it is an error, because a job that runs
/// without them fails later and says less.
pub fn read(path: &Path, host: &RegistryHost) -> Result<Credentials, StoreError> {
    let shown = path.display();
    let refused =
        |why: String| StoreError::Settings { what: format!("the credentials file `{shown}` {why}") };
    let failed =
        |source| StoreError::SettingsFile { what: format!("read the credentials file `{shown}`"), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(refused(format!("may be read by others: expected mode 600, found {mode:o}")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refused(format!("is larger than {MAX_BYTES} bytes")));
    }
    parse(&bytes, host).map_err(refused)
}

fn parse(bytes: &[u8], host: &RegistryHost) -> Result<Credentials, String> {
    let document: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("is not JSON: line {}, column {}", error.line(), error.column()))?;
    // A helper is another program with our credentials in its hands, found by PATH.
    if let Some(key) = ["credsStore", "credHelpers"].iter().find(|key| document.get(**key).is_some()) {
        return Err(format!("names a credential helper (`{key}`); write `auth` for `{host}` instead"));
    }
    // The parser below also matches URLs and other spellings of a host; one host has one spelling here.
    if document.get("auths").and_then(|auths| auths.get(host.as_str())).is_none() {
        return Err(format!("has no entry for `{host}` under `auths`"));
    }
    match docker_credential::get_credential_from_reader(bytes, host.as_str()) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Credentials { user, password }),
        Ok(DockerCredential::IdentityToken(_)) => {
            Err(format!("has an identity token for `{host}`; expected a user name and a password"))
        }
        Err(error) => Err(format!("has no usable entry for `{host}`: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn host() -> RegistryHost {
        "registry.example.internal:5000".parse().unwrap()
    }

    fn parsed(document: &Value) -> Result<(String, String), String> {
        parse(document.to_string().as_bytes(), &host()).map(|found| (found.user, found.password))
    }

    #[test]
    fn reads_the_entry_of_exactly_this_host() {
        let auth = base64::engine::general_purpose::STANDARD.encode("airlock:a:b");
        let document = json!({ "auths": { "registry.example.internal:5000": { "auth": auth } } });
        assert_eq!(parsed(&document), Ok(("airlock".to_owned(), "a:b".to_owned())));
    }

    #[test]
    fn says_what_is_wrong_with_the_file() {
        let entry = |host: &str, entry: Value| json!({ "auths": { host: entry } });
        let here = "registry.example.internal:5000";
        let cases = [
            entry("https://registry.example.internal:5000/v1/", json!({ "auth": "YTpi" })),
            entry("registry.example.internal", json!({ "auth": "YTpi" })),
            entry(here, json!({ "auth": "!" })),
            entry(here, json!({})),
            entry(here, json!({ "identitytoken": "abc" })),
            json!({ "credsStore": "secretservice", "auths": { here: { "auth": "YTpi" } } }),
            json!({ "credHelpers": { here: "ecr-login" } }),
            json!(7),
        ];
        let said: Vec<_> = cases.iter().map(|case| parsed(case).unwrap_err()).collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn refuses_a_file_that_others_may_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(file.path(), &host()).err().unwrap();
        let text = crate::failure::Failure::from(error).to_string();
        insta::assert_snapshot!(text.replace(&file.path().display().to_string(), "[path]"));
    }

    proptest! {
        #[test]
        fn never_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, &host());
        }

        #[test]
        fn any_user_and_password_survive(user in "[a-z]{1,8}", password in "[ -~]{0,20}") {
            let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let document = json!({ "auths": { "registry.example.internal:5000": { "auth": auth } } });
            prop_assert_eq!(parsed(&document), Ok((user, password)));
        }
    }
}
