//! The state directory: not a directory, not writable, full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bench::Job;
use crate::support::staging::{Host, text};

#[test]
fn a_state_directory_that_is_a_file_or_another_users_is_named() {
    let host = Host::with_layout();
    let mut job = Job::new(&host);
    fs::write(host.path("state"), "").expect("a file");
    let file = job.prepare().expect_system_failure().golden();
    fs::remove_file(host.path("state")).expect("a file");
    fs::create_dir(host.path("state")).expect("a directory");
    if rustix::process::getuid().is_root() {
        job.uid = Some(65_534);
        fs::set_permissions(host.directory.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(job.directory(), fs::Permissions::from_mode(0o777)).expect("a mode");
    } else {
        fs::set_permissions(host.path("state"), fs::Permissions::from_mode(0o500)).expect("a mode");
    }
    let foreign = job.prepare().expect_system_failure().golden();
    insta::assert_snapshot!(format!("── a file\n{file}\n── not writable\n{foreign}"));
}

/// A file system of a few MiB; mounting needs root, as `scripts/bootstrap` does.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mib: u32) -> Self {
        fs::create_dir_all(at).expect("a directory");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs", text(at)]).output();
        let mounted = mounted.expect("mount runs");
        assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_state_directory_is_the_runners_fault_and_nothing_is_published() {
    let host = Host::with_layout();
    let _disk = SmallDisk::mount(&host.path("state"), 8);
    let job = Job::new(&host);
    job.prepare().expect_success();
    // The image does not fit.
    let delivery = job.run("build_script").expect_system_failure().golden();
    job.expect_nothing_published_and_nothing_left();
    fs::write(host.path("state/filler"), vec![0; 8 << 20]).expect_err("a full disk");
    // Not even the record fits.
    let prepare = job.prepare().expect_system_failure().golden();
    fs::remove_file(host.path("state/filler")).expect("a file");
    insta::assert_snapshot!(format!("── the image\n{delivery}\n── the record\n{prepare}"));
    job.expect_nothing_published_and_nothing_left();
}
