//! `airlock verify`: judges an image by its evidence, with the code that the delivery itself uses.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use crate::delivery::verify::{Completeness, verify};
use crate::domain::image::{ImageNameError, RegistryHost, Repository};
use crate::domain::trust::Channel;
use crate::failure::{
    CLI_EVIDENCE_MISSING, CLI_NO_SIGNATURE, CLI_NO_SUCH_TAG, CLI_POLICY, CLI_REFUSED, CLI_SYSTEM,
    CLI_UNKNOWN_KEY, CLI_USAGE, CLI_WRONG_SIGNATURE, Failure, Outcome,
};
use crate::registry::ManifestReference;

use super::stores;

/// What each exit code answers; `docs/verify-with-cosign-and-skopeo.md` has the same table.
const EXIT_CODES: &str = "\
Exit codes:
   0  verified
   2  flags, the trust policy or another file cannot be used
   3  the registry or the layout cannot be read: nothing is known about the image
  10  no signature at all
  11  no such tag, digest or repository
  12  signed, but by no key that the policy trusts for it now
  13  a trusted key's signature does not match what it is attached to
  14  evidence that the policy demands is absent
  15  the evidence is genuine and says no, or no rule covers the image
  16  not an image that can be judged: an index, or a part of it is absent
  70  a bug in Airlock";

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct VerifyArguments {
    /// Image: HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:…; with --layout without HOST
    reference: String,
    /// Trust policy: which keys, and what evidence each channel demands
    #[arg(long, default_value = "/etc/airlock/trust.toml")]
    trust: PathBuf,
    /// Read from this directory of OCI image layouts instead of a registry
    #[arg(long)]
    layout: Option<PathBuf>,
    /// CA certificates of a registry with a private CA, in PEM form
    #[arg(long, conflicts_with = "layout")]
    ca: Option<PathBuf>,
    /// Credentials in the form of Docker's config.json, mode 0600
    #[arg(long, conflicts_with = "layout")]
    auth_file: Option<PathBuf>,
    /// Channel whose rules apply: staged, candidate or latest; default: the tag's own, else staged
    #[arg(long)]
    channel: Option<Channel>,
    /// Print the verdict as JSON, a refusal too
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: VerifyArguments) -> Outcome<()> {
    let (asked, json) = (arguments.reference.clone(), arguments.json);
    let outcome = judge(arguments);
    if let (Err(failure), true) = (&outcome, json) {
        super::say(super::as_json(&RefusalReport::new(&asked, failure))?);
    }
    outcome
}

/// What `--json` prints about an image that is not verified.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalReport<'a> {
    schema_version: u8,
    verified: bool,
    reference: &'a str,
    answer: &'static str,
    exit_code: u8,
    error: &'a str,
    causes: &'a [String],
    hints: &'a [String],
}

impl<'a> RefusalReport<'a> {
    fn new(reference: &'a str, failure: &'a Failure) -> Self {
        let exit_code = failure.cli_exit_code();
        let answer = match exit_code {
            CLI_USAGE => "unusable-input",
            CLI_SYSTEM => "not-readable",
            CLI_NO_SIGNATURE => "no-signature",
            CLI_NO_SUCH_TAG => "no-such-image",
            CLI_UNKNOWN_KEY => "unknown-key",
            CLI_WRONG_SIGNATURE => "wrong-signature",
            CLI_EVIDENCE_MISSING => "evidence-missing",
            CLI_POLICY => "policy",
            CLI_REFUSED => "not-one-image",
            _ => "internal-error",
        };
        Self {
            schema_version: 1,
            verified: false,
            reference,
            answer,
            exit_code,
            error: failure.what(),
            causes: failure.causes(),
            hints: failure.hints(),
        }
    }
}

fn judge(arguments: VerifyArguments) -> Outcome<()> {
    let policy = stores::read_policy(&arguments.trust)?;
    let reference = ParsedReference::parse(&arguments.reference, arguments.layout.is_some())?;
    let channel = arguments.channel.unwrap_or_else(|| match &reference.manifest {
        ManifestReference::Tag(tag) => tag.as_str().parse().unwrap_or(Channel::Staged),
        ManifestReference::Digest(_) => Channel::Staged,
    });
    let store = match (arguments.layout, &reference.host) {
        (Some(directory), _) => stores::open_layout(directory)?,
        (None, Some(host)) => stores::open_registry(host, arguments.ca, arguments.auth_file, &|_| ())?,
        (None, None) => return Err(not_a_reference(&arguments.reference, &"it names no registry")),
    };
    let now = OffsetDateTime::now_utc();
    let image = super::runtime()?.block_on(verify(
        store.as_ref(),
        &reference.repository,
        &reference.manifest,
        &policy,
        channel,
        Completeness::Any,
        now,
    ))?;
    if arguments.json {
        super::say(super::as_json(&image.report())?);
    } else {
        super::say(image.report().to_string());
    }
    Ok(())
}

struct ParsedReference {
    host: Option<RegistryHost>,
    repository: Repository,
    manifest: ManifestReference,
}

impl ParsedReference {
    fn parse(text: &str, in_layout: bool) -> Outcome<Self> {
        let error = |why: ImageNameError| not_a_reference(text, &why);
        let (name, manifest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|e| error(ImageNameError::Digest(e)))?;
                (name, ManifestReference::Digest(digest))
            }
            None => {
                let slash = text.rfind('/').map_or(0, |at| at + 1);
                let colon = text[slash..]
                    .find(':')
                    .map(|at| slash + at)
                    .ok_or_else(|| not_a_reference(text, &"it names neither a tag nor a digest"))?;
                (&text[..colon], ManifestReference::Tag(text[colon + 1..].parse().map_err(error)?))
            }
        };
        if in_layout {
            return Ok(Self { host: None, repository: name.parse().map_err(error)?, manifest });
        }
        let (host, repository) = name
            .split_once('/')
            .filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost")
            .ok_or_else(|| not_a_reference(text, &"it names no registry host"))?;
        Ok(Self {
            host: Some(host.parse().map_err(error)?),
            repository: repository.parse().map_err(error)?,
            manifest,
        })
    }
}

fn not_a_reference(text: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("cannot verify `{}`: that does not name an image", crate::job_log::printable(text)))
        .because(why)
        .hint("write `registry.example:5000/acme/billing:staged`, or with `--layout DIR` just `acme/billing:staged`")
}
