//! `airlock release`: what releases a platform has, what is in one, and what differs between two.

use clap::{Args, Subcommand};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use time::OffsetDateTime;

use super::releases::{Opened, Source, reference};
use crate::domain::release::Release;
use crate::failure::{Failure, FailureKind, Outcome};
use crate::job_log::printable;
use crate::registry::ManifestReference;
use crate::release::diff::{ReleaseDiff, diff};
use crate::release::store::{Standing, VerifiedRelease, read, repository_of, standing};
use crate::release::tags::versions;

/// Most releases that are listed.
const MAX_LISTED: usize = 1000;
/// How many releases are read at the same time.
const READ_AT_ONCE: usize = 8;
/// Most packages that the text of a difference names for one image.
const MAX_SHOWN: usize = 20;

#[derive(Subcommand)]
pub enum ReleaseVerb {
    /// List a platform's releases, each verified; the candidate is marked
    List(ListArguments),
    /// Show one release: components, versions, commits, digests
    Show(ShowArguments),
    /// Compare two releases: components, versions, commits, packages by SBOM
    Diff(DiffArguments),
}

#[derive(Args)]
pub struct ListArguments {
    #[command(flatten)]
    source: Source,
    /// Platform, as the hub's manifest names it
    platform: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct ShowArguments {
    #[command(flatten)]
    source: Source,
    /// Platform, as the hub's manifest names it
    platform: String,
    /// Version, digest, or `candidate`
    #[arg(default_value = "candidate")]
    release: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct DiffArguments {
    #[command(flatten)]
    source: Source,
    /// Platform, as the hub's manifest names it
    platform: String,
    /// Version, digest, or `candidate`
    from: String,
    /// Version, digest, or `candidate`
    #[arg(default_value = "candidate")]
    to: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(verb: ReleaseVerb) -> Outcome<()> {
    let runtime = super::runtime()?;
    match verb {
        ReleaseVerb::List(arguments) => runtime.block_on(list(&arguments)),
        ReleaseVerb::Show(arguments) => runtime.block_on(show(&arguments)),
        ReleaseVerb::Diff(arguments) => runtime.block_on(compare(&arguments)),
    }
}

async fn verified(opened: &Opened, platform: &str, text: &str) -> Outcome<VerifiedRelease> {
    let repository = repository_of(opened.prefix.as_ref(), platform)?;
    let now = OffsetDateTime::now_utc();
    read(opened.store.as_ref(), &opened.policy, &repository, &reference(text)?, now).await
}

/// One line of the list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    version: String,
    digest: String,
    created_at: String,
    components: usize,
    candidate: bool,
    /// Why it is no release that is trusted now.
    refused: Option<String>,
}

impl Listed {
    fn of(verified: &VerifiedRelease, present: &Standing) -> Self {
        let release = verified.release();
        Self {
            version: release.version.clone(),
            digest: verified.digest().to_string(),
            created_at: release.created_at.clone(),
            components: release.components.len(),
            candidate: present.digest() == Some(verified.digest()),
            refused: None,
        }
    }

    fn refused(version: String, why: &Failure) -> Self {
        Self {
            version,
            digest: String::new(),
            created_at: String::new(),
            components: 0,
            candidate: false,
            refused: Some(why.what().to_owned()),
        }
    }
}

async fn list(arguments: &ListArguments) -> Outcome<()> {
    let opened = arguments.source.open()?;
    let (store, now) = (opened.store.as_ref(), OffsetDateTime::now_utc());
    let repository = repository_of(opened.prefix.as_ref(), &arguments.platform)?;
    let (policy, prefix) = (&opened.policy, opened.prefix.as_ref());
    let present = standing(store, policy, prefix, &arguments.platform, now).await?;
    let reading = versions(store, &repository).await?.into_iter().take(MAX_LISTED).map(|(_, tag)| {
        let (repository, present) = (&repository, &present);
        async move {
            let reference = ManifestReference::Tag(tag.clone());
            match read(store, policy, repository, &reference, now).await {
                Ok(release) => Ok(Listed::of(&release, present)),
                Err(failure) if matches!(failure.kind(), FailureKind::Refused { .. }) => {
                    Ok(Listed::refused(tag.to_string(), &failure))
                }
                Err(failure) => Err(failure),
            }
        }
    });
    let mut listed: Vec<Listed> = stream::iter(reading).buffered(READ_AT_ONCE).try_collect().await?;
    if let Standing::Untrusted { digest, why } = &present {
        listed.insert(0, Listed { digest: digest.to_string(), ..Listed::refused("candidate".into(), why) });
    }
    if arguments.json {
        super::say(super::as_json(&listed)?);
    } else if listed.is_empty() {
        super::say(format!("no release of `{}` in `{}`", printable(&arguments.platform), store.place()));
    } else {
        for one in listed {
            let mark = if one.candidate { "candidate" } else { "" };
            super::say(match one.refused {
                None => format!(
                    "{:<9} {:<20} {}  {} components  {}",
                    mark, one.version, one.created_at, one.components, one.digest
                ),
                Some(why) => format!("{:<9} {:<20} not trusted: {}", "", one.version, printable(&why)),
            });
        }
    }
    Ok(())
}

async fn show(arguments: &ShowArguments) -> Outcome<()> {
    let opened = arguments.source.open()?;
    let release = verified(&opened, &arguments.platform, &arguments.release).await?;
    if arguments.json {
        let document = serde_json::json!({
            "digest": release.digest(), "repository": release.repository(), "signedBy": release.key(),
            "release": release.release(),
        });
        super::say(super::as_json(&document)?);
    } else {
        super::say(shown(&release));
    }
    Ok(())
}

fn shown(verified: &VerifiedRelease) -> String {
    let Release {
        version,
        sequence,
        previous,
        created_at,
        expires_at,
        hub,
        components,
        sidecars,
        inputs,
        ..
    } = verified.release();
    let mut rows = vec![
        format!("release     {}:{version}", verified.repository()),
        format!("digest      {}", verified.digest()),
        format!("signed by   {}", verified.key()),
        format!(
            "sequence    {sequence}, follows {}",
            previous.as_ref().map_or("nothing".into(), |p| format!("sha256:{}…", p.short()))
        ),
        format!("made        {created_at}, valid until {expires_at}"),
        format!(
            "hub         {} {} pipeline {}, job {}",
            hub.project,
            &hub.commit[..hub.commit.len().min(12)],
            hub.pipeline_id,
            hub.job_id
        ),
    ];
    for component in components {
        let commit = &component.source.commit[..component.source.commit.len().min(12)];
        let origin = serde_json::to_value(component.origin).ok().and_then(|v| v.as_str().map(str::to_owned));
        rows.push(format!(
            "component   {} {}  {} {commit}, {}",
            component.name,
            component.version,
            component.source.project,
            origin.unwrap_or_default()
        ));
        for image in &component.images {
            rows.push(format!("            {}@{} {}", image.repository, image.manifest, image.platform));
        }
    }
    for sidecar in sidecars {
        rows.push(format!("sidecar     {} {}@{}", sidecar.name, sidecar.repository, sidecar.manifest));
    }
    if !inputs.change_set.is_empty() {
        rows.push(format!("change set  {}", inputs.change_set.join(", ")));
    }
    for taken in &inputs.overrides {
        rows.push(format!("override    {taken}"));
    }
    rows.iter().map(|row| printable(row)).collect::<Vec<_>>().join("\n")
}

async fn compare(arguments: &DiffArguments) -> Outcome<()> {
    let opened = arguments.source.open()?;
    let from = verified(&opened, &arguments.platform, &arguments.from).await?;
    let to = verified(&opened, &arguments.platform, &arguments.to).await?;
    let found = diff(opened.store.as_ref(), opened.prefix.as_ref(), &from, &to).await?;
    super::say(if arguments.json { super::as_json(&found)? } else { differences(&found) });
    Ok(())
}

fn differences(found: &ReleaseDiff) -> String {
    let mut rows = vec![format!("{} → {}", found.from, found.to)];
    rows.extend(found.added.iter().map(|name| format!("added       {name}")));
    rows.extend(found.removed.iter().map(|name| format!("removed     {name}")));
    for component in &found.changed {
        let short = |commit: &str| commit[..commit.len().min(12)].to_owned();
        rows.push(format!(
            "changed     {}  {} → {}",
            component.name, component.version.from, component.version.to
        ));
        rows.push(format!(
            "            commit {} → {}",
            short(&component.commit.from),
            short(&component.commit.to)
        ));
        rows.extend(component.images_added.iter().map(|image| format!("            added {image}")));
        rows.extend(component.images_removed.iter().map(|image| format!("            removed {image}")));
        for image in &component.images {
            let mut packages = Vec::new();
            packages.extend(image.packages_added.iter().map(|package| format!("+ {package}")));
            packages.extend(image.packages_removed.iter().map(|package| format!("- {package}")));
            packages
                .extend(image.packages_changed.iter().map(|p| format!("~ {} {} → {}", p.name, p.from, p.to)));
            let count = packages.len();
            rows.push(format!("            {}: {count} packages differ", image.repository));
            rows.extend(
                packages.into_iter().take(MAX_SHOWN).map(|package| format!("              {package}")),
            );
            if count > MAX_SHOWN {
                rows.push(format!("              and {} more; --json has all", count - MAX_SHOWN));
            }
        }
    }
    for sidecar in &found.sidecars {
        rows.push(format!(
            "sidecar     {} {} → {}",
            sidecar.name, sidecar.manifest.from, sidecar.manifest.to
        ));
    }
    rows.extend(found.unchanged.iter().map(|name| format!("unchanged   {name}")));
    rows.iter().map(|row| printable(row)).collect::<Vec<_>>().join("\n")
}
