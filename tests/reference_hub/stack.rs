//! The hub's stack under the real Compose, with the limits that Airlock's compiler imposes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::platform::{Platform, base_image, root, stdout};

/// What the reference hub's services ask for, and no more.
pub const ALLOWED_OF_A_SERVICE: [&str; 11] = [
    "command",
    "depends_on",
    "entrypoint",
    "environment",
    "healthcheck",
    "image",
    "networks",
    "read_only",
    "restart",
    "tmpfs",
    "volumes",
];
const TEST_NETWORK: &str = "airlock-test";
/// An address of documentation, where nobody answers: names of the outside stay unknown.
const NO_DNS: &str = "192.0.2.1";
const MIB: u64 = 1024 * 1024;
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What `make integration-test` said.
pub struct IntegrationTest {
    pub passed: bool,
    pub output: String,
    pub reports: PathBuf,
}

pub struct Stack<'a> {
    platform: &'a Platform,
}

/// Returns what Compose makes of the hub's file.
pub fn configuration(hub: &Path) -> Value {
    let mut compose = compose();
    compose.args(["--project-name", "hub", "--file"]).arg(hub.join("compose.yaml"));
    serde_json::from_str(&stdout(compose.args(["config", "--format", "json"]))).expect("JSON")
}

fn compose() -> Command {
    let mut command = Command::new(root().join("target/tools/bin/compose"));
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/nonexistent");
    command
}

impl<'a> Stack<'a> {
    /// Builds the components and starts everything; returns when every service is ready.
    pub async fn up(platform: &'a Platform) -> Self {
        let compiled = compiled(platform).await;
        let mut up = compose()
            .args(["--project-name", &platform.name, "--file", "-", "up", "--detach"])
            .args(["--pull", "never", "--no-build"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("compose");
        up.stdin.take().expect("stdin").write_all(compiled.to_string().as_bytes()).expect("written");
        let output = up.wait_with_output().expect("compose ends");
        let stack = Self { platform };
        assert!(
            output.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&output.stderr),
            stack.states_and_logs()
        );
        let began = Instant::now();
        while !stack.ready() {
            assert!(began.elapsed() < READY_WITHIN, "not ready: {}", stack.states_and_logs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        stack
    }

    /// Runs the hub's rule in a container on the stack's test network, from a fresh copy of the tree.
    pub fn integration_test(&self) -> IntegrationTest {
        let tree = self.platform.repository("workspace");
        stdout(Command::new("cp").arg("-r").arg(self.platform.repository("hub")).arg(&tree));
        stdout(Command::new("chmod").args(["-R", "a+rwX"]).arg(&tree));
        let output = Command::new("docker")
            .args(["run", "--rm", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"])
            .args(["--user=1000:1000", "--memory=1g", "--pids-limit=256", "--dns", NO_DNS])
            .args(["--tmpfs=/tmp", "--tmpfs=/home/airlock:uid=1000", "--env=HOME=/home/airlock"])
            .args(["--network", &format!("{}_{TEST_NETWORK}", self.platform.name)])
            .args(["--label", &format!("airlock.test={}", self.platform.name)])
            .args(["--volume", &format!("{}:/builds/acme/hub", tree.display())])
            .args(["--workdir=/builds/acme/hub", &base_image("HUB_TESTS")])
            .args(["sh", "-e", "-c", "make integration-test 2>&1"])
            .output()
            .expect("docker runs");
        let output_text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        IntegrationTest {
            passed: output.status.success(),
            output: output_text,
            reports: tree.join("reports"),
        }
    }

    fn ready(&self) -> bool {
        let states = self.docker(&["ps", "--all", "--format", "{{.Names}} {{.Status}}"]);
        assert!(!states.contains("(unhealthy)"), "{}", self.states_and_logs());
        !states.is_empty()
            && states.lines().all(|state| state.contains("(healthy)") || state.contains("Exited (0)"))
    }

    fn states_and_logs(&self) -> String {
        let mut text = self.docker(&["ps", "--all", "--format", "{{.Names}} {{.Status}}"]);
        for container in self.docker(&["ps", "--all", "--format", "{{.Names}}"]).lines() {
            let log = Command::new("docker").args(["logs", "--tail=10", container]).output().expect("docker");
            text += &format!("\n{container}:\n{}", String::from_utf8_lossy(&log.stdout));
            text += &String::from_utf8_lossy(&log.stderr);
        }
        text
    }

    fn docker(&self, arguments: &[&str]) -> String {
        let filter = format!("label=airlock.test={}", self.platform.name);
        stdout(Command::new("docker").args(arguments).args(["--filter", &filter]))
    }
}

/// Does to the hub's file what Airlock's compiler does: images by id, limits, closed networks, labels.
async fn compiled(platform: &Platform) -> Value {
    let images = platform.build().await;
    let mut file = configuration(&platform.repository("hub"));
    let labels = json!(platform.labels());
    for (name, service) in file["services"].as_object_mut().expect("services") {
        let component = name.split('-').next().unwrap_or(name);
        let image = images.get(component).map_or_else(|| base_image("POSTGRES"), ToString::to_string);
        let memory = if name == "postgres" { 512 * MIB } else { 256 * MIB };
        service["image"] = json!(image);
        service["labels"] = labels.clone();
        service["networks"][TEST_NETWORK] = Value::Null;
        for (key, value) in [
            ("cap_drop", json!(["ALL"])),
            ("cap_add", json!(["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL"])),
            ("security_opt", json!(["no-new-privileges:true"])),
            ("mem_limit", json!(memory)),
            ("memswap_limit", json!(memory)),
            ("pids_limit", json!(256)),
            ("dns", json!([NO_DNS])),
            ("restart", json!("no")),
        ] {
            service[key] = value;
        }
    }
    file["networks"][TEST_NETWORK] = json!({ "internal": true });
    for network in file["networks"].as_object_mut().expect("networks").values_mut() {
        // Without an address of its own the bridge is no way to the host.
        network["driver_opts"] = json!({ "com.docker.network.bridge.inhibit_ipv4": "true" });
    }
    for kind in ["networks", "volumes"] {
        for made in file[kind].as_object_mut().expect("a table").values_mut() {
            made["labels"] = labels.clone();
            made.as_object_mut().expect("a table").remove("name");
        }
    }
    file.as_object_mut().expect("a file").remove("name");
    file
}
