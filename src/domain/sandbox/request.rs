//! The body of the engine's create call (Docker Engine API 1.41, `POST /containers/create`).

use serde_json::{Value, json};

use super::{
    Access, HOME_DIRECTORY, HOST_NAME, IDLE_UID, SILENT_RESOLVER, Sandbox, SandboxNetwork, TOOLS_BUSYBOX,
    TOOLS_DIRECTORY, VolumeMount,
};

/// What nobody in a container reads: the engine's own list, written out so that no other default counts.
const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

impl Sandbox {
    /// Returns the whole body of the engine's create call.
    pub fn to_create_request(&self) -> Value {
        let spec = &self.spec;
        let (uid, gid) = (spec.user.uid(), spec.user.gid());
        let limits = &spec.limits;
        let probe = matches!(spec.network, SandboxNetwork::Beside(_));

        let tools = VolumeMount {
            volume: spec.tools_volume.clone(),
            target: TOOLS_DIRECTORY.to_owned(),
            access: Access::ReadOnly,
        };
        let mounts: Vec<Value> = std::iter::once(&tools).chain(&spec.mounts).map(volume).collect();

        let mut body = json!({
            "Image": spec.image.as_str(),
            "User": format!("{IDLE_UID}:{IDLE_UID}"),
            "Entrypoint": [TOOLS_BUSYBOX],
            "Cmd": ["sleep", "2147483647"],
            "WorkingDir": "/",
            "Env": self.environment(),
            "Labels": spec.labels,
            "AttachStdin": false,
            "AttachStdout": false,
            "AttachStderr": false,
            "OpenStdin": false,
            "Tty": false,
            "Healthcheck": { "Test": ["NONE"] },
            "StopSignal": "SIGKILL",
            "HostConfig": {
                "NetworkMode": network_mode(&spec.network),
                "ReadonlyRootfs": true,
                "Mounts": mounts,
                "Tmpfs": {
                    "/tmp": format!("rw,exec,nosuid,nodev,size={},mode=1777", limits.tmp_bytes),
                    HOME_DIRECTORY: format!(
                        "rw,exec,nosuid,nodev,size={},mode=0700,uid={uid},gid={gid}",
                        limits.home_bytes
                    ),
                },
                "ShmSize": limits.shm_bytes,
                "Privileged": false,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges:true", format!("seccomp={}", spec.seccomp.as_json())],
                "MaskedPaths": MASKED_PATHS,
                "ReadonlyPaths": READ_ONLY_PATHS,
                "IpcMode": "private",
                "CgroupnsMode": "private",
                "Init": !probe,
                "PublishAllPorts": false,
                "Memory": limits.memory_bytes,
                "MemorySwap": limits.memory_bytes,
                "NanoCpus": limits.cpu_millis.saturating_mul(1_000_000),
                "PidsLimit": limits.pids,
                "Ulimits": [
                    { "Name": "core", "Soft": 0, "Hard": 0 },
                    { "Name": "nofile", "Soft": limits.open_files, "Hard": limits.open_files },
                ],
                "LogConfig": { "Type": "none", "Config": {} },
                "RestartPolicy": { "Name": "no" },
                "AutoRemove": false,
            },
        });
        match &spec.network {
            // The engine refuses a host name where the namespace is another container's.
            SandboxNetwork::Beside(container) => {
                body["HostConfig"]["PidMode"] = json!(format!("container:{container}"));
            }
            network => {
                body["Hostname"] = json!(HOST_NAME);
                if matches!(network, SandboxNetwork::Only(_)) {
                    // The engine's own resolver asks the host's for what it does not know, unless told otherwise.
                    body["HostConfig"]["Dns"] = json!([SILENT_RESOLVER]);
                    body["HostConfig"]["DnsSearch"] = json!(["."]);
                }
            }
        }
        body
    }
}

fn network_mode(network: &SandboxNetwork) -> String {
    match network {
        SandboxNetwork::None => "none".to_owned(),
        SandboxNetwork::Only(name) => name.clone(),
        SandboxNetwork::Open => "bridge".to_owned(),
        SandboxNetwork::Beside(container) => format!("container:{container}"),
    }
}

fn volume(mount: &VolumeMount) -> Value {
    json!({
        "Type": "volume",
        "Source": mount.volume,
        "Target": mount.target,
        "ReadOnly": mount.access == Access::ReadOnly,
        // Without it the engine would copy what the image has at this path into the volume.
        "VolumeOptions": { "NoCopy": true },
    })
}
