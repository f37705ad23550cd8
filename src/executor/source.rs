//! Takes the commit through a fresh helper container that saw none of the author's variables.
//!
//! The job's token reaches it on standard input alone and is removed before the objects are read. The
//! container need not be trusted: every id is recomputed from the bytes that it hands over.

use std::path::Path;
use std::time::Duration;

use crate::delivery::commit::CommitTree;
use crate::domain::commit::ObjectId;
use crate::domain::sandbox::{Sandbox, SandboxNetwork, SandboxSpec, SeccompProfile};
use crate::engine::{Engine, ExecInput, ExecRequest, ResolvedImage};
use crate::executor::containers::{bad_sandbox, labels, limits, name, user};
use crate::executor::job_record::JobKey;
use crate::failure::{Failure, Outcome};
use crate::gitlab::job_response::JobResponse;
use crate::job_log::{JobLog, printable};
use crate::settings::Settings;

const MIB: u64 = 1024 * 1024;

/// Arguments: repository URL, commit, object format. The token is the first line of standard input and
/// goes into this container's own memory for git's credential helper: not argv, not environment, not
/// the URL. GitLab's private CA, if there is one, is the rest.
const FETCH_SCRIPT: &str = r#"set -eu
umask 077
IFS= read -r token
printf 'username=gitlab-ci-token\npassword=%s\n' "$token" > /tmp/credential
unset token
cat > /tmp/ca.pem
if [ -s /tmp/ca.pem ]; then export GIT_SSL_CAINFO=/tmp/ca.pem; fi
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0
git init --quiet --bare --object-format="$3" /tmp/source
cd /tmp/source
git -c protocol.allow=never -c protocol.http.allow=always -c protocol.https.allow=always \
  -c http.followRedirects=false -c transfer.bundleURI=false -c gc.auto=0 \
  -c credential.helper='!cat /tmp/credential #' \
  fetch --quiet --depth=1 --no-tags --no-recurse-submodules --no-write-fetch-head "$1" "$2"
rm -f /tmp/credential
"#;

/// Fetches the job's commit and recomputes its tree.
pub async fn fetch(
    engine: &Engine,
    settings: &Settings,
    helper: &ResolvedImage,
    key: &JobKey,
    response: &JobResponse,
    work_dir: &Path,
    log: &JobLog,
) -> Outcome<CommitTree> {
    let facts = &response.facts;
    let user = user(&settings.sandbox)?;
    let started = time::OffsetDateTime::now_utc().unix_timestamp();
    let mut sandbox_limits = limits(&settings.sandbox);
    // The objects live in this container's /tmp, which counts as its memory.
    sandbox_limits.tmp_bytes = settings.sandbox.workspace_mib * MIB;
    let sandbox = Sandbox::seal(SandboxSpec {
        image: helper.id.clone(),
        user,
        network: SandboxNetwork::Open,
        tools_volume: name(key.as_str(), "tools"),
        mounts: Vec::new(),
        limits: sandbox_limits,
        seccomp: SeccompProfile::shipped(),
        source_date_epoch: 315_532_800,
        env: Default::default(),
        labels: labels(key, facts, started),
    })
    .map_err(bad_sandbox)?;
    let container_name = name(key.as_str(), "fetch");
    engine.remove_container_by_name(&container_name).await?;
    let container = engine.create_container(&container_name, &sandbox).await?;
    engine.start_container(&container).await?;

    let format = match facts.commit {
        ObjectId::Sha1(_) => "sha1",
        ObjectId::Sha256(_) => "sha256",
    };
    let commit = facts.commit.to_string();
    let argv = ["bash", "-c", FETCH_SCRIPT, "fetch", facts.repository_url.as_str(), &commit, format];
    let mut input = format!("{}\n", response.token.as_str()).into_bytes();
    if let Some(ca) = &settings.gitlab.ca {
        input.extend(std::fs::read(ca).map_err(|error| {
            Failure::usage(format!("cannot read GitLab's CA `{}`", ca.display()))
                .because(error)
                .hint("for the runner's administrator: check `gitlab.ca` in the host settings")
        })?);
    }
    let request = ExecRequest::new(user, argv).stdin(ExecInput::Bytes(input.into()));
    let mut words = Vec::new();
    let mut collect = |_stream, bytes: &[u8]| {
        if words.len() < 16 * 1024 {
            words.extend_from_slice(bytes);
        }
    };
    let status = engine.exec(&container, request, &mut collect).await?;
    if status != 0 {
        return Err(fetch_failure(response, settings.sandbox.workspace_mib, &words, status));
    }

    let request = ExecRequest::new(user, ["git", "--git-dir=/tmp/source", "cat-file", "--batch"]);
    let mut objects = engine.exec_duplex(&container, request).await?;
    let limit = settings.sandbox.workspace_mib * MIB;
    let tree =
        CommitTree::fetch(facts.commit, &mut objects.stdin, &mut objects.stdout, work_dir, limit).await;
    // A tree that was refused is told first; how git ended matters only when the tree is whole.
    let tree = tree?;
    objects.finish(Duration::from_secs(20)).await?;
    engine.remove_container(&container).await?;
    log.line(format!("commit  {}  recomputed from {} files", facts.commit, tree.len()));
    Ok(tree)
}

fn fetch_failure(response: &JobResponse, workspace_mib: u64, words: &[u8], status: u8) -> Failure {
    let text = String::from_utf8_lossy(words).replace(response.token.as_str(), "[MASKED]");
    let lines: Vec<String> = text.lines().map(printable).collect();
    if text.contains("No space left on device") {
        return Failure::refused_to_publish(format!("cannot take commit {}: it does not fit into the workspace", response.facts.commit))
            .because(format!("git ended with status {status}: No space left on device; `sandbox.workspace_mib` is {workspace_mib}"))
            .hint("keep large and generated files out of the repository, or ask the runner's administrator for a larger workspace");
    }
    let tail = lines[lines.len().saturating_sub(20)..].join("\n");
    Failure::system(format!("cannot fetch commit {} from `{}`", response.facts.commit, response.facts.repository_url))
        .because(format!("git ended with status {status}: {tail}"))
        .hint("retry the job; if it fails again, the runner's administrator checks that containers of this host reach GitLab")
        .note("runner problem, not your script")
}
