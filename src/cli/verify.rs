//! `airlock verify`: judges an image by its evidence, with the code that the delivery itself uses.

use std::path::PathBuf;

use clap::Args;
use time::OffsetDateTime;

use crate::delivery::verify::{Completeness, verify};
use crate::domain::image::{ImageNameError, RegistryHost, Repository};
use crate::domain::trust::Channel;
use crate::failure::{Failure, Outcome};
use crate::registry::ManifestReference;

use super::stores;

/// Exit codes: 0 verified · 2 unusable input · 3 the registry does not answer · 10 no signature · 11 no
/// such tag or digest · 12 signed by no trusted key · 13 a signature does not match · 14 demanded
/// evidence is absent · 15 the evidence says no, or no rule covers the image
#[derive(Args)]
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
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: VerifyArguments) -> Outcome<()> {
    let policy = stores::read_policy(&arguments.trust)?;
    let reference = ParsedReference::parse(&arguments.reference, arguments.layout.is_some())?;
    let channel = arguments.channel.unwrap_or_else(|| match &reference.manifest {
        ManifestReference::Tag(tag) => tag.as_str().parse().unwrap_or(Channel::Staged),
        ManifestReference::Digest(_) => Channel::Staged,
    });
    let store = match (arguments.layout, &reference.host) {
        (Some(directory), _) => {
            if !directory.is_dir() {
                return Err(Failure::usage(format!("cannot read the layout `{}`", directory.display()))
                    .because("there is no such directory")
                    .hint("give the directory that `[store] layout` or `airlock try --layout` names"));
            }
            stores::open_store(&crate::settings::StorePlace::Layout(directory), &|_| ())?
        }
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
        let report = serde_json::to_string_pretty(&image.report())
            .map_err(|e| Failure::internal("the report cannot be written as JSON").because(e))?;
        super::say(report);
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
    Failure::usage(format!("cannot verify `{}`: it is not an image", crate::job_log::printable(text)))
        .because(why)
        .hint("write `registry.example:5000/acme/billing:staged`, or with `--layout DIR` just `acme/billing:staged`")
}
