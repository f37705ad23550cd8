//! Probes every network of a stack before anything of it starts: a container of the helper image, alone
//! on the network, must fail to reach the host, the network's gateway, and the world.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::future::try_join_all;

use crate::domain::closed_world::{ClosedWorld, ForbiddenTarget, MAX_PROBE_BYTES, NetworkReport};
use crate::domain::sandbox::{Limits, Sandbox, SandboxNetwork, SandboxSpec, TOOLS_BUSYBOX};
use crate::engine::{ClosedNetwork, ExecInput, ExecRequest, Stream};
use crate::failure::{Failure, Outcome};
use crate::hub::stack::StackParts;

/// Tries everything at once and says one line for each thing; the last line says that nothing was cut off.
///
/// A default route is no fault by itself: Docker Engine 20.10 always sets one, to an address that is
/// nobody's on a closed network, and that address is among those that are tried.
const PROBE: &str = r#"b=/.airlock/bin/busybox
echo "network-probe 1"
ipv6=none
if [ -r /proc/net/if_inet6 ]; then
    while read -r address index prefix scope rest; do
        # 20 is the link's own, 10 the loopback's.
        case $scope in 10 | 20) ;; *) ipv6=there ;; esac
    done </proc/net/if_inet6
fi
echo "address ipv6 $ipv6"
cd /tmp
number=0
for target in "$@"; do
    number=$((number + 1))
    (
        if answer=$($b timeout 4 $b nc -w 3 "${target%:*}" "${target##*:}" </dev/null 2>&1); then
            echo "connect $target connected"
        elif [ $? = 143 ]; then
            echo "connect $target silent"
        else
            case $answer in
            *nreachable* | *"annot assign"* | *"o route"*) echo "connect $target unreachable" ;;
            *refused* | *reset*) echo "connect $target refused" ;;
            *"timed out"*) echo "connect $target silent" ;;
            *) echo "connect $target unknown" ;;
            esac
        fi
    ) >"answer-$number" &
done
(
    answer=$($b timeout 8 $b nslookup airlock-probe.example. 2>&1)
    case $answer in
    # The engine's own resolver says SERVFAIL, or nothing, when it has nobody to ask.
    *NXDOMAIN* | *"an't find"*NXDOMAIN*) echo "dns outside answered" ;;
    *SERVFAIL* | *"timed out"* | *"no servers could be reached"* | *REFUSED* | "") echo "dns outside none" ;;
    *Name:*) echo "dns outside answered" ;;
    *) echo "dns outside none" ;;
    esac
) >answer-dns &
wait
cat answer-*
echo complete
"#;

/// How long a probe may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most addresses of the host that are tried.
const MAX_HOST_ADDRESSES: usize = 24;
/// Cloud metadata and documentation networks, whose packets go to the default route wherever there is one
/// (RFC 5737, RFC 3849).
const OUTSIDE: [&str; 5] =
    ["169.254.169.254:80", "192.0.2.1:53", "198.51.100.1:443", "203.0.113.1:80", "[2001:db8::1]:80"];

/// Measures every network, all at once.
pub async fn measure(parts: &StackParts<'_>, networks: &[ClosedNetwork]) -> Outcome<ClosedWorld> {
    let host = host_addresses(parts).await?;
    let probes = networks.iter().enumerate().map(|(number, network)| probe(parts, number, network, &host));
    Ok(ClosedWorld { networks: try_join_all(probes).await? })
}

async fn probe(
    parts: &StackParts<'_>,
    number: usize,
    network: &ClosedNetwork,
    host: &[IpAddr],
) -> Outcome<NetworkReport> {
    let targets = targets(network, host);
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
    let mut argv = vec![TOOLS_BUSYBOX.to_owned(), "sh".into(), "-s".into(), "--".into()];
    argv.extend(targets.iter().map(|target| target.address.clone()));
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
    Ok(NetworkReport::parse(&network.name, &answer, &targets))
}

fn targets(network: &ClosedNetwork, host: &[IpAddr]) -> Vec<ForbiddenTarget> {
    let mut targets: Vec<ForbiddenTarget> = Vec::new();
    let mut add = |address: String, whose| {
        if !targets.iter().any(|known| known.address == address) {
            targets.push(ForbiddenTarget { address, whose });
        }
    };
    if let Some(gateway) = network.gateway {
        add(format!("{gateway}:22"), "the network's gateway");
    }
    for address in host {
        match address {
            IpAddr::V4(address) => add(format!("{address}:22"), "the host"),
            IpAddr::V6(address) => add(format!("[{address}]:22"), "the host"),
        }
    }
    for address in OUTSIDE {
        add(address.to_owned(), "an outside address");
    }
    targets
}

/// The addresses that this host has: the engine's bridges, and what the kernel calls local.
async fn host_addresses(parts: &StackParts<'_>) -> Outcome<Vec<IpAddr>> {
    let mut addresses = parts.engine.host_addresses().await?;
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    addresses.extend(local_addresses(&table).into_iter().map(IpAddr::V4));
    addresses.sort();
    addresses.dedup();
    addresses.truncate(MAX_HOST_ADDRESSES);
    Ok(addresses)
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
}
