//! Git repositories made at test time: fixed dates and author, no configuration of the host.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The first commit's time; each further commit is a minute later.
const FIRST_COMMIT: u64 = 1_750_000_000;

/// A repository with a working tree in a temporary folder.
pub struct GitRepository {
    folder: tempfile::TempDir,
    commits: u64,
    gitlinks: Vec<(String, String)>,
}

impl GitRepository {
    /// Creates an empty repository whose first branch is `branch`.
    pub fn create(branch: &str) -> Self {
        Self::create_with_format(branch, "sha1")
    }

    /// Creates an empty repository with the object format `sha1` or `sha256`.
    pub fn create_with_format(branch: &str, object_format: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let repository = Self { folder, commits: 0, gitlinks: Vec::new() };
        std::fs::create_dir(repository.path()).expect("a working tree");
        let format = format!("--object-format={object_format}");
        repository.git(&["init", "--quiet", &format, "--initial-branch", branch]);
        repository
    }

    /// Returns the working tree.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    /// Returns the `.git` folder, which the fake GitLab serves.
    pub fn git_dir(&self) -> PathBuf {
        self.path().join(".git")
    }

    /// Writes a plain file, its folders included.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let target = self.parent_made(path);
        std::fs::write(target, content).expect("write a file of the repository");
        self
    }

    /// Writes a file with the executable bit.
    pub fn write_executable(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        use std::os::unix::fs::PermissionsExt;
        self.write(path, content);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path().join(path), mode).expect("set the mode");
        self
    }

    /// Makes a symbolic link at `path`.
    pub fn symlink(&self, path: &str, target: &str) -> &Self {
        let link = self.parent_made(path);
        std::os::unix::fs::symlink(target, link).expect("make a symbolic link");
        self
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> &Self {
        std::fs::remove_file(self.path().join(path)).expect("remove a file of the repository");
        self
    }

    /// Copies a folder's files (modes and links kept) into the working tree.
    pub fn copy_from(&self, folder: &Path) -> &Self {
        let from = folder.join(".");
        let status = Command::new("cp").arg("-a").arg(from).arg(self.path()).status().expect("run cp");
        assert!(status.success(), "cannot copy `{}`", folder.display());
        self
    }

    /// Adds a submodule entry (mode 160000) that the next commits carry.
    pub fn gitlink(&mut self, path: &str, sha: &str) -> &mut Self {
        std::fs::create_dir_all(self.path().join(path)).expect("make the submodule's folder");
        self.gitlinks.push((path.to_owned(), sha.to_owned()));
        self
    }

    /// Writes the pointer file that Git LFS leaves in a tree.
    pub fn lfs_pointer(&self, path: &str, oid: &str, size: u64) -> &Self {
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n");
        self.write(path, pointer)
    }

    /// Commits everything in the working tree and returns the commit's id.
    pub fn commit(&mut self, message: &str) -> String {
        self.git(&["add", "--all", "--force"]);
        for (path, sha) in &self.gitlinks {
            self.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{sha},{path}")]);
        }
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.commits += 1;
        self.head()
    }

    /// Creates a branch at the current commit and switches to it.
    pub fn new_branch(&self, name: &str) -> &Self {
        self.git(&["checkout", "--quiet", "-b", name]);
        self
    }

    /// Switches to an existing branch.
    pub fn switch(&self, name: &str) -> &Self {
        self.git(&["checkout", "--quiet", name]);
        self
    }

    /// Makes a lightweight tag at the current commit.
    pub fn tag(&self, name: &str) -> &Self {
        self.git(&["tag", name]);
        self
    }

    /// Returns the id of the current commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Returns the name of the current branch.
    pub fn branch(&self) -> String {
        self.git(&["symbolic-ref", "--short", "HEAD"])
    }

    /// Runs `git` in the working tree and returns its trimmed output.
    pub fn git(&self, args: &[&str]) -> String {
        let date = format!("{} +0000", FIRST_COMMIT + 60 * self.commits);
        let output = hermetic_git()
            .current_dir(self.path())
            .env("HOME", self.folder.path())
            .envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)])
            .args(args)
            .output()
            .expect("run git");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("git prints UTF-8").trim_end().to_owned()
    }

    fn parent_made(&self, path: &str) -> PathBuf {
        let target = self.path().join(path);
        let parent = target.parent().expect("a path inside the repository");
        std::fs::create_dir_all(parent).expect("make the folders of a file");
        target
    }
}

/// Returns `git` with a fixed identity and none of the host's configuration.
pub fn hermetic_git() -> Command {
    let mut command = Command::new("git");
    command.env_clear().envs([
        ("PATH", std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned())),
        ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
        ("GIT_AUTHOR_NAME", "A Developer".to_owned()),
        ("GIT_AUTHOR_EMAIL", "developer@example.com".to_owned()),
        ("GIT_COMMITTER_NAME", "A Developer".to_owned()),
        ("GIT_COMMITTER_EMAIL", "developer@example.com".to_owned()),
        ("LC_ALL", "C".to_owned()),
        ("TZ", "UTC".to_owned()),
    ]);
    command
}
