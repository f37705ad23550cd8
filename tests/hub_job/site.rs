//! A host with a hub, two components that call each other, and their repositories.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::git_repository::GitRepository;
use crate::support::gitlab::{JobPayload, STATUS_TOKEN};
use crate::support::runner::JobOutcome;
use crate::support::staging::{Host, JOB_NAME, Place, SCRIPT, airlock, base_image, text};

pub const HUB_JOB: &str = "integration";
pub const HUB_SCRIPT: &str = "make integration-test";

pub struct Site {
    pub host: Host,
    pub billing: GitRepository,
    pub ledger: GitRepository,
    pub hub: GitRepository,
}

/// A service of a few lines: it answers with `answer`, which may ask another service.
fn component(name: &str, answer: &str) -> GitRepository {
    let mut repository = GitRepository::create("staging");
    repository.write("VERSION", "1.0.0\n");
    repository.write("airlock.toml", format!("schema = 1\nname = \"{name}\"\n"));
    repository.write("Makefile", "stage-unit-test:\n\tpython3 -m py_compile server.py\n");
    write_server(&repository, answer);
    repository.write(
        "Dockerfile",
        format!(
            "FROM {}\nCOPY server.py /srv/server.py\nUSER 1000\nENTRYPOINT [\"python3\", \"-B\", \"/srv/server.py\"]\n",
            base_image("PYTHON")
        ),
    );
    repository.commit("first version");
    repository
}

pub fn write_server(repository: &GitRepository, answer: &str) {
    repository.write(
        "server.py",
        format!(
            "import http.server, json, urllib.request\n\n\ndef answer():\n    {answer}\n\n\n\
             class Handler(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
             body = json.dumps(answer()).encode()\n        self.send_response(200)\n        \
             self.end_headers()\n        self.wfile.write(body)\n\n\
             if __name__ == '__main__':\n    http.server.HTTPServer(('', 8080), Handler).serve_forever()\n"
        ),
    );
}

pub const BILLING: &str = "return {'gross': 119}";
pub const LEDGER: &str =
    "return {'open': json.load(urllib.request.urlopen('http://billing:8080/'))['gross']}";

const COMPOSE: &str = r#"
x-health: &health
  test: ["CMD", "python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/', timeout=2)"]
  interval: 1s
  retries: 40
services:
  seed:
    image: base/debian
    command: ["sh", "-c", "test -s /seed/rows && echo seeded"]
    volumes: ["./seed:/seed:ro"]
  billing:
    image: acme/billing
    healthcheck: *health
    depends_on:
      seed: { condition: service_completed_successfully }
  ledger:
    image: acme/ledger
    healthcheck: *health
    depends_on:
      billing: { condition: service_healthy }
"#;

fn hub() -> GitRepository {
    let mut repository = GitRepository::create("staging");
    repository.write("VERSION", "2.3.0\n");
    repository.write(
        "airlock-hub.toml",
        format!(
            "schema = 1\nplatform = \"acme\"\ncompose = \"compose.yaml\"\nready_timeout_s = 90\n\n\
             [components.billing]\nproject_id = 17\nservices = {{ billing = \"billing\" }}\n\n\
             [components.ledger]\nproject_id = 18\nservices = {{ ledger = \"ledger\" }}\n\n\
             [sidecars.seed]\nimage = \"{}\"\n",
            base_image("DEBIAN")
        ),
    );
    repository.write("compose.yaml", COMPOSE);
    repository.write("seed/rows", "1\n");
    repository.write("Makefile", "integration-test:\n\tmkdir -p reports\n\tpython3 tests.py\n");
    repository.write(
        "tests.py",
        "import json, urllib.request\n\
         found = json.load(urllib.request.urlopen('http://ledger:8080/'))\n\
         print('ledger says', found)\n\
         open('reports/hub.xml', 'w').write('<testsuite tests=\"1\"><testcase name=\"open\"/></testsuite>')\n\
         assert found == {'open': 119}, 'the ledger does not see what billing bills'\n",
    );
    repository.commit("the hub");
    repository
}

impl Site {
    /// Sets everything up; nothing is staged yet.
    pub fn new() -> Self {
        let host = Host::new(Place::Registry, |settings| {
            let (_, rest) = settings.split_once("state_dir = \"").expect("a state directory");
            let (directory, _) = rest.split_once("/state\"").expect("the host's directory");
            let compose = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("target/tools/compose/usr/libexec/docker/cli-plugins/docker-compose");
            assert!(compose.exists(), "{} is missing; run scripts/bootstrap", compose.display());
            settings
                .replace(
                    "[keys]\n",
                    &format!(
                        "[engine]\ncompose = \"{}\"\n\n[keys]\nrelease = \"file:{directory}/release.key\"\n",
                        compose.display()
                    ),
                )
                .replace(
                    "[gitlab]\n",
                    &format!("[gitlab]\nstatus_token_file = \"{directory}/status-token\"\n"),
                )
                + &format!(
                    "\n[[publish]]\nproject_id = 18\nproject_path = \"acme/ledger\"\nref = \"staging\"\njob = \"{JOB_NAME}\"\n\
                     script = [\"{SCRIPT}\"]\nrepositories = [\"ledger\"]\n\n\
                     [hub]\nproject_id = 9\nproject_path = \"acme/hub\"\nref = \"staging\"\njob = \"{HUB_JOB}\"\n\
                     script = [\"{HUB_SCRIPT}\"]\noverride_users = [5]\n"
                )
        });
        let made = airlock(&[
            "key",
            "generate",
            "--password-file",
            text(&host.path("password")),
            text(&host.path("release")),
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(host.path("status-token"), STATUS_TOKEN).expect("a file");
        fs::set_permissions(host.path("status-token"), fs::Permissions::from_mode(0o600)).expect("a mode");
        let mut trust = fs::read_to_string(host.path("trust.toml")).expect("a policy");
        trust.push_str(
            "\n[[key]]\nname = \"release-2026\"\nuse = \"release\"\npublic = \"release.pub\"\n\
             not_before = 2026-01-01T00:00:00Z\nnot_after = 2036-01-01T00:00:00Z\n",
        );
        fs::write(host.path("trust.toml"), trust).expect("a policy");
        Self { host, billing: component("billing", BILLING), ledger: component("ledger", LEDGER), hub: hub() }
    }

    /// The same with both components staged.
    pub fn staged() -> Self {
        let site = Self::new();
        site.stage_billing(10);
        site.stage_ledger(11);
        site
    }

    pub fn stage_billing(&self, pipeline: u64) {
        let project = self.host.serve(&self.billing);
        self.host
            .gitlab
            .enqueue(&self.host.staging_job(&project, &self.billing).set("/job_info/pipeline_id", pipeline));
        self.host.runner().run_one().expect_success();
    }

    pub fn stage_ledger(&self, pipeline: u64) {
        let project = self.host.gitlab.serve(18, "acme/ledger", &self.ledger);
        self.host
            .gitlab
            .enqueue(&self.host.staging_job(&project, &self.ledger).set("/job_info/pipeline_id", pipeline));
        self.host.runner().run_one().expect_success();
    }

    /// The hub's job on its head.
    pub fn job(&self, pipeline: u64) -> JobPayload {
        let project = self.host.gitlab.serve(9, "acme/hub", &self.hub);
        self.host
            .gitlab
            .job_of(&project, &self.hub)
            .name(HUB_JOB)
            .branch("staging")
            .protected(Some(true))
            .image(&base_image("PYTHON"))
            .script(&[HUB_SCRIPT])
            .set("/job_info/pipeline_id", pipeline)
            .set("/job_info/user_id", 5)
    }

    /// Runs a job; whatever it did, nothing of it stays in the engine.
    pub fn run(&self, job: &JobPayload) -> JobOutcome {
        self.host.gitlab.enqueue(job);
        let outcome = self.host.runner().run_one();
        println!("{}", outcome.trace);
        self.assert_nothing_left();
        outcome
    }

    /// Every stack of this process's hosts is named after a job of theirs; none may be there.
    pub fn assert_nothing_left(&self) {
        for what in [
            vec!["ps", "--all", "--format", "{{.Names}}"],
            vec!["network", "ls", "--format", "{{.Name}}"],
            vec!["volume", "ls", "--format", "{{.Name}}"],
        ] {
            let output = Command::new("docker").args(&what).output().expect("the docker client");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let jobs = self.jobs();
            let left: Vec<&str> =
                text.lines().filter(|name| jobs.iter().any(|job| name.contains(job))).collect();
            assert_eq!(left, Vec::<&str>::new(), "{what:?}");
        }
        assert_eq!(self.host.jobs_in_state(), Vec::<String>::new());
    }

    /// The scope of this host's jobs: their keys end with it.
    fn jobs(&self) -> Vec<String> {
        let origin = url::Url::parse(&self.host.gitlab.url()).expect("a URL").origin().ascii_serialization();
        let uuids = ["", "r_airlock"];
        uuids
            .iter()
            .map(|uuid| {
                airlock::domain::digest::Digest::of(format!("{origin}\n{uuid}").as_bytes()).short().to_owned()
            })
            .collect()
    }

    /// Runs `airlock release …` with the host's settings.
    pub fn release(&self, words: &[&str]) -> String {
        let (verb, rest) = words.split_first().expect("a verb");
        let mut arguments = vec!["release", verb, "--settings", text(&self.host.settings)];
        arguments.extend(rest);
        let output = airlock(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The present release as JSON; null when there is none.
    pub fn candidate(&self) -> serde_json::Value {
        let output = airlock(&["release", "show", "--settings", text(&self.host.settings), "acme", "--json"]);
        match output.status.code() {
            Some(0) => serde_json::from_slice(&output.stdout).expect("JSON"),
            Some(11) => serde_json::Value::Null,
            code => panic!("{code:?} {}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// The statuses that GitLab took, a line each.
    pub fn statuses(&self) -> Vec<String> {
        self.host
            .gitlab
            .statuses()
            .into_iter()
            .map(|status| {
                format!("{} {} {}: {}", status.project, status.name, status.state, status.description)
            })
            .collect()
    }
}
