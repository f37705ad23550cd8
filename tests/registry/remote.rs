//! Retries, sign-in and the words for what goes wrong.

use std::path::PathBuf;
use std::time::Instant;

use airlock::domain::digest::Digest;
use airlock::registry::remote::{RemoteRegistry, RemoteSettings};
use airlock::registry::{BlobContent, ImageStore, ManifestReference, StoreError};
use base64::Engine as _;
use bytes::Bytes;

use super::faulty_registry::{Answer, FaultyRegistry};
use super::registry_fixture::{Kind, Registry};
use super::{MANIFEST, hasty, image, plain, repository, secured, told};

fn small() -> (Digest, u64, BlobContent) {
    let bytes = Bytes::from_static(b"{}");
    (Digest::of(&bytes), 2, BlobContent::Bytes(bytes))
}

fn settings(host: &str) -> RemoteSettings {
    RemoteSettings { host: host.parse().unwrap(), ca: None, auth_file: None, retry: hasty() }
}

fn auth_file(directory: &tempfile::TempDir, host: &str, user: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.path().join("auth.json");
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:password"));
    std::fs::write(&path, format!(r#"{{"auths":{{"{host}":{{"auth":"{pair}"}}}}}}"#)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test]
async fn goes_on_after_three_answers_500() {
    let real = Registry::start(Kind::PlainOpen);
    let faulty = FaultyRegistry::start(Some(&real.host), |request, seen| {
        // Each upload has a URL of its own, so its last request would never be the fourth one.
        if request.target != "/v2/" && !request.target.contains("_state=") && seen < 3 {
            Answer::Reply(500, vec![], b"tired".to_vec())
        } else {
            Answer::Forward
        }
    });
    let (store, x) = (plain(&faulty.host), repository("acme/x"));
    let (digest, size, content) = small();
    store.put_blob(&x, &digest, size, content).await.unwrap();
    let manifest = image("a");
    store.put_manifest(&x, MANIFEST, manifest.clone(), Some(&"t".parse().unwrap())).await.unwrap();
    let found = store.manifest(&x, &ManifestReference::Tag("t".parse().unwrap())).await.unwrap().unwrap();
    assert_eq!(found.bytes, manifest);
    assert_eq!(faulty.count("GET", "/manifests/t"), 4);
    assert_eq!(faulty.count("PUT", "/manifests/t"), 4);
    assert_eq!(faulty.count("HEAD", "/blobs/"), 4);
}

#[tokio::test]
async fn gives_up_after_four_answers_503() {
    let faulty = FaultyRegistry::start(None, |request, _| match request.target.as_str() {
        "/v2/" => Answer::Reply(200, vec![], vec![]),
        _ => {
            Answer::Reply(503, vec![("Retry-After", "86400".to_owned())], b"\x1b[31mdown for today".to_vec())
        }
    });
    let store = plain(&faulty.host);
    let start = Instant::now();
    let error = store.blob(&repository("acme/x"), &Digest::of(b""), 10).await.unwrap_err();
    assert!(start.elapsed().as_secs() < 5);
    assert_eq!(faulty.count("GET", "/blobs/"), 4);
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
    store.has_blob(&repository("acme/x"), &Digest::of(b"")).await.unwrap_err();
    assert_eq!(faulty.count("HEAD", "/blobs/"), 4);
}

#[tokio::test]
async fn does_not_repeat_what_will_not_change() {
    let faulty = FaultyRegistry::start(None, |request, _| match request.target.as_str() {
        "/v2/" => Answer::Reply(200, vec![], vec![]),
        _ => Answer::Reply(418, vec![], b"a teapot".to_vec()),
    });
    let error = plain(&faulty.host).blob(&repository("acme/x"), &Digest::of(b""), 10).await.unwrap_err();
    assert_eq!(faulty.count("GET", "/blobs/"), 1);
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
}

#[tokio::test]
async fn says_that_nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = plain(&host).has_blob(&repository("acme/x"), &Digest::of(b"")).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&host, "[host]")]));
}

#[tokio::test]
async fn says_that_the_registry_hangs_up() {
    let faulty = FaultyRegistry::start(None, |_, _| Answer::HangUp);
    let error = plain(&faulty.host).tags(&repository("acme/x"), 5).await.unwrap_err();
    assert_eq!(faulty.requests().len(), 4);
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
}

#[tokio::test]
async fn says_which_credentials_are_refused() {
    let registry = Registry::start(Kind::TlsWithPassword);
    let directory = tempfile::tempdir().unwrap();
    let file = auth_file(&directory, &registry.host, "somebody-else");
    let with = |auth_file| {
        let settings = RemoteSettings { ca: registry.ca.clone(), auth_file, ..settings(&registry.host) };
        RemoteRegistry::connect(settings).unwrap()
    };
    let names = [(registry.host.as_str(), "[host]"), (file.to_str().unwrap(), "[auth_file]")];
    let (digest, size, content) = small();
    let x = repository("acme/x");
    let mut said = Vec::new();
    for store in [with(Some(file.clone())), with(None)] {
        said.push(told(store.put_blob(&x, &digest, size, content.clone()).await.unwrap_err(), &names));
        said.push(told(store.blob(&x, &digest, size).await.unwrap_err(), &names));
    }
    assert_eq!((&said[0], &said[2]), (&said[1], &said[3]));
    insta::assert_snapshot!(format!("{}\n\n{}", said[0], said[2]));
}

#[tokio::test]
async fn does_not_speak_to_a_registry_of_an_unknown_authority() {
    let registry = Registry::start(Kind::TlsWithPassword);
    let stranger = Registry::start(Kind::TlsWithPassword);
    let settings = RemoteSettings { ca: stranger.ca.clone(), ..settings(&registry.host) };
    let store = RemoteRegistry::connect(settings).unwrap();
    let error = store.has_blob(&repository("acme/x"), &Digest::of(b"")).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&registry.host, "[host]")]));
}

#[tokio::test]
async fn speaks_tls_on_loopback_too_where_a_ca_is_named() {
    let other = Registry::start(Kind::TlsWithPassword);
    let faulty = FaultyRegistry::start(None, |_, _| Answer::Reply(200, vec![], vec![]));
    let settings = RemoteSettings { ca: other.ca.clone(), ..settings(&faulty.host) };
    let store = RemoteRegistry::connect(settings).unwrap();
    assert!(store.has_blob(&repository("acme/x"), &Digest::of(b"")).await.is_err());
    assert!(faulty.requests().is_empty());
}

#[tokio::test]
async fn says_what_is_wrong_with_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let auth = auth_file(&directory, "another.example", "a");
    let shown = directory.path().display().to_string();
    let mut said = Vec::new();
    for (ca, auth_file) in [
        (Some(empty), None),
        (Some("/nonexistent/ca.pem".into()), None),
        (None, Some(auth)),
        (None, Some("/nonexistent/auth.json".into())),
    ] {
        let settings = RemoteSettings { ca, auth_file, ..settings("registry.example.internal:5000") };
        said.push(told(RemoteRegistry::connect(settings).err().unwrap(), &[(&shown, "[dir]")]));
    }
    insta::assert_snapshot!(said.join("\n\n"));
}

#[tokio::test]
async fn says_that_there_is_no_room() {
    let answers: [(u16, &[u8]); 4] = [
        (507, b""),
        (413, b"<html>"),
        (500, br#"{"errors":[{"code":"UNKNOWN","detail":{"Op":"write","Path":"/r/x","Err":28}}]}"#),
        (403, br#"{"errors":[{"code":"DENIED","message":"it will exceed the configured upper limit of storage quota"}]}"#),
    ];
    let mut said = Vec::new();
    for (status, body) in answers {
        let faulty = FaultyRegistry::start(None, move |request, _| match request.method.as_str() {
            "GET" => Answer::Reply(200, vec![], vec![]),
            "HEAD" => Answer::Reply(404, vec![], vec![]),
            _ => Answer::Reply(status, vec![], body.to_vec()),
        });
        let (digest, size, content) = small();
        let error =
            plain(&faulty.host).put_blob(&repository("acme/x"), &digest, size, content).await.unwrap_err();
        assert_eq!(faulty.count("POST", "/uploads/"), 1);
        said.push(told(error, &[(&faulty.host, "[host]")]));
    }
    insta::assert_snapshot!(said.join("\n\n"));
}

#[tokio::test]
async fn signs_in_by_token_and_asks_for_no_more_than_it_needs() {
    let real = Registry::start(Kind::PlainOpen);
    let server = FaultyRegistry::start(None, |request, _| {
        let token = if request.target.contains("pull%2Cpush") { "pushing" } else { "pulling" };
        Answer::Reply(200, vec![], format!(r#"{{"access_token":"{token}","expires_in":300}}"#).into_bytes())
    });
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"registry\"", server.host);
    let faulty = FaultyRegistry::start(Some(&real.host), move |request, _| {
        let needed = match request.method.as_str() {
            "GET" | "HEAD" => "Bearer pulling",
            _ => "Bearer pushing",
        };
        match &request.authorization {
            Some(token) if token == needed => Answer::Forward,
            _ => Answer::Reply(401, vec![("WWW-Authenticate", realm.clone())], vec![]),
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = auth_file(&directory, &faulty.host, "airlock");
    let store =
        RemoteRegistry::connect(RemoteSettings { auth_file: Some(file), ..settings(&faulty.host) }).unwrap();
    let (digest, size, content) = small();
    let x = repository("acme/x");
    store.put_blob(&x, &digest, size, content).await.unwrap();
    store.put_manifest(&x, MANIFEST, image("a"), Some(&"t".parse().unwrap())).await.unwrap();
    assert_eq!(store.tags(&x, 5).await.unwrap().len(), 1);
    let asked = server.requests();
    let targets: Vec<_> = asked.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(
        targets,
        [
            "/token?service=registry&scope=repository%3Aacme%2Fx%3Apull",
            "/token?service=registry&scope=repository%3Aacme%2Fx%3Apull%2Cpush",
        ]
    );
    assert!(asked.iter().all(|request| request.authorization.as_deref().unwrap().starts_with("Basic ")));
    assert!(faulty.requests().iter().all(|r| !r.authorization.as_deref().unwrap_or("").starts_with("Basic")));
}

#[tokio::test]
async fn takes_a_new_token_when_the_old_one_is_refused_and_then_gives_up() {
    let server = FaultyRegistry::start(None, |_, _| Answer::Reply(200, vec![], br#"{"token":"t"}"#.to_vec()));
    let realm = format!("Bearer realm=\"http://{}/token\"", server.host);
    let faulty = FaultyRegistry::start(None, move |_, _| {
        Answer::Reply(401, vec![("WWW-Authenticate", realm.clone())], vec![])
    });
    let store = plain(&faulty.host);
    store.blob(&repository("acme/x"), &Digest::of(b""), 5).await.unwrap_err();
    assert_eq!((faulty.count("GET", "/blobs/"), server.requests().len()), (2, 2));
    let (digest, size, content) = small();
    store.put_blob(&repository("acme/x"), &digest, size, content).await.unwrap_err();
    assert_eq!(faulty.count("HEAD", "/blobs/"), 2);
}

#[tokio::test]
async fn refuses_what_the_registrys_disk_altered() {
    let registry = Registry::start(Kind::TlsWithPassword);
    let store = secured(&registry);
    let (digest, size, content) = small();
    store.put_blob(&repository("acme/x"), &digest, size, content).await.unwrap();
    let blobs = registry.storage.join("docker/registry/v2/blobs/sha256");
    let stored = blobs.join(&digest.hex()[..2]).join(digest.hex()).join("data");
    std::fs::write(stored, "[]").unwrap();
    let error = store.blob(&repository("acme/x"), &digest, size).await.unwrap_err();
    assert!(matches!(error, StoreError::WrongDigest { .. }), "{error:?}");
}
