//! What the Compose file is compiled against: the images, the tree on the host, the limits, the labels.

use std::collections::BTreeMap;

use super::{HubJob, MIB};
use crate::compose::{ServiceLimits, StackRequest, TreePath};
use crate::delivery::commit::CommitTree;
use crate::domain::commit::EntryMode;
use crate::domain::sandbox::SeccompProfile;
use crate::engine::Labels;
use crate::failure::{Failure, Outcome};
use crate::hub::snapshot::LoadedSnapshot;

/// Describes the stack to the compiler; the tree is put where read-only binds find it.
pub(super) fn request(
    job: &HubJob<'_>,
    tree: &CommitTree,
    loaded: &LoadedSnapshot,
    project: String,
    labels: &Labels,
) -> Outcome<StackRequest> {
    let work_dir = job.test.work_dir;
    let failed = |error: std::io::Error| {
        Failure::system(format!("cannot write into `{}`", work_dir.display())).because(error)
    };
    let tree_on_host = work_dir.join("hub-tree");
    tree.write_directory(&tree_on_host)?;
    let seccomp_on_host = work_dir.join("seccomp.json");
    std::fs::write(&seccomp_on_host, SeccompProfile::shipped().as_json()).map_err(failed)?;
    let mut paths = BTreeMap::new();
    for (path, mode) in tree.paths() {
        for (slash, _) in path.match_indices('/') {
            paths.insert(path[..slash].to_owned(), TreePath::Directory);
        }
        let kind = match mode {
            EntryMode::Symlink => TreePath::Link,
            EntryMode::Directory => TreePath::Directory,
            EntryMode::File | EntryMode::Executable => TreePath::File,
        };
        paths.insert(path.to_owned(), kind);
    }
    let limits = &job.test.settings.sandbox;
    Ok(StackRequest {
        project,
        images: loaded.images.clone(),
        tree: paths,
        tree_on_host,
        seccomp_on_host,
        labels: labels.clone(),
        limits: ServiceLimits {
            memory_bytes: limits.memory_mib * MIB,
            cpu_millis: u64::from(limits.cpus) * 1000,
            pids: limits.pids,
            tmp_bytes: limits.tmp_mib * MIB,
        },
        start_interval: job.test.engine.has_start_interval(),
    })
}
