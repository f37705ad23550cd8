//! git on a developer's own machine, for `airlock try`. In a GitLab job git runs in a container instead.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{ToolError, command, output, spawn_error};

/// A developer's repository.
pub struct Git {
    directory: PathBuf,
    home: Option<OsString>,
}

/// A running `git cat-file --batch`; it ends when this is dropped.
pub struct CatFile {
    pub requests: ChildStdin,
    pub answers: ChildStdout,
    _child: Child,
}

impl Git {
    /// Opens the repository that holds `directory`; `home` has the developer's own configuration.
    pub async fn open(directory: &Path, home: Option<OsString>) -> Result<Self, ToolError> {
        let mut git = Self { directory: directory.to_owned(), home };
        git.directory = PathBuf::from(line(&git.ask(&["rev-parse", "--show-toplevel"]).await?));
        Ok(git)
    }

    /// Returns the top of the working tree.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the full id of a commit; `None` when the revision names none.
    pub async fn commit_id(&self, revision: &str) -> Result<Option<String>, ToolError> {
        let revision = format!("{revision}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &revision];
        match self.ask(&args).await {
            Ok(answer) => Ok(Some(line(&answer))),
            // With `--quiet` git has nothing more to say about a name that it does not know.
            Err(ToolError::Failed { stderr, .. }) if stderr.is_empty() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the branch that a revision names, or `HEAD` where it names none.
    pub async fn branch_of(&self, revision: &str) -> Result<String, ToolError> {
        let args = ["rev-parse", "--abbrev-ref", "--end-of-options", revision];
        let answer = line(&self.ask(&args).await?);
        let name = answer.lines().last().unwrap_or_default();
        let is_branch = !name.is_empty() && name != "--end-of-options";
        Ok(if is_branch { name.to_owned() } else { "HEAD".to_owned() })
    }

    /// Returns the paths that differ from the commit that is checked out, each with how it differs.
    pub async fn uncommitted(&self) -> Result<Vec<(&'static str, String)>, ToolError> {
        let out = self.ask(&["status", "--porcelain=v1", "-z", "--no-renames"]).await?;
        Ok(out
            .split(|b| *b == 0)
            .filter(|entry| entry.len() > 3)
            .map(|entry| (state(&entry[..2]), String::from_utf8_lossy(&entry[3..]).into_owned()))
            .collect())
    }

    async fn ask(&self, args: &[&str]) -> Result<Vec<u8>, ToolError> {
        output(self.command(), "git", args).await
    }

    fn command(&self) -> Command {
        let mut command = command("git");
        command.current_dir(&self.directory);
        if let Some(home) = &self.home {
            command.env("HOME", home);
        }
        command
    }

    /// Starts `git cat-file --batch`.
    pub fn cat_file(&self) -> Result<CatFile, ToolError> {
        let mut child = self
            .command()
            .args(["cat-file", "--batch"])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .map_err(|source| spawn_error("git", source))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(answers)) => Ok(CatFile { requests, answers, _child: child }),
            _ => Err(ToolError::Failed {
                program: "git",
                what: "cat-file --batch".into(),
                stderr: String::new(),
            }),
        }
    }
}

/// Puts git's two letters of a path into a word.
fn state(letters: &[u8]) -> &'static str {
    match letters {
        b"??" => "untracked",
        [b'A', _] => "added",
        [b'D', _] | [_, b'D'] => "deleted",
        [b'U', _] | [_, b'U'] => "unmerged",
        _ => "modified",
    }
}

fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\r']).to_owned()
}
