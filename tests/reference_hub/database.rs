//! The PostgreSQL image that is made from Debian packages, and a component's migrations on it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::platform::{base_image, root, stdout};

/// Owner, password and name of the database.
const SETTINGS: [&str; 3] =
    ["--env=POSTGRES_USER=owner", "--env=POSTGRES_PASSWORD=secret", "--env=POSTGRES_DB=shop"];

/// A container's name and the volume of the same name; both go when it is dropped.
struct Database(String);

impl Database {
    /// Runs the image as a service of a stack runs: no capability, read-only root, half a gibibyte.
    fn docker_run(&self, options: &[&str], command: &[&str]) -> Output {
        Command::new("docker")
            .args(["run", "--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"])
            .args(["--security-opt=no-new-privileges", "--memory=512m", "--memory-swap=512m"])
            .args(["--label", &format!("airlock.test={}", self.0)])
            .args(["--volume", &format!("{}:/var/lib/postgresql", self.0)])
            .args(options)
            .arg(base_image("POSTGRES"))
            .args(command)
            .output()
            .expect("docker runs")
    }

    fn sql(&self, sql: &str) -> Output {
        Command::new("docker")
            .args(["exec", "--env=PGPASSWORD=secret", &self.0])
            .args(["psql", "--host=127.0.0.1", "--username=owner", "--dbname=shop", "-qAtc", sql])
            .output()
            .expect("docker runs")
    }

    /// Returns the rows once the server answers.
    fn rows(&self, sql: &str) -> String {
        let began = Instant::now();
        loop {
            let output = self.sql(sql);
            if output.status.success() {
                return String::from_utf8(output.stdout).expect("text").trim().to_owned();
            }
            let log = Command::new("docker").args(["logs", &self.0]).output().expect("docker runs");
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{}{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&log.stderr)
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        for what in [&["rm", "--force"][..], &["volume", "rm", "--force"]] {
            Command::new("docker").args(what).arg(&self.0).output().expect("docker runs");
        }
    }
}

#[test]
fn the_postgres_image_needs_a_password_and_keeps_its_data_through_a_hard_stop() {
    let database = Database(format!("airlock-test-postgres-{}", std::process::id()));
    let refused = database.docker_run(&["--rm"], &[]);
    assert_eq!(refused.status.code(), Some(1));
    let reason = String::from_utf8_lossy(&refused.stderr);
    assert!(reason.contains("POSTGRES_PASSWORD is empty, and the first start needs it"), "{reason}");

    // What a first start leaves behind that was cut short.
    let cut_short = "mkdir -p data.new && echo 15 >data.new/PG_VERSION";
    assert!(database.docker_run(&["--rm", "--entrypoint=sh"], &["-c", cut_short]).status.success());

    let name = format!("--name={}", database.0);
    let started =
        database.docker_run(&[&["--detach", &name], &SETTINGS[..]].concat(), &["-c", "work_mem=5MB"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    assert_eq!(database.rows("SHOW work_mem"), "5MB");
    assert_eq!(stdout(Command::new("docker").args(["exec", &database.0, "id", "-un"])), "postgres\n");
    database.rows("CREATE TABLE kept AS SELECT 42 AS answer");

    for act in ["kill", "start"] {
        stdout(Command::new("docker").args([act, &database.0]));
    }
    assert_eq!(database.rows("SELECT answer FROM kept"), "42");

    let wrong = Command::new("docker")
        .args(["exec", "--env=PGPASSWORD=wrong", &database.0])
        .args(["psql", "--host=127.0.0.1", "--username=owner", "--dbname=shop", "-c", "SELECT 1"])
        .output()
        .expect("docker runs");
    let reason = String::from_utf8_lossy(&wrong.stderr);
    assert!(reason.contains("password authentication failed"), "{reason}");
}

#[test]
fn a_rehearsal_on_postgresql_notices_a_way_back_that_leaves_something() {
    let database = Database(format!("airlock-test-rehearsal-{}", std::process::id()));
    let name = format!("--name={}", database.0);
    assert!(database.docker_run(&[&["--detach", &name], &SETTINGS[..]].concat(), &[]).status.success());
    assert_eq!(database.rows("SELECT 1"), "1");

    let directory = tempfile::tempdir().expect("a directory");
    let ledger = directory.path().join("ledger");
    stdout(Command::new("cp").arg("-r").arg(root().join("integration-hub/components/ledger")).arg(&ledger));
    let passed = rehearse(&database, &ledger);
    let said = String::from_utf8_lossy(&passed.stdout);
    assert!(passed.status.success(), "{said}{}", String::from_utf8_lossy(&passed.stderr));
    assert!(said.contains("0002_account down") && said.contains("2 migrations applied"), "{said}");

    let back = ledger.join("ledger/migrations/0002_account.down.sql");
    let text = std::fs::read_to_string(&back).expect("a migration");
    std::fs::write(&back, text.replace("DROP INDEX payment_by_invoice;", "")).expect("a change");
    // A scratch database is made anew for each rehearsal.
    database.rows("DROP SCHEMA public CASCADE");
    database.rows("CREATE SCHEMA public");
    let failed = rehearse(&database, &ledger);
    let reason = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{reason}");
    assert!(reason.contains("ledger: 0002_account down does not undo its way up"), "{reason}");
    assert!(reason.contains("payment_by_invoice"), "{reason}");
}

fn rehearse(database: &Database, ledger: &Path) -> Output {
    Command::new("docker")
        .args(["run", "--rm", "--read-only", "--cap-drop=ALL", "--user=1000:1000"])
        .args(["--network", &format!("container:{}", database.0)])
        .args(["--label", &format!("airlock.test={}", database.0)])
        .args(["--env=LEDGER_DATABASE_URL=postgresql://owner:secret@127.0.0.1/shop"])
        .args(["--volume", &format!("{}:/opt/ledger:ro", ledger.display()), "--workdir=/opt/ledger"])
        .args([&base_image("PYTHON_PG"), "python3", "-B", "-m", "ledger", "migrate", "rehearse"])
        .output()
        .expect("docker runs")
}
