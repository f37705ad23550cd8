//! Every key of the Compose Specification, and what becomes of it. docs/compose.md is this list in words.

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Its value is checked and kept.
    Kept,
    /// Read, and replaced by what Airlock decides.
    Rewritten,
    /// Present, and not empty or false, it stops the run: the reason, and what to do instead.
    Refused(&'static str),
}

use Rule::{Kept, Refused, Rewritten};

const HOST: &str = "it reaches the host; a stack is closed to it";
const DEVICE: &str = "it reaches the host's devices; a stack has none";
const BUILD: &str = "images come from staging, verified by digest; a hub builds nothing";
const CODE: &str = "it runs code beside the services, with the host's rights; use a service that others depend on with `service_completed_successfully`";
const TUNING: &str = "limits and tuning are the host's; `cpus`, `mem_limit` and `pids_limit` may lower them";
const NAMES: &str = "names outside the stack lead nowhere; services reach each other by their names";
const RESOLVED: &str = "it was not resolved; write what it brings into the file itself";

/// Keys of a service.
pub const SERVICE: &[(&str, Rule)] = &[
    ("annotations", Refused(HOST)),
    ("attach", Rewritten),
    ("blkio_config", Refused(TUNING)),
    ("build", Refused(BUILD)),
    ("cap_add", Refused("no service gets a capability beyond the few that every service has")),
    ("cap_drop", Rewritten),
    ("cgroup", Refused(HOST)),
    ("cgroup_parent", Refused(HOST)),
    ("command", Kept),
    ("configs", Rewritten),
    (
        "container_name",
        Refused("two stacks on one host would meet; services reach each other by their names"),
    ),
    ("cpu_count", Refused(TUNING)),
    ("cpu_percent", Refused(TUNING)),
    ("cpu_period", Refused(TUNING)),
    ("cpu_quota", Refused(TUNING)),
    ("cpu_rt_period", Refused(TUNING)),
    ("cpu_rt_runtime", Refused(TUNING)),
    ("cpu_shares", Refused(TUNING)),
    ("cpus", Rewritten),
    ("cpuset", Refused(TUNING)),
    ("credential_spec", Refused(HOST)),
    ("depends_on", Kept),
    ("deploy", Rewritten),
    ("develop", Refused(BUILD)),
    ("device_cgroup_rules", Refused(DEVICE)),
    ("devices", Refused(DEVICE)),
    ("dns", Refused(NAMES)),
    ("dns_opt", Refused(NAMES)),
    ("dns_search", Refused(NAMES)),
    ("domainname", Kept),
    ("driver_opts", Refused(HOST)),
    ("entrypoint", Kept),
    ("env_file", Refused(RESOLVED)),
    ("environment", Kept),
    ("expose", Kept),
    ("extends", Refused(RESOLVED)),
    ("external_links", Refused(NAMES)),
    ("extra_hosts", Refused(NAMES)),
    ("gpus", Refused(DEVICE)),
    ("group_add", Refused("groups of the host mean nothing here")),
    ("healthcheck", Kept),
    ("hostname", Kept),
    ("image", Rewritten),
    ("init", Kept),
    ("ipc", Refused(HOST)),
    ("isolation", Refused(HOST)),
    ("label_file", Refused(RESOLVED)),
    ("labels", Rewritten),
    ("links", Refused(NAMES)),
    ("logging", Rewritten),
    ("mac_address", Refused(HOST)),
    ("mem_limit", Rewritten),
    ("mem_reservation", Rewritten),
    ("mem_swappiness", Refused(TUNING)),
    ("memswap_limit", Rewritten),
    ("models", Refused("a stack runs what staging made, and nothing else")),
    ("network_mode", Refused("every service is on the stack's own closed networks; use `networks`")),
    ("networks", Rewritten),
    ("oom_kill_disable", Refused(TUNING)),
    ("oom_score_adj", Refused(TUNING)),
    ("pid", Refused(HOST)),
    ("pids_limit", Rewritten),
    ("platform", Rewritten),
    (
        "ports",
        Refused(
            "nothing is published; services and tests reach each other by name, and `expose` documents a port",
        ),
    ),
    ("post_start", Refused(CODE)),
    ("pre_start", Refused(CODE)),
    ("pre_stop", Refused(CODE)),
    ("privileged", Refused(HOST)),
    ("profiles", Rewritten),
    ("provider", Refused(CODE)),
    ("pull_policy", Rewritten),
    ("pull_refresh_after", Rewritten),
    ("read_only", Kept),
    ("restart", Rewritten),
    ("runtime", Refused(HOST)),
    ("scale", Rewritten),
    ("secrets", Rewritten),
    ("security_opt", Refused("the security profile is the host's; no service may change it")),
    ("shm_size", Rewritten),
    ("stdin_open", Kept),
    ("stop_grace_period", Kept),
    ("stop_signal", Kept),
    ("storage_opt", Refused(TUNING)),
    ("sysctls", Refused(HOST)),
    ("tmpfs", Rewritten),
    ("tty", Kept),
    ("ulimits", Refused(TUNING)),
    (
        "use_api_socket",
        Refused("it hands the engine's socket and the host's registry credentials to the service"),
    ),
    ("user", Kept),
    ("userns_mode", Refused(HOST)),
    ("uts", Refused(HOST)),
    ("volumes", Rewritten),
    ("volumes_from", Refused("name the volume in both services")),
    ("working_dir", Kept),
];

/// Keys at the top of a file.
pub const TOP: &[(&str, Rule)] = &[
    ("configs", Rewritten),
    ("include", Refused(RESOLVED)),
    ("models", Refused("a stack runs what staging made, and nothing else")),
    ("name", Rewritten),
    ("networks", Rewritten),
    ("secrets", Rewritten),
    ("services", Rewritten),
    ("version", Rewritten),
    ("volumes", Rewritten),
];

/// Keys of a network.
pub const NETWORK: &[(&str, Rule)] = &[
    ("attachable", Rewritten),
    ("driver", Rewritten),
    ("driver_opts", Refused(HOST)),
    ("enable_ipv4", Rewritten),
    ("enable_ipv6", Refused("the stack's networks have no IPv6; use names, not addresses")),
    ("external", Refused("a network from outside the stack is not closed; declare one of its own")),
    ("internal", Rewritten),
    ("ipam", Refused("addresses are the engine's choice; use names")),
    ("labels", Rewritten),
    ("name", Rewritten),
];

/// Keys of a service's place on a network.
pub const ATTACHMENT: &[(&str, Rule)] = &[
    ("aliases", Kept),
    ("driver_opts", Refused(HOST)),
    ("gw_priority", Rewritten),
    ("interface_name", Refused(HOST)),
    ("ipv4_address", Refused("addresses are the engine's choice; use names")),
    ("ipv6_address", Refused("addresses are the engine's choice; use names")),
    ("link_local_ips", Refused("addresses are the engine's choice; use names")),
    ("mac_address", Refused(HOST)),
    ("priority", Rewritten),
];

/// Keys of a volume.
pub const VOLUME: &[(&str, Rule)] = &[
    ("driver", Rewritten),
    ("driver_opts", Refused("a volume's options can mount any directory of the host")),
    ("external", Refused("what another stack left must not be seen; declare a volume of its own")),
    ("labels", Rewritten),
    ("name", Rewritten),
];

/// Keys of a config or a secret.
pub const FILE_OBJECT: &[(&str, Rule)] = &[
    ("content", Refused("put the content into a file of the hub's repository and name it with `file`")),
    ("driver", Refused(HOST)),
    ("driver_opts", Refused(HOST)),
    (
        "environment",
        Refused("the runner's environment is not the stack's; name a file of the hub's repository"),
    ),
    ("external", Refused("nothing outside the hub's repository is read; name a file of it")),
    ("file", Rewritten),
    ("labels", Rewritten),
    ("name", Rewritten),
    ("template_driver", Refused(HOST)),
];

/// Keys of a service's use of a config or a secret.
pub const FILE_USE: &[(&str, Rule)] =
    &[("gid", Rewritten), ("mode", Rewritten), ("source", Kept), ("target", Kept), ("uid", Rewritten)];

/// Keys of a service's mount.
pub const MOUNT: &[(&str, Rule)] = &[
    ("bind", Rewritten),
    ("consistency", Rewritten),
    ("image", Refused("name files of the hub's repository, or a volume")),
    ("read_only", Kept),
    ("source", Kept),
    ("target", Kept),
    ("tmpfs", Rewritten),
    ("type", Kept),
    ("volume", Rewritten),
];

/// Keys of a dependency in `depends_on`; each is required, whatever the file says.
pub const DEPENDENCY: &[(&str, Rule)] =
    &[("condition", Kept), ("required", Rewritten), ("restart", Rewritten)];

/// Keys of a health check.
pub const HEALTHCHECK: &[(&str, Rule)] = &[
    ("disable", Kept),
    ("interval", Kept),
    ("retries", Kept),
    ("start_interval", Kept),
    ("start_period", Kept),
    ("test", Kept),
    ("timeout", Kept),
];

/// Keys of `deploy`.
pub const DEPLOY: &[(&str, Rule)] = &[
    ("endpoint_mode", Refused("there is no swarm; services reach each other by name")),
    ("labels", Rewritten),
    ("mode", Rewritten),
    ("placement", Refused("there is one host; the engine has nothing to choose from")),
    ("replicas", Rewritten),
    ("resources", Rewritten),
    ("restart_policy", Rewritten),
    ("rollback_config", Rewritten),
    ("update_config", Rewritten),
];

/// Every list with the name that docs/compose.md gives it.
pub const ALL: &[(&str, &[(&str, Rule)])] = &[
    ("top level", TOP),
    ("service", SERVICE),
    ("service network", ATTACHMENT),
    ("service volume", MOUNT),
    ("service config or secret", FILE_USE),
    ("dependency", DEPENDENCY),
    ("healthcheck", HEALTHCHECK),
    ("deploy", DEPLOY),
    ("network", NETWORK),
    ("volume", VOLUME),
    ("config or secret", FILE_OBJECT),
];
