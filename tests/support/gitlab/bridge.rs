//! The address under which containers on the engine's default bridge reach the host.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::Value;

/// Returns the default bridge's gateway and makes sure that the host holds it.
pub fn gateway() -> IpAddr {
    let (gateway, prefix) = configured();
    if TcpListener::bind((gateway, 0)).is_ok() {
        return IpAddr::V4(gateway);
    }
    // Another daemon with `--bridge none` in the same namespace takes the address away.
    let address = format!("{gateway}/{prefix}");
    for arguments in [["addr", "add", &address, "dev", "docker0"], ["link", "set", "dev", "docker0", "up"]] {
        let output = Command::new("ip").args(arguments).output().expect("run `ip`");
        assert!(
            output.status.success(),
            "cannot give the default bridge its address {address} (root is needed): {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    TcpListener::bind((gateway, 0)).expect("bind the gateway address of the default bridge");
    IpAddr::V4(gateway)
}

/// Asks the engine for gateway and prefix length of the network `bridge`.
fn configured() -> (Ipv4Addr, u8) {
    let network = engine_get("/networks/bridge");
    let ipv4 = |config: &&Value| config["Subnet"].as_str().is_some_and(|subnet| subnet.contains('.'));
    let config = network["IPAM"]["Config"].as_array().and_then(|configs| configs.iter().find(ipv4));
    let config = config.expect("the engine's default bridge network has an IPv4 subnet");
    let (base, prefix) =
        config["Subnet"].as_str().and_then(|s| s.split_once('/')).expect("a subnet in CIDR form");
    let prefix = prefix.parse().expect("a prefix length");
    if let Some(gateway) = config["Gateway"].as_str() {
        return (gateway.parse().expect("an IPv4 gateway"), prefix);
    }
    let base: Ipv4Addr = base.parse().expect("an IPv4 subnet");
    (Ipv4Addr::from(u32::from(base) + 1), prefix)
}

fn engine_get(path: &str) -> Value {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let socket = host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock");
    let mut stream = UnixStream::connect(socket)
        .unwrap_or_else(|error| panic!("Docker Engine does not answer at `{socket}`: {error}"));
    write!(stream, "GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n").expect("ask the engine");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read the engine's answer");
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an HTTP answer") + 4;
    serde_json::from_slice(&answer[body..]).expect("the engine answers with JSON")
}
