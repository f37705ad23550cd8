//! `airlock key`: makes key pairs in Cosign's format.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};
use crate::keys::file;

#[derive(Subcommand)]
pub enum KeyVerb {
    /// Make an ECDSA P-256 key pair that Airlock, cosign and skopeo read
    Generate(GenerateArguments),
}

#[derive(Args)]
pub struct GenerateArguments {
    /// Path of the pair without ending: PATH.key (mode 0600) and PATH.pub are made
    path: PathBuf,
    /// File whose first line is the password; else the variable COSIGN_PASSWORD, which may be empty
    #[arg(long)]
    password_file: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(verb: KeyVerb) -> Outcome<()> {
    match verb {
        KeyVerb::Generate(arguments) => generate(&arguments),
    }
}

fn generate(arguments: &GenerateArguments) -> Outcome<()> {
    let password = match &arguments.password_file {
        Some(path) => password_of(path)?,
        None => password_of_environment().ok_or_else(|| {
            Failure::usage("cannot make a key: there is no password")
                .hint("set COSIGN_PASSWORD (it may be empty) or give --password-file")
        })?,
    };
    let pair = file::generate(&password)?;
    let private = with_ending(&arguments.path, "key");
    let public = with_ending(&arguments.path, "pub");
    write_new(&private, 0o600, pair.private_pem.as_bytes())?;
    if let Err(failure) = write_new(&public, 0o644, pair.public_pem.as_bytes()) {
        // Half a pair beside the public half of another one would be found out only when it is used.
        let _ = std::fs::remove_file(&private);
        return Err(failure);
    }
    super::say(format!("private key  {}", private.display()));
    super::say(format!("public key   {}", public.display()));
    Ok(())
}

/// Reads the first line of a password file that only its owner may read.
pub fn password_of(path: &Path) -> Outcome<Zeroizing<String>> {
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    if let Some(mode) = mode.ok().filter(|mode| mode & 0o077 != 0) {
        let shown = path.display();
        return Err(Failure::usage(format!(
            "the password file `{shown}` may be read by others: mode {mode:o}, expected 600"
        ))
        .hint(format!("chmod 600 {shown}")));
    }
    let text = Zeroizing::new(super::read_small(path, "the password file").map_err(|failure| {
        failure.hint(
            "check `keys.password_file` in the host settings, or `--password-file`: one line, mode 0600",
        )
    })?);
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// Returns `COSIGN_PASSWORD`, cosign's own variable.
pub fn password_of_environment() -> Option<Zeroizing<String>> {
    #[expect(clippy::disallowed_methods, reason = "the command line is where the environment is read")]
    std::env::var("COSIGN_PASSWORD").ok().map(Zeroizing::new)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Outcome<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::AlreadyExists => "an existing key is never overwritten: choose another path",
                _ => "choose a path in a directory that exists and that you may write to",
            };
            Failure::usage(format!("cannot write `{}`", path.display())).because(error).hint(hint)
        })
}
