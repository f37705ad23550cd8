//! The hermetic probe: a container beside the job's that measures what the job can reach.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{ContainerId, Engine, EngineError, ExecRequest};
use crate::domain::digest::Digest;
use crate::domain::hermetic::Measurement;
use crate::domain::sandbox::{Sandbox, TOOLS_BUSYBOX};

/// How long the whole probe may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Addresses that nothing in a sandbox may reach: cloud metadata, and documentation networks, whose
/// packets go to the default route wherever there is one (RFC 5737, RFC 3849).
const TARGETS: [&str; 4] = ["169.254.169.254:80", "192.0.2.1:80", "198.51.100.1:443", "[2001:db8::1]:80"];

impl Engine {
    /// Measures the running container of `sandbox` from a container of the helper image beside it.
    ///
    /// `further` are addresses to try besides the fixed ones and the default bridge's gateway: the
    /// engine's, the registry's, GitLab's. Nothing of the job's may run meanwhile.
    pub async fn probe(
        &self,
        name: &str,
        job: &ContainerId,
        sandbox: &Sandbox,
        helper_image: &Digest,
        further: &[SocketAddr],
    ) -> Result<Measurement, EngineError> {
        let beside = sandbox
            .probe_beside(job.as_str(), helper_image.clone())
            .map_err(|e| EngineError::Malformed { what: "describe the probe".into(), why: e.to_string() })?;
        // The kernel keeps 15 bytes of a process name.
        let witness_name = format!("witness-{}", &job.as_str()[..7]);
        let witness_script = format!("echo {witness_name} >/proc/self/comm && echo ready && read -r end");
        let witness = ExecRequest::new(
            sandbox.user(),
            [TOOLS_BUSYBOX.to_owned(), "sh".into(), "-c".into(), witness_script],
        );
        let mut witness = self.exec_duplex(job, witness).await?;
        let mut ready = [0; 6];
        let greeting = tokio::io::AsyncReadExt::read_exact(&mut witness.stdout, &mut ready);
        let _ = tokio::time::timeout(Duration::from_secs(10), greeting).await;

        let probe = self.create_container(name, &beside).await?;
        let measured = self.run_probe(&probe, &beside, &witness_name, further).await;
        let removed = self.remove_container(&probe).await;
        // The witness ends with its input; what it says is of no interest.
        let ended = witness.finish(Duration::from_secs(10)).await.map(drop);
        let measured = measured?;
        removed?;
        ended?;
        Ok(measured)
    }

    async fn run_probe(
        &self,
        probe: &ContainerId,
        beside: &Sandbox,
        witness_name: &str,
        further: &[SocketAddr],
    ) -> Result<Measurement, EngineError> {
        self.start_container(probe).await?;
        let mut argv =
            vec![TOOLS_BUSYBOX.to_owned(), "sh".into(), "/.airlock/probe".into(), witness_name.to_owned()];
        argv.extend(TARGETS.map(str::to_owned));
        argv.extend(self.bridge_gateways().await?.iter().map(|gateway| match gateway {
            IpAddr::V4(address) => format!("{address}:22"),
            IpAddr::V6(address) => format!("[{address}]:22"),
        }));
        argv.extend(further.iter().map(SocketAddr::to_string));
        let request = ExecRequest::new(beside.user(), argv);
        let (_, answer) = self.run_tool(probe, request, PATIENCE).await?;
        Ok(Measurement::parse(&answer))
    }

    /// Returns the host's own addresses on the engine's default bridge.
    pub(super) async fn bridge_gateways(&self) -> Result<Vec<IpAddr>, EngineError> {
        let bridge = match self.docker.inspect_network("bridge", None).await {
            Ok(bridge) => bridge,
            Err(e) => {
                let error = EngineError::from_bollard("look at the default bridge", e);
                return if error.is_absent() { Ok(Vec::new()) } else { Err(error) };
            }
        };
        Ok(bridge
            .ipam
            .and_then(|ipam| ipam.config)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|config| config.gateway?.parse().ok())
            .collect())
    }
}
