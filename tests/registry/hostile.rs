//! Registries that lie: nothing they say is used, and nothing they want is given.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use airlock::domain::digest::Digest;
use airlock::domain::image::Tag;
use airlock::registry::remote::{RemoteRegistry, RemoteSettings};
use airlock::registry::{BlobContent, ImageStore, ManifestReference, StoreError};
use bytes::Bytes;
use serde_json::json;

use super::faulty_registry::{Answer, FaultyRegistry, Request};
use super::registry_fixture::{Kind, Registry};
use super::{INDEX, MANIFEST, hasty, image, plain, referring, repository, told};

fn ok(headers: Vec<(&'static str, String)>, body: impl Into<Vec<u8>>) -> Answer {
    Answer::Reply(200, headers, body.into())
}

fn open(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> FaultyRegistry {
    FaultyRegistry::start(None, move |request, seen| match request.target.as_str() {
        "/v2/" => ok(vec![], ""),
        _ => answer(request, seen),
    })
}

/// A store with a password for `host` in its settings.
fn with_password(host: &str) -> (tempfile::TempDir, RemoteRegistry) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{host}":{{"auth":"YWlybG9jazpwYXNzd29yZA=="}}}}}}"#))
        .unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings =
        RemoteSettings { host: host.parse().unwrap(), ca: None, auth_file: Some(file), retry: hasty() };
    (directory, RemoteRegistry::connect(settings).unwrap())
}

#[tokio::test]
async fn refuses_other_bytes_than_the_digest_says() {
    let real = Registry::start(Kind::PlainOpen);
    let faulty = FaultyRegistry::start(Some(&real.host), |request, _| match request.method.as_str() {
        "GET" if request.target.contains("sha256:") => Answer::ForwardAltered,
        _ => Answer::Forward,
    });
    let (store, x) = (plain(&faulty.host), repository("acme/x"));
    let bytes = Bytes::from_static(b"{}");
    store.put_blob(&x, &Digest::of(&bytes), 2, BlobContent::Bytes(bytes.clone())).await.unwrap();
    let digest = store.put_manifest(&x, MANIFEST, image("a"), None).await.unwrap();
    let blob = store.blob(&x, &Digest::of(&bytes), 10).await.unwrap_err();
    let manifest = store.manifest(&x, &ManifestReference::Digest(digest)).await.unwrap_err();
    assert!(matches!(manifest, StoreError::WrongDigest { .. }), "{manifest:?}");
    insta::assert_snapshot!(told(blob, &[(&faulty.host, "[host]")]));
}

#[tokio::test]
async fn refuses_a_manifest_that_can_be_read_in_two_ways() {
    let faulty = open(|_, _| ok(vec![("Content-Type", INDEX.to_owned())], image("a").to_vec()));
    let tag = ManifestReference::Tag("t".parse().unwrap());
    let error = plain(&faulty.host).manifest(&repository("acme/x"), &tag).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
}

#[tokio::test]
async fn ends_an_endless_body_at_its_bound() {
    let faulty = open(|_, _| Answer::EndlessBody);
    let (store, x) = (plain(&faulty.host), repository("acme/x"));
    let tag = ManifestReference::Tag("t".parse().unwrap());
    let error = store.manifest(&x, &tag).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
    let error = store.blob(&x, &Digest::of(b""), 100_000).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit: 100_000, .. }), "{error:?}");
    assert!(store.tags(&x, 10).await.is_err());
}

#[tokio::test]
async fn ends_a_body_that_never_ends_in_time() {
    let faulty = open(|_, _| Answer::SlowBody);
    let mut retry = hasty();
    retry.total = Duration::from_secs(1);
    let host = faulty.host.parse().unwrap();
    let settings = RemoteSettings { host, ca: None, auth_file: None, retry };
    let store = RemoteRegistry::connect(settings).unwrap();
    let start = Instant::now();
    let error = store.blob(&repository("acme/x"), &Digest::of(b""), 10_000).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(3));
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
}

#[tokio::test]
async fn gives_no_password_to_a_realm_without_tls() {
    let thief = FaultyRegistry::start(None, |_, _| ok(vec![], r#"{"token":"t"}"#));
    for realm in [
        "http://192.0.2.1/token".to_owned(),
        "http://localhost.evil.example/t".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        "nonsense".to_owned(),
        format!("http://a:b@{}/", thief.host),
    ] {
        let said = format!("Bearer realm=\"{realm}\"");
        let faulty = FaultyRegistry::start(None, move |_, _| {
            Answer::Reply(401, vec![("WWW-Authenticate", said.clone())], vec![])
        });
        let (_directory, store) = with_password(&faulty.host);
        let error = store.has_blob(&repository("acme/x"), &Digest::of(b"")).await.unwrap_err();
        assert!(matches!(error, StoreError::Malformed { .. }), "{error:?}");
        if realm.contains("192.0.2.1") {
            insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
        }
        assert!(faulty.requests().iter().all(|request| request.authorization.is_none()));
    }
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn takes_no_password_along_when_it_is_sent_elsewhere() {
    let thief = FaultyRegistry::start(None, |request, _| match request.method.as_str() {
        "GET" => ok(vec![], "{}"),
        _ => Answer::Reply(201, vec![("Location", "/done".to_owned())], vec![]),
    });
    let there = thief.host.clone();
    let faulty = FaultyRegistry::start(None, move |request, _| {
        let elsewhere = |status| {
            Answer::Reply(status, vec![("Location", format!("http://{there}{}", request.target))], vec![])
        };
        match (request.method.as_str(), &request.authorization) {
            (_, None) => {
                Answer::Reply(401, vec![("WWW-Authenticate", "Basic realm=\"r\"".to_owned())], vec![])
            }
            ("HEAD", _) => Answer::Reply(404, vec![], vec![]),
            ("GET", _) => elsewhere(307),
            ("POST", _) => elsewhere(202),
            _ => elsewhere(307),
        }
    });
    let (_directory, store) = with_password(&faulty.host);
    let x = repository("acme/x");
    let bytes = Bytes::from_static(b"{}");
    let digest = Digest::of(&bytes);
    assert_eq!(store.blob(&x, &digest, 10).await.unwrap(), Some(bytes.clone()));
    store.put_blob(&x, &digest, 2, BlobContent::Bytes(bytes)).await.unwrap();
    let _ = store.put_manifest(&x, MANIFEST, image("a"), None).await;
    assert!(thief.count("GET", "/blobs/") == 1 && thief.count("PUT", "/uploads/") == 1);
    assert!(thief.requests().iter().all(|request| request.authorization.is_none()));
    assert!(faulty.requests().iter().any(|request| request.authorization.is_some()));
}

#[tokio::test]
async fn gives_no_password_to_a_token_server_that_sends_it_on() {
    let thief = FaultyRegistry::start(None, |_, _| ok(vec![], r#"{"token":"t"}"#));
    let there = format!("http://{}/token", thief.host);
    let server = FaultyRegistry::start(None, move |_, _| {
        Answer::Reply(302, vec![("Location", there.clone())], vec![])
    });
    let realm = format!("Bearer realm=\"http://{}/token\"", server.host);
    let faulty = FaultyRegistry::start(None, move |_, _| {
        Answer::Reply(401, vec![("WWW-Authenticate", realm.clone())], vec![])
    });
    let (_directory, store) = with_password(&faulty.host);
    let error = store.has_blob(&repository("acme/x"), &Digest::of(b"")).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]"), (&server.host, "[server]")]));
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn follows_no_redirect_out_of_encryption() {
    let faulty = open(|_, _| {
        Answer::Reply(302, vec![("Location", "http://192.0.2.1/blob?signed=secret".to_owned())], vec![])
    });
    let error = plain(&faulty.host).blob(&repository("acme/x"), &Digest::of(b""), 5).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
}

#[tokio::test]
async fn follows_no_next_page_to_another_host() {
    let thief = FaultyRegistry::start(None, |_, _| ok(vec![], r#"{"tags":["stolen"]}"#));
    let link = format!("<http://{}/v2/acme/x/tags/list>; rel=\"next\"", thief.host);
    let faulty = open(move |_, _| ok(vec![("Link", link.clone())], r#"{"name":"acme/x","tags":["a"]}"#));
    let error = plain(&faulty.host).tags(&repository("acme/x"), 5).await.unwrap_err();
    insta::assert_snapshot!(told(error, &[(&faulty.host, "[host]")]));
    assert!(thief.requests().is_empty());
}

#[tokio::test]
async fn reads_pages_and_stops_at_its_bound() {
    let faulty = open(|request, _| {
        let page: usize = request.target.split("last=").nth(1).map_or(0, |n| n.parse().unwrap());
        let link = format!("</v2/acme/x/tags/list?n=2&last={}>; rel=\"next\"", page + 1);
        ok(vec![("Link", link)], format!(r#"{{"tags":["t{page}a","t{page}b","not a tag"]}}"#))
    });
    let store = plain(&faulty.host);
    assert_eq!(store.tags(&repository("acme/x"), 5).await.unwrap().len(), 5);
    assert_eq!(faulty.count("GET", "/tags/list"), 3);

    let empty = open(|_, _| {
        ok(vec![("Link", "</v2/acme/x/tags/list?again>; rel=\"next\"".to_owned())], r#"{"tags":[]}"#)
    });
    assert_eq!(plain(&empty.host).tags(&repository("acme/x"), 5).await.unwrap(), []);
    assert!(empty.count("GET", "/tags/list") <= 64);
}

/// 10,000 entries that a stranger wrote, and after them ours.
fn flood(ours: &Bytes) -> Vec<serde_json::Value> {
    let mut entries: Vec<_> = (0..10_000)
        .map(|number: u32| json!({ "mediaType": MANIFEST, "digest": Digest::of(&number.to_be_bytes()), "size": 1 }))
        .collect();
    entries.insert(
        0,
        json!({ "mediaType": MANIFEST, "digest": "md5:d41d8cd98f00b204e9800998ecf8427e", "size": -1 }),
    );
    entries.push(json!({ "mediaType": MANIFEST, "digest": Digest::of(ours), "size": ours.len() }));
    entries
}

#[tokio::test]
async fn is_not_drowned_by_ten_thousand_referrers() {
    let real = Registry::start(Kind::PlainOpen);
    let (store, x) = (plain(&real.host), repository("acme/x"));
    store.put_blob(&x, &Digest::of(b"{}"), 2, BlobContent::Bytes(Bytes::from_static(b"{}"))).await.unwrap();
    let subject = image("subject");
    let about = store.put_manifest(&x, MANIFEST, subject.clone(), None).await.unwrap();
    let ours = referring(&subject, "ours");
    let faulty = {
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": flood(&ours) })).unwrap();
        open(move |request, _| {
            if request.target.contains("/manifests/") {
                ok(vec![("Content-Type", INDEX.to_owned())], index.clone())
            } else {
                Answer::Reply(404, vec![], vec![])
            }
        })
    };
    let start = Instant::now();
    let flooded = plain(&faulty.host);
    assert_eq!(flooded.referrers(&x, &about, 100).await.unwrap().len(), 100);
    let all = flooded.referrers(&x, &about, 20_000).await.unwrap();
    assert!(all.len() == 10_001 && all.last().unwrap().digest == Digest::of(&ours));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn leaves_the_fallback_tag_alone_where_the_registry_has_the_referrers_api() {
    let real = Registry::start(Kind::PlainOpen);
    let subject = image("subject");
    let ours = referring(&subject, "ours");
    let listed = ours.clone();
    let faulty = FaultyRegistry::start(Some(&real.host), move |request, _| {
        if !request.target.contains("/referrers/") {
            return Answer::Forward;
        }
        let all = flood(&listed);
        let page: usize = request.target.split("page=").nth(1).map_or(0, |n| n.parse().unwrap());
        let link = format!("<{}?page={}>; rel=\"next\"", request.target.split('?').next().unwrap(), page + 1);
        let end = all.len().min((page + 1) * 1000);
        let headers = if end < all.len() { vec![("Link", link)] } else { vec![] };
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all[page * 1000..end] });
        ok(headers, serde_json::to_vec(&index).unwrap())
    });
    let (store, x) = (plain(&faulty.host), repository("acme/x"));
    store.put_blob(&x, &Digest::of(b"{}"), 2, BlobContent::Bytes(Bytes::from_static(b"{}"))).await.unwrap();
    let about = store.put_manifest(&x, MANIFEST, subject.clone(), None).await.unwrap();
    store.put_referrer(&x, &about, MANIFEST, ours.clone()).await.unwrap();
    assert_eq!(faulty.count("PUT", &format!("/manifests/sha256-{}", about.hex())), 0);
    let pages = faulty.count("GET", "/referrers/");
    assert_eq!(store.referrers(&x, &about, 1500).await.unwrap().len(), 1500);
    assert_eq!(faulty.count("GET", "/referrers/") - pages, 2);
}

#[tokio::test]
async fn keeps_the_entries_that_somebody_else_wrote() {
    let real = Registry::start(Kind::PlainOpen);
    let (store, x) = (plain(&real.host), repository("acme/x"));
    store.put_blob(&x, &Digest::of(b"{}"), 2, BlobContent::Bytes(Bytes::from_static(b"{}"))).await.unwrap();
    let subject = image("subject");
    let about = store.put_manifest(&x, MANIFEST, subject.clone(), None).await.unwrap();
    let mut both = tokio::task::JoinSet::new();
    for number in 0..2 {
        let (store, x, about, bytes) =
            (plain(&real.host), x.clone(), about.clone(), referring(&subject, &number.to_string()));
        both.spawn(async move { store.put_referrer(&x, &about, MANIFEST, bytes).await });
    }
    while let Some(put) = both.join_next().await {
        put.unwrap().unwrap();
    }
    store.put_referrer(&x, &about, MANIFEST, referring(&subject, "last")).await.unwrap();
    let tag: Tag = format!("sha256-{}", about.hex()).parse().unwrap();
    let index = store.manifest(&x, &ManifestReference::Tag(tag)).await.unwrap().unwrap();
    assert_eq!(index.media_type, INDEX);
    assert!(store.referrers(&x, &about, 10).await.unwrap().len() >= 2);
}

#[tokio::test]
async fn survives_answers_that_oci_client_does_not_expect() {
    let locations: [Vec<(&'static str, String)>; 3] =
        [vec![], vec![("Location", "::nonsense".to_owned())], vec![("Location", "http://[".to_owned())]];
    for headers in locations {
        let faulty = open(move |request, _| match request.method.as_str() {
            "HEAD" => Answer::Reply(404, vec![], vec![]),
            "POST" => Answer::Reply(202, headers.clone(), vec![]),
            _ => Answer::Reply(201, headers.clone(), vec![]),
        });
        let (store, x) = (plain(&faulty.host), repository("acme/x"));
        let content = BlobContent::Bytes(Bytes::from_static(b"{}"));
        let error = store.put_blob(&x, &Digest::of(b"{}"), 2, content).await.unwrap_err();
        assert!(matches!(error, StoreError::Malformed { .. }), "{error:?}");
        // An upload of a manifest that is answered 201 is done, whatever its location.
        let _ = store.put_manifest(&x, MANIFEST, image("a"), None).await.unwrap();
    }
}
