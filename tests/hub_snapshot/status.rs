//! Commit statuses: what GitLab is told, and that its silence changes nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use airlock::domain::hub::{CommitStatus, IntegrationVerdict};
use airlock::gitlab::status::{OwedStatus, StatusPlace, report};
use url::Url;

use crate::support::gitlab::{FakeGitLab, STATUS_TOKEN};
use crate::support::staging::redact;

const COMMIT: &str = "1111111111111111111111111111111111111111";

struct Bench {
    gitlab: FakeGitLab,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { gitlab: FakeGitLab::start(), directory: tempfile::tempdir().expect("a directory") }
    }

    fn token_file(&self, content: &str, mode: u32) -> PathBuf {
        let path = self.directory.path().join("token");
        std::fs::write(&path, content).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        path
    }

    fn statuses(&self) -> Vec<CommitStatus> {
        let job = Url::parse(&format!("{}/acme/hub/-/jobs/9", self.gitlab.url())).expect("a URL");
        let green = IntegrationVerdict::Green { release: "2.3.0-r42".into() };
        let red = IntegrationVerdict::Red { reason: "the contract of `ledger` is broken ".repeat(20) };
        vec![
            CommitStatus::new("billing", 17, COMMIT, &green, Some(&job)),
            CommitStatus::new("ledger", 18, COMMIT, &red, Some(&job)),
        ]
    }

    async fn report(&self, token_file: Option<&Path>) -> Vec<OwedStatus> {
        let url = Url::parse(&self.gitlab.url()).expect("a URL");
        let place = StatusPlace { url: &url, ca: None, token_file };
        report(&place, &self.statuses(), &|_| {}).await
    }

    fn told(&self, owed: &[OwedStatus]) -> String {
        let lines: Vec<String> = owed.iter().map(ToString::to_string).collect();
        redact(&lines.join("\n")).replace(&self.directory.path().display().to_string(), "<directory>")
    }
}

#[tokio::test]
async fn green_and_red_components_get_their_status_and_the_token_is_masked_first() {
    let bench = Bench::new();
    let file = bench.token_file(&format!("{STATUS_TOKEN}\n"), 0o600);
    let url = Url::parse(&bench.gitlab.url()).expect("a URL");
    let masked = Mutex::new(Vec::new());
    let place = StatusPlace { url: &url, ca: None, token_file: Some(&file) };
    let owed =
        report(&place, &bench.statuses(), &|secret| masked.lock().unwrap().push(secret.to_owned())).await;
    assert_eq!(owed, []);
    assert_eq!(*masked.lock().unwrap(), [STATUS_TOKEN]);
    let [billing, ledger] = bench.gitlab.statuses().try_into().expect("two statuses");
    assert_eq!((billing.project.as_str(), billing.commit.as_str()), ("17", COMMIT));
    assert_eq!((billing.state.as_str(), billing.name.as_str()), ("success", "airlock/integration"));
    assert_eq!(billing.description, "in release 2.3.0-r42");
    assert_eq!(billing.target_url, format!("{}/acme/hub/-/jobs/9", bench.gitlab.url()));
    assert_eq!((ledger.project.as_str(), ledger.state.as_str()), ("18", "failed"));
    assert!(ledger.description.starts_with("the contract of `ledger` is broken"));
    assert!(ledger.description.ends_with('…') && ledger.description.len() <= 255);
}

#[tokio::test]
async fn a_gitlab_that_stumbles_is_asked_again_and_one_that_refuses_is_not() {
    let bench = Bench::new();
    let file = bench.token_file(STATUS_TOKEN, 0o600);
    bench.gitlab.refuse_statuses(&[(502, "bad gateway"), (503, "maintenance")]);
    assert_eq!(bench.report(Some(&file)).await, []);
    assert_eq!(bench.gitlab.statuses().len(), 2);
    // One project refuses; the other is told all the same.
    bench.gitlab.refuse_statuses(&[(403, "403 Forbidden")]);
    let owed = bench.report(Some(&file)).await;
    assert_eq!(bench.gitlab.statuses().len(), 3);
    insta::assert_snapshot!("refused_by_one_project", bench.told(&owed));
}

#[tokio::test]
async fn without_a_usable_token_or_an_answer_every_status_is_owed() {
    let bench = Bench::new();
    let mut told = String::new();
    let mut case = |name: &str, owed: Vec<OwedStatus>| {
        assert_eq!(owed.len(), 2, "{name}");
        told.push_str(&format!("── {name}\n{}\n\n", bench.told(&owed)));
    };
    case("no token", bench.report(None).await);
    case("no such file", bench.report(Some(Path::new("/nonexistent/token"))).await);
    case("readable by others", bench.report(Some(&bench.token_file(STATUS_TOKEN, 0o644))).await);
    case("empty", bench.report(Some(&bench.token_file("\n", 0o600))).await);
    case("two lines", bench.report(Some(&bench.token_file("glpat-a\nglpat-b\n", 0o600))).await);
    case("a wrong token", bench.report(Some(&bench.token_file("glpat-wrong", 0o600))).await);
    let file = bench.token_file(STATUS_TOKEN, 0o600);
    let away = Url::parse("http://127.0.0.1:9/").expect("a URL");
    let place = StatusPlace { url: &away, ca: None, token_file: Some(&file) };
    let owed = report(&place, &bench.statuses(), &|_| {}).await;
    assert_eq!(owed.len(), 2);
    assert!(
        owed.iter().all(|owed| owed.why.starts_with("GitLab at `http://127.0.0.1:9/` does not answer: "))
    );
    assert_eq!(bench.gitlab.statuses(), []);
    insta::assert_snapshot!(told);
}
