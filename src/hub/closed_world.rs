//! Probes every network of a stack before anything of it starts: a container of the helper image, alone
//! on the network, must fail to reach the host, the network's gateway, and the world.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::domain::closed_world::{
    ClosedWorld, ENGINE_RESOLVER, ForbiddenTarget, MAX_PROBE_BYTES, NetworkReport, Way,
};
use crate::domain::sandbox::{Limits, Sandbox, SandboxNetwork, SandboxSpec, TOOLS_BUSYBOX};
use crate::engine::{ClosedNetwork, ExecInput, ExecRequest, Stream};
use crate::failure::{Failure, Outcome};
use crate::hub::stack::StackParts;

const PROBE: &str = include_str!("closed_world/probe.sh");
/// How long a probe may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most addresses of the host that are tried; a host with more of them is never known to be out of reach.
const MAX_HOST_ADDRESSES: usize = 96;
/// Cloud metadata and documentation networks, whose packets go to the default route wherever there is one
/// (RFC 5737, RFC 3849).
const OUTSIDE: [&str; 5] =
    ["169.254.169.254:80", "192.0.2.1:53", "198.51.100.1:443", "203.0.113.1:80", "[2001:db8::1]:80"];
/// A name server's place outside, and the port that is tried where any answer counts.
const OUTSIDE_SERVER: &str = "198.51.100.53";
const ANY_PORT: u16 = 22;

/// What belongs to this host and must not be reached.
#[derive(Debug, Default)]
struct HostFacts {
    addresses: BTreeSet<IpAddr>,
    name_servers: BTreeSet<Ipv4Addr>,
}

/// Measures every network, all at once.
pub async fn measure(parts: &StackParts<'_>, networks: &[ClosedNetwork]) -> Outcome<ClosedWorld> {
    let host = host_facts(parts).await?;
    let probes = networks.iter().enumerate().map(|(number, network)| probe(parts, number, network, &host));
    Ok(ClosedWorld { networks: try_join_all(probes).await? })
}

async fn probe(
    parts: &StackParts<'_>,
    number: usize,
    network: &ClosedNetwork,
    host: &HostFacts,
) -> Outcome<NetworkReport> {
    let sandbox = Sandbox::seal(SandboxSpec {
        image: parts.helper.clone(),
        user: parts.user,
        network: SandboxNetwork::Only(network.name.clone()),
        tools_volume: parts.tools_volume.clone(),
        mounts: Vec::new(),
        limits: Limits { memory_bytes: 128 << 20, pids: 256, ..Limits::default() },
        seccomp: parts.seccomp.clone(),
        source_date_epoch: 0,
        env: Default::default(),
        labels: parts.labels.clone(),
    })
    .map_err(|error| Failure::internal("cannot describe the probe of a network").because(error))?;
    let name = format!("airlock-{}-network-probe-{number}", parts.key);
    parts.engine.remove_container_by_name(&name).await?;
    let container = parts.engine.create_container(&name, &sandbox).await?;
    parts.engine.start_container(&container).await?;
    let own = parts.engine.container_addresses(&container).await?;
    let targets = targets(network, &own, host);
    let mut argv = vec![TOOLS_BUSYBOX.to_owned(), "sh".into(), "-s".into(), "--".into()];
    let of = |way| targets.iter().filter(move |target| target.way == way).map(|t| t.address.clone());
    argv.push(of(Way::Connect).count().to_string());
    argv.extend(of(Way::Connect).chain([ENGINE_RESOLVER.to_owned()]).chain(of(Way::Ask)));
    let request = ExecRequest::new(parts.user, argv).stdin(ExecInput::Bytes(PROBE.into()));
    let mut answer = Vec::new();
    let mut collect = |stream, bytes: &[u8]| {
        if stream == Stream::Stdout && answer.len() < MAX_PROBE_BYTES {
            answer.extend_from_slice(bytes);
        }
    };
    let asked = parts.engine.exec(&container, request, &mut collect);
    // A probe that hangs or fails has measured nothing, which counts as not held.
    let ended = tokio::time::timeout(PATIENCE, asked).await;
    if let Ok(ended) = ended {
        ended?;
    }
    parts.engine.remove_container(&container).await?;
    let mut report = NetworkReport::parse(&network.name, &answer, &targets);
    if network.link.is_subset(&own) {
        report = report.not_tried("the network's gateway cannot be reached: its address is not known");
    }
    let untried = host.addresses.len().saturating_sub(MAX_HOST_ADDRESSES);
    if untried > 0 {
        report = report.not_tried(format!("the host cannot be reached by {untried} further addresses"));
    }
    Ok(report)
}

/// Everything that must not answer; the probe's `own` addresses do and are nobody else's.
fn targets(network: &ClosedNetwork, own: &BTreeSet<Ipv4Addr>, host: &HostFacts) -> Vec<ForbiddenTarget> {
    let mut targets: Vec<ForbiddenTarget> = Vec::new();
    let mut add = |address: String, whose, way| {
        if !targets.iter().any(|known| known.address == address && known.way == way) {
            targets.push(ForbiddenTarget { address, whose, way });
        }
    };
    for address in network.link.difference(own) {
        add(SocketAddr::from((*address, ANY_PORT)).to_string(), "the network's gateway", Way::Connect);
        add(address.to_string(), "the network's gateway", Way::Ask);
    }
    for address in host.addresses.iter().take(MAX_HOST_ADDRESSES) {
        add(SocketAddr::from((*address, ANY_PORT)).to_string(), "the host", Way::Connect);
        if address.is_ipv4() {
            add(address.to_string(), "the host", Way::Ask);
        }
    }
    for server in &host.name_servers {
        add(server.to_string(), "the host's name server", Way::Ask);
    }
    for address in OUTSIDE {
        add(address.to_owned(), "an outside address", Way::Connect);
    }
    add(OUTSIDE_SERVER.to_owned(), "an outside name server", Way::Ask);
    targets
}

/// The engine's bridges, what the kernel calls local, and whom this host asks for names.
async fn host_facts(parts: &StackParts<'_>) -> Outcome<HostFacts> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut addresses: BTreeSet<IpAddr> = parts.engine.host_addresses().await?.into_iter().collect();
    addresses.extend(local_addresses(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4));
    addresses.extend(global_ipv6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6));
    Ok(HostFacts { addresses, name_servers: name_servers(&read("/etc/resolv.conf")) })
}

/// Reads the addresses with a global scope out of `/proc/net/if_inet6`.
fn global_ipv6(table: &str) -> Vec<Ipv6Addr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let (address, scope) = (words.next()?, words.nth(2)?);
        (scope == "00").then(|| u128::from_str_radix(address, 16).ok().map(Ipv6Addr::from))?
    };
    table.lines().filter_map(address).collect()
}

/// The servers of a `resolv.conf`; one on the loopback is in nobody's reach but the host's.
fn name_servers(conf: &str) -> BTreeSet<Ipv4Addr> {
    conf.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .filter(|address: &Ipv4Addr| !address.is_loopback())
        .take(8)
        .collect()
}

/// Reads the local addresses out of the kernel's routing table (`/proc/net/fib_trie`).
fn local_addresses(table: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in table.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = last
            && !address.is_loopback()
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_tells_the_hosts_addresses() {
        let table = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 172.17.0.1\n        /32 host LOCAL\n     |-- 172.17.255.255\n        /32 link BROADCAST\n     |-- 10.1.2.3\n        /32 host LOCAL\n";
        assert_eq!(local_addresses(table), [Ipv4Addr::new(172, 17, 0, 1), Ipv4Addr::new(10, 1, 2, 3)]);
        assert!(local_addresses("no table").is_empty());
    }

    #[test]
    fn the_hosts_ipv6_addresses_and_name_servers_are_told_too() {
        let table = "fe800000000000000000000000000001 02 40 20 80 eth0\n20010db8000000000000000000000007 02 40 00 80 eth0\n00000000000000000000000000000001 01 80 10 80 lo\ncut";
        assert_eq!(global_ipv6(table), ["2001:db8::7".parse::<Ipv6Addr>().unwrap()]);
        let conf = "# nameserver 10.0.0.1\nsearch example\nnameserver 10.0.0.53\nnameserver 127.0.0.53\nnameserver ::1\n";
        assert_eq!(name_servers(conf), BTreeSet::from([Ipv4Addr::new(10, 0, 0, 53)]));
    }

    #[test]
    fn what_is_tried_covers_gateway_host_name_servers_and_the_world() {
        let link = [1, 2].map(|last| Ipv4Addr::new(172, 20, 0, last));
        let network = ClosedNetwork { id: "1".into(), name: "n".into(), link: link.into() };
        let host = HostFacts {
            addresses: ["10.1.2.3", "2001:db8::7"].map(|text| text.parse().unwrap()).into(),
            name_servers: [Ipv4Addr::new(10, 0, 0, 53)].into(),
        };
        let told = |own: Ipv4Addr| -> Vec<String> {
            let targets = targets(&network, &[own].into(), &host);
            targets.iter().map(|to| format!("{:?} {} ({})", to.way, to.address, to.whose)).collect()
        };
        insta::assert_snapshot!(told(link[1]).join("\n"));
        // From engine 28 on the probe itself has what was the gateway's address.
        assert_eq!(told(link[0])[0], "Connect 172.20.0.2:22 (the network's gateway)");
    }
}
