//! Resolves the hub's Compose file with Compose's own parser, in a sandbox.
//!
//! `docker compose config` reads any file that the Compose file names, follows links, and can be made to eat
//! gigabytes: it runs in a container without network, with the commit's tree as its only input, an empty
//! environment, and bounds on memory, time and output. What it writes is no more trusted than the file.

mod read;

use std::time::Duration;

use tokio_util::io::ReaderStream;

use crate::compose::{MAX_CONFIG_BYTES, TREE_IN_SANDBOX};
use crate::delivery::commit::{CommitTree, TarOwner};
use crate::domain::sandbox::{
    Access, Limits, Sandbox, SandboxNetwork, SandboxSpec, TOOLS_BUSYBOX, VolumeMount,
};
use crate::engine::{ContainerId, ExecRequest, Stream};
use crate::failure::{Failure, Outcome};
use crate::hub::stack::StackParts;
use crate::job_log::printable;

/// Where the helper image keeps Compose (`executor-config/helper-image`).
/// Lines of Compose's own that are no part of why it stopped.
const ADVICE: [&str; 2] = ["level=info", "level=warning"];
/// How Compose, up to 2.26 and later, says that its schema does not have a key.
const UNKNOWN_KEY: [&str; 2] = ["Additional property", "additional properties"];
/// How Compose, up to 2.26 and later, says that a file is at a git or OCI remote: nothing is, in the sandbox.
const REMOTE: [&str; 3] =
    ["remote resource is disabled", "failed to access repository at", "failed to pull OCI resource"];
const PROGRAM: &str = "/usr/local/bin/docker-compose";
/// Most refusals that are told.
const MAX_TOLD: usize = 30;
const MEMORY: u64 = 512 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);
/// Room in the volume beside the tree's own bytes.
const ROOM: u64 = 32 * 1024 * 1024;
/// What to do about a file that takes more than a resolver has.
const UNFOLDS: &str = "anchors and includes that unfold into each other take time and memory without an end: write the file out";
const MIB: u64 = 1024 * 1024;

/// What the program did.
struct Answer {
    status: u8,
    out: Vec<u8>,
    err: Vec<u8>,
    too_large: bool,
}

/// Returns the resolved file as JSON; `file` is its path in the tree.
pub async fn config(parts: &StackParts<'_>, tree: &CommitTree, file: &str) -> Outcome<Vec<u8>> {
    let resolver = Resolver::start(parts, tree).await?;
    let outcome = resolver.resolve(file).await;
    let removed = resolver.remove().await;
    let json = outcome?;
    removed?;
    Ok(json)
}

/// The sandbox in which files of one commit are resolved.
pub struct Resolver<'a> {
    parts: &'a StackParts<'a>,
    tree: &'a CommitTree,
    container: ContainerId,
}

impl<'a> Resolver<'a> {
    /// Starts the sandbox and fills it with the commit's files.
    pub async fn start(parts: &'a StackParts<'a>, tree: &'a CommitTree) -> Outcome<Self> {
        let builds = TREE_IN_SANDBOX.rsplit_once('/').map_or("/", |(parent, _)| parent);
        remove(parts).await?;
        let volume = volume_name(parts);
        parts.engine.create_workspace_volume(&volume, tree.bytes() + ROOM, parts.user, parts.labels).await?;
        let made = async {
            let sandbox = sandbox(parts, tree, builds, volume)?;
            let container = parts.engine.create_container(&container_name(parts), &sandbox).await?;
            parts.engine.start_container(&container).await?;
            fill(parts, tree, &container, builds).await?;
            Ok(container)
        };
        match made.await {
            Ok(container) => Ok(Self { parts, tree, container }),
            Err(failure) => {
                // The failure that was there first says more.
                let _ = remove(parts).await;
                Err(failure)
            }
        }
    }

    /// Resolves the file at this path in the tree.
    pub async fn resolve(&self, file: &str) -> Outcome<Vec<u8>> {
        // A link as the Compose file would count differently for whoever follows it.
        let Some(_) = self.tree.read(file, MAX_CONFIG_BYTES)? else {
            return Err(Failure::refused(format!(
                "there is no Compose file `{}` in the hub's commit",
                printable(file)
            ))
            .because("`compose` in `airlock-hub.toml` names it")
            .hint("commit the file, or name the one that is there"));
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let raw = self.run(file, &["--no-interpolate"], deadline).await?;
        let outside = read::outside(&raw, self.tree);
        if !outside.is_empty() {
            let failure = Failure::refused(format!("cannot resolve the Compose file `{}`", printable(file)));
            let failure = outside.into_iter().take(MAX_TOLD).fold(failure, Failure::because);
            return Err(failure.hint("commit the file into the hub's repository and name it there"));
        }
        self.run(file, &[], deadline).await
    }

    async fn run(&self, file: &str, options: &[&str], deadline: tokio::time::Instant) -> Outcome<Vec<u8>> {
        match tokio::time::timeout_at(deadline, run(self.parts, &self.container, file, options)).await {
            Ok(answer) => judge(file, answer?),
            Err(_) => Err(refused(
                file,
                format!("Compose did not resolve it within {} s", PATIENCE.as_secs()),
                UNFOLDS,
            )),
        }
    }

    /// Removes the sandbox and whatever still runs in it.
    pub async fn remove(self) -> Outcome<()> {
        remove(self.parts).await
    }
}

fn container_name(parts: &StackParts<'_>) -> String {
    format!("airlock-{}-compose", parts.key)
}

fn volume_name(parts: &StackParts<'_>) -> String {
    format!("airlock-{}-compose-tree", parts.key)
}

async fn remove(parts: &StackParts<'_>) -> Outcome<()> {
    parts.engine.remove_container_by_name(&container_name(parts)).await?;
    parts.engine.remove_volume(&volume_name(parts)).await?;
    Ok(())
}

fn sandbox(parts: &StackParts<'_>, tree: &CommitTree, builds: &str, volume: String) -> Outcome<Sandbox> {
    Sandbox::seal(SandboxSpec {
        image: parts.helper.clone(),
        user: parts.user,
        network: SandboxNetwork::None,
        tools_volume: parts.tools_volume.clone(),
        mounts: vec![VolumeMount { volume, target: builds.to_owned(), access: Access::ReadWrite }],
        limits: Limits {
            memory_bytes: MEMORY,
            cpu_millis: 2000,
            pids: 64,
            tmp_bytes: 16 * MIB,
            home_bytes: 16 * MIB,
            ..Limits::default()
        },
        seccomp: parts.seccomp.clone(),
        source_date_epoch: tree.commit().time().unsigned_abs(),
        env: Default::default(),
        labels: parts.labels.clone(),
    })
    .map_err(|error| Failure::internal("cannot describe the sandbox of the Compose file").because(error))
}

async fn fill(
    parts: &StackParts<'_>,
    tree: &CommitTree,
    container: &ContainerId,
    builds: &str,
) -> Outcome<()> {
    let tar = parts.work_dir.join("compose-tree.tar");
    let failed =
        |error: std::io::Error| Failure::system(format!("cannot write `{}`", tar.display())).because(error);
    let owner = TarOwner { uid: parts.user.uid(), gid: parts.user.gid() };
    let prefix = format!("{}/", TREE_IN_SANDBOX.rsplit_once('/').map_or("", |(_, name)| name));
    let out = std::fs::File::create(&tar).map_err(failed)?;
    tree.write_tar("", &prefix, owner, &|_| true, std::io::BufWriter::new(out))?;
    let file = tokio::fs::File::open(&tar).await.map_err(failed)?;
    parts.engine.put_archive(container, builds, ReaderStream::new(file)).await?;
    let _ = std::fs::remove_file(&tar);
    Ok(())
}

async fn run(
    parts: &StackParts<'_>,
    container: &ContainerId,
    file: &str,
    options: &[&str],
) -> Outcome<Answer> {
    let path = format!("{TREE_IN_SANDBOX}/{file}");
    // `env -i`: what a file interpolates is what stands in the tree, and nothing else.
    let mut argv = vec![TOOLS_BUSYBOX, "env", "-i", PROGRAM, "--file", &path, "config", "--format", "json"];
    argv.extend(options);
    let request = ExecRequest::new(parts.user, argv).workdir(TREE_IN_SANDBOX);
    let mut answer = Answer { status: 0, out: Vec::new(), err: Vec::new(), too_large: false };
    let mut collect = |stream, bytes: &[u8]| match stream {
        Stream::Stdout if (answer.out.len() + bytes.len()) as u64 > MAX_CONFIG_BYTES => {
            answer.too_large = true
        }
        Stream::Stdout => answer.out.extend_from_slice(bytes),
        Stream::Stderr if answer.err.len() < 64 * 1024 => answer.err.extend_from_slice(bytes),
        Stream::Stderr => {}
    };
    let status = parts.engine.exec(container, request, &mut collect).await?;
    answer.status = status;
    Ok(answer)
}

fn judge(file: &str, answer: Answer) -> Outcome<Vec<u8>> {
    if answer.too_large {
        return Err(refused(
            file,
            format!("it unfolds into more than {MAX_CONFIG_BYTES} bytes"),
            "write the file out, or leave out what anchors repeat",
        ));
    }
    match answer.status {
        0 => Ok(answer.out),
        137 => Err(refused(
            file,
            format!("Compose needed more than {} MiB to resolve it", MEMORY / MIB),
            UNFOLDS,
        )),
        126 | 127 => Err(Failure::system("cannot resolve the Compose file: the helper image has no Docker Compose")
            .because(format!("`{PROGRAM}` ended with status {}", answer.status))
            .hint("for the runner's administrator: make the helper image from `executor-config/helper-image`, which names what it needs")
            .note("runner problem, not your script")),
        status => {
            let text = String::from_utf8_lossy(&answer.err);
            let words: Vec<String> = text.lines().filter(|line| !ADVICE.iter().any(|word| line.contains(word))).map(printable).collect();
            let tail = words[words.len().saturating_sub(20)..].join("\n").replace(&format!("{TREE_IN_SANDBOX}/"), "");
            let why = if tail.is_empty() { format!("Compose ended with status {status}") } else { tail };
            let says = |phrases: &[&str]| phrases.iter().any(|phrase| why.contains(phrase));
            let hint = if says(&UNKNOWN_KEY) {
                "docs/compose.md names every key that a hub's file may have; Compose itself does not know this one"
            } else if says(&REMOTE) {
                "`include` and `extends` take files of the hub's commit alone: commit the file, and name it there"
            } else {
                "run `docker compose config` on it: only what the hub's commit holds is read, and no variable is set"
            };
            Err(refused(file, why, hint))
        }
    }
}

fn refused(file: &str, why: String, hint: &str) -> Failure {
    Failure::refused(format!("cannot resolve the Compose file `{}`", printable(file))).because(why).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u8) -> Answer {
        Answer { status, out: b"{}".to_vec(), err: Vec::new(), too_large: false }
    }

    #[test]
    fn every_end_of_the_program_has_its_own_words() {
        let too_large = Answer { too_large: true, ..answer(0) };
        let says = |words: &str| Answer { err: words.as_bytes().to_vec(), ..answer(15) };
        let words = says("level=warning a\nopen /builds/hub/a: \x1b[2Jno\n");
        let unknown = says("validating a.yaml: services.api additional properties 'k' not allowed\n");
        let remote = says("level=info msg=\"fetch failed\"\nfailed to pull OCI resource \"r/a:1\": no\n");
        let failures: Vec<String> = [too_large, answer(137), answer(127), answer(14), words, unknown, remote]
            .into_iter()
            .map(|answer| judge("compose.yaml", answer).unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(failures.join("\n\n"));
        assert_eq!(judge("compose.yaml", answer(0)).unwrap(), b"{}");
    }
}
