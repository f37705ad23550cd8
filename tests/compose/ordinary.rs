//! The ordinary files of the corpus run: resolved, compiled, up, ready and down again on the real engine.

use std::path::Path;
use std::process::Command;

use airlock::cancel::Cancel;
use airlock::compose::{StackRequest, compile};
use airlock::domain::digest::Digest;
use airlock::domain::sandbox::SeccompProfile;
use airlock::hub::compose_config::Resolver;
use airlock::hub::stack::{STACK_LABEL, Stack, down};
use airlock::job_log::{JobLog, LogStyle};
use futures_util::stream::{self, StreamExt};

use super::bench::{Bench, corpus_tree, in_runtime, paths, request};
use crate::support::staging::base_image;

/// Stacks that stand beside each other, each with three networks of the engine's few.
const AT_ONCE: usize = 4;

/// Stands for every image of the corpus: programs of the names that the files call, which wait as servers do.
const PROGRAMS: &str = r#"
wait() { printf '#!/bin/sh\ntrap "exit 0" TERM INT\nsleep 600 & wait\n' > "$1"; chmod 755 "$1"; }
done_() { printf '#!/bin/sh\nexit 0\n' > "$1"; chmod 755 "$1"; }
wait /usr/local/bin/serve; wait /usr/local/bin/postgres; wait /usr/local/bin/run
done_ /usr/local/bin/migrate; done_ /usr/local/bin/seed; done_ /usr/local/bin/pg_isready; done_ /usr/local/bin/curl
printf '#!/bin/sh\nshift\nexec "$@"\n' > /usr/bin/tini; chmod 755 /usr/bin/tini
"#;

/// Makes an image of the base with these programs; `more` is added to its Dockerfile.
fn image(directory: &Path, name: &str, more: &str) -> Digest {
    let context = directory.join("image");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("programs"), PROGRAMS).unwrap();
    let dockerfile = format!(
        "FROM {}\nLABEL airlock.test={name}\nCOPY programs /programs\nRUN [\"sh\", \"-e\", \"/programs\"]\nCMD [\"serve\"]\n{more}",
        base_image("DEBIAN")
    );
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let built = Command::new("docker")
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "--quiet", "--network", "none", "--force-rm"])
        .arg(&context)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8(built.stdout).unwrap().trim().parse().unwrap()
}

/// Brings one file's stack up, asks for its containers, and takes it down; an error is what went wrong.
async fn run(
    bench: &Bench,
    request: &StackRequest,
    config: &[u8],
    log: &JobLog,
    cancel: &Cancel,
) -> Result<(), String> {
    let compiled = compile(config, request).map_err(|refusals| refusals.to_string())?;
    let mut parts = bench.parts();
    (parts.key, parts.labels) = (&request.project, &request.labels);
    let ran = match Stack::up(&parts, &compiled, log, cancel).await {
        Ok(stack) => stack.check_still_ready().await,
        Err(failure) => Err(failure),
    };
    let replicas: u64 = compiled.services.values().map(|service| u64::from(service.replicas)).sum();
    let there = bench.engine.observe_project(&request.project).await.unwrap().len() as u64;
    down(&bench.engine, &request.project).await.unwrap();
    ran.map_err(|failure| failure.to_string())?;
    if there == replicas { Ok(()) } else { Err(format!("{there} containers, expected {replicas}")) }
}

#[test]
fn ordinary_files_run() {
    in_runtime(async {
        let (names, tree) = corpus_tree("ordinary").await;
        let bench = Bench::new().await;
        let at = bench.directory.path();
        let plain = image(at, &bench.name, "");
        let checked = image(at, &bench.name, "HEALTHCHECK CMD [\"true\"]\n");
        let (tree_on_host, seccomp_on_host) = (at.join("tree"), at.join("seccomp.json"));
        tree.write_directory(&tree_on_host).unwrap();
        std::fs::write(&seccomp_on_host, SeccompProfile::shipped().as_json()).unwrap();

        let mut stacks = Vec::new();
        let parts = bench.parts();
        let resolver = Resolver::start(&parts, &tree).await.unwrap();
        for name in names {
            let config = resolver.resolve(&format!("{name}.yaml")).await.unwrap();
            let mut request = request(&config, paths(&tree), &[]);
            for (service, image) in &mut request.images {
                *image = if service == "of-the-image" { checked.clone() } else { plain.clone() };
            }
            request.project = format!("{}-{name}", bench.name);
            request.tree_on_host.clone_from(&tree_on_host);
            request.seccomp_on_host.clone_from(&seccomp_on_host);
            request.labels = bench.labels.clone();
            request.labels.insert(STACK_LABEL.to_owned(), request.project.clone());
            request.start_interval = bench.engine.has_start_interval();
            stacks.push((name, request, config));
        }
        resolver.remove().await.unwrap();

        let log = JobLog::new(Box::new(std::io::sink()), LogStyle::Terminal);
        let cancel = Cancel::listen().unwrap();
        let (bench_ref, log, cancel) = (&bench, &log, &cancel);
        let failed: Vec<String> = stream::iter(&stacks)
            .map(|(name, request, config)| async move {
                let ran = run(bench_ref, request, config, log, cancel).await;
                ran.err().map(|why| format!("── {name}\n{why}"))
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(|failed| async { failed })
            .collect()
            .await;
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        for image in [&checked, &plain] {
            Command::new("docker").args(["rmi", "--force", image.as_str()]).output().unwrap();
        }
        bench.end().await;
    });
}
