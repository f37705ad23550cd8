//! A real registry for tests: Debian's `docker-registry` (Distribution 2.8) on a free loopback port.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;

/// Whether the registry speaks TLS with a CA of its own and asks for a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    TlsWithPassword,
    PlainOpen,
}

/// A running registry; it ends and its files go when this is dropped.
pub struct Registry {
    /// `127.0.0.1:<port>`.
    pub host: String,
    /// The CA that certified it (`Kind::TlsWithPassword`).
    pub ca: Option<PathBuf>,
    /// Credentials for it in Docker's form, mode 0600 (`Kind::TlsWithPassword`).
    pub auth_file: Option<PathBuf>,
    /// Where it keeps its blobs.
    pub storage: PathBuf,
    pub process: Child,
    _directory: tempfile::TempDir,
}

impl Registry {
    pub fn start(kind: Kind) -> Self {
        // A free port may be taken by somebody else before the registry listens.
        for _ in 0..5 {
            if let Some(registry) = Self::try_start(kind) {
                return registry;
            }
        }
        panic!("`docker-registry` does not start (Debian package `docker-registry`)");
    }

    fn try_start(kind: Kind) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let storage = at("storage");
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  delete: {{enabled: true}}\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {host}\n",
            storage.display()
        );
        let (mut ca, mut auth_file) = (None, None);
        if kind == Kind::TlsWithPassword {
            make_certificates(directory.path(), port);
            let (user, password) = ("airlock", "correct horse battery");
            fs::write(at("htpasswd"), format!("{user}:{}\n", bcrypt(password))).unwrap();
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let file = at("auth.json");
            fs::write(&file, format!(r#"{{"auths":{{"{host}":{{"auth":"{pair}"}}}}}}"#)).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            config += &format!(
                "  tls: {{certificate: {}, key: {}}}\nauth:\n  htpasswd: {{realm: test, path: {}}}\n",
                at("server.pem").display(),
                at("server.key").display(),
                at("htpasswd").display()
            );
            (ca, auth_file) = (Some(at("ca.pem")), Some(file));
        }
        fs::write(at("config.yml"), config).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(at("config.yml"))
            .env_clear()
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("`docker-registry` is installed (Debian package `docker-registry`)");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if process.try_wait().unwrap().is_some() {
                eprintln!("{}", fs::read_to_string(at("log")).unwrap());
                return None;
            }
            if TcpStream::connect(&host).is_ok() {
                return Some(Self { host, ca, auth_file, storage, process, _directory: directory });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = process.kill();
        let _ = process.wait();
        None
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes `ca.pem` and a server certificate for loopback with its key.
fn make_certificates(directory: &Path, port: u16) {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let subject = format!("/CN=test CA {port}");
    let mut ca = vec!["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", "ca.key", "-out", "ca.pem"];
    ca.extend(key);
    openssl(&ca);
    fs::write(directory.join("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let mut request = vec!["req", "-subj", "/CN=registry", "-keyout", "server.key", "-out", "server.csr"];
    request.extend(key);
    openssl(&request);
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "san",
        "-out",
        "server.pem",
    ]);
}

/// Returns the bcrypt form of a password; perl is on every Debian machine.
fn bcrypt(password: &str) -> String {
    let program = "print crypt($ARGV[0], '$2b$05$abcdefghijklmnopqrstuu')";
    let output = Command::new("perl").args(["-e", program, password]).output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap();
    assert!(hash.starts_with("$2b$"), "perl's crypt knows no bcrypt");
    hash
}
