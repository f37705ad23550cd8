//! git on a developer's own machine, for `airlock try`. In a GitLab job git runs in a container instead.

use std::path::{Path, PathBuf};

use tokio::process::{Child, ChildStdin, ChildStdout};

use super::{ToolError, command, output, spawn_error};

/// A developer's repository.
pub struct Git {
    directory: PathBuf,
}

/// A running `git cat-file --batch`; it ends when this is dropped.
pub struct CatFile {
    pub requests: ChildStdin,
    pub answers: ChildStdout,
    _child: Child,
}

impl Git {
    /// Opens the repository that holds `directory`.
    pub async fn open(directory: &Path) -> Result<Self, ToolError> {
        let top = output("git", &["rev-parse", "--show-toplevel"], &directory.to_path_buf()).await?;
        Ok(Self { directory: PathBuf::from(line(&top)) })
    }

    /// Returns the top of the working tree.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the full id of a commit.
    pub async fn commit_id(&self, revision: &str) -> Result<String, ToolError> {
        let revision = format!("{revision}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &revision];
        Ok(line(&output("git", &args, &self.directory).await?))
    }

    /// Returns the name of the branch that is checked out, or `HEAD`.
    pub async fn branch(&self) -> Result<String, ToolError> {
        Ok(line(&output("git", &["rev-parse", "--abbrev-ref", "HEAD"], &self.directory).await?))
    }

    /// Returns the paths that differ from the commit that is checked out.
    pub async fn uncommitted(&self) -> Result<Vec<String>, ToolError> {
        let out = output("git", &["status", "--porcelain=v1", "-z"], &self.directory).await?;
        Ok(out
            .split(|b| *b == 0)
            .filter(|entry| entry.len() > 3)
            .map(|entry| String::from_utf8_lossy(&entry[3..]).into_owned())
            .collect())
    }

    /// Starts `git cat-file --batch`.
    pub fn cat_file(&self) -> Result<CatFile, ToolError> {
        let mut child = command("git")
            .args(["cat-file", "--batch"])
            .current_dir(&self.directory)
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

fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\r']).to_owned()
}
