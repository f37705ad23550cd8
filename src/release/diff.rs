//! What differs between two releases: components, versions, commits, and the packages of their SBOMs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::delivery::verify::collect;
use crate::domain::digest::Digest;
use crate::domain::evidence::statement::parse_predicate;
use crate::domain::image::Repository;
use crate::domain::release::{Release, ReleaseComponent, ReleaseImage};
use crate::failure::{Failure, Outcome};
use crate::registry::ImageStore;
use crate::release::store::VerifiedRelease;

/// Most packages of one SBOM that are compared.
const MAX_PACKAGES: usize = 200_000;

/// The differences between two releases of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseDiff {
    pub from: String,
    pub to: String,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<ComponentDiff>,
    pub unchanged: Vec<String>,
    pub sidecars: Vec<SidecarDiff>,
}

/// A component that both releases have, and that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentDiff {
    pub name: String,
    pub version: Change,
    pub commit: Change,
    /// Images that only the newer release has, as `repository os/architecture`.
    pub images_added: Vec<String>,
    /// Images that only the older release has.
    pub images_removed: Vec<String>,
    pub images: Vec<ImageDiff>,
}

/// A sidecar that is not the same in both releases; empty where one has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SidecarDiff {
    pub name: String,
    pub manifest: Change,
}

/// A value before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub from: String,
    pub to: String,
}

/// The packages of one image before and after, as `name version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageDiff {
    pub repository: Repository,
    pub manifest: Change,
    pub packages_added: Vec<String>,
    pub packages_removed: Vec<String>,
    /// Packages of one name whose version differs.
    pub packages_changed: Vec<PackageChange>,
}

/// A package whose version differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    pub name: String,
    pub from: String,
    pub to: String,
}

/// Compares two releases; the SBOMs are read by the digests that the releases name.
pub async fn diff(
    store: &dyn ImageStore,
    prefix: Option<&Repository>,
    from: &VerifiedRelease,
    to: &VerifiedRelease,
) -> Outcome<ReleaseDiff> {
    let (old, new) = (from.release(), to.release());
    let names = |release: &Release| -> BTreeSet<String> {
        release.components.iter().map(|component| component.name.clone()).collect()
    };
    let (before, after) = (names(old), names(new));
    let mut result = ReleaseDiff {
        from: old.version.clone(),
        to: new.version.clone(),
        added: after.difference(&before).cloned().collect(),
        removed: before.difference(&after).cloned().collect(),
        changed: Vec::new(),
        unchanged: Vec::new(),
        sidecars: sidecars(old, new),
    };
    let component = |release: &Release, name: &str| -> Option<ReleaseComponent> {
        release.components.iter().find(|component| component.name == name).cloned()
    };
    for name in before.intersection(&after) {
        let (Some(old), Some(new)) = (component(old, name), component(new, name)) else { continue };
        // A rerun of a staging job brings other evidence for the same image: nothing that one compares.
        if what_runs(&old) == what_runs(&new) && old.source == new.source {
            result.unchanged.push(name.clone());
            continue;
        }
        result.changed.push(ComponentDiff {
            name: name.clone(),
            version: Change { from: old.version.clone(), to: new.version.clone() },
            commit: Change { from: old.source.commit.clone(), to: new.source.commit.clone() },
            images_added: absent(&new, &old),
            images_removed: absent(&old, &new),
            images: images(store, prefix, &old, &new).await?,
        });
    }
    Ok(result)
}

fn sidecars(old: &Release, new: &Release) -> Vec<SidecarDiff> {
    let map = |release: &Release| -> BTreeMap<String, String> {
        release.sidecars.iter().map(|sidecar| (sidecar.name.clone(), sidecar.manifest.to_string())).collect()
    };
    let (before, after) = (map(old), map(new));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| SidecarDiff {
            name: name.clone(),
            manifest: Change {
                from: before.get(name).cloned().unwrap_or_default(),
                to: after.get(name).cloned().unwrap_or_default(),
            },
        })
        .collect()
}

fn what_runs(component: &ReleaseComponent) -> Vec<(&Repository, &str, &Digest)> {
    component
        .images
        .iter()
        .map(|image| (&image.repository, image.platform.as_str(), &image.manifest))
        .collect()
}

/// Names the images of `these` that `those` has not.
fn absent(these: &ReleaseComponent, those: &ReleaseComponent) -> Vec<String> {
    let name = |image: &ReleaseImage| format!("{} {}", image.repository, image.platform);
    let there: BTreeSet<String> = those.images.iter().map(name).collect();
    these.images.iter().map(name).filter(|image| !there.contains(image)).collect()
}

async fn images(
    store: &dyn ImageStore,
    prefix: Option<&Repository>,
    old: &ReleaseComponent,
    new: &ReleaseComponent,
) -> Outcome<Vec<ImageDiff>> {
    let mut diffs = Vec::new();
    for after in &new.images {
        let same =
            |image: &&ReleaseImage| image.repository == after.repository && image.platform == after.platform;
        let Some(before) = old.images.iter().find(same) else { continue };
        if before.manifest == after.manifest {
            continue;
        }
        let (was, is) = tokio::try_join!(packages(store, prefix, before), packages(store, prefix, after))?;
        diffs.push(compare(before, after, &was, &is));
    }
    Ok(diffs)
}

fn compare(
    before: &ReleaseImage,
    after: &ReleaseImage,
    was: &BTreeMap<String, BTreeSet<String>>,
    is: &BTreeMap<String, BTreeSet<String>>,
) -> ImageDiff {
    let shown = |name: &str, versions: &BTreeSet<String>| {
        versions.iter().map(|version| format!("{name} {version}").trim_end().to_owned()).collect::<Vec<_>>()
    };
    let joined = |versions: &BTreeSet<String>| versions.iter().cloned().collect::<Vec<_>>().join(", ");
    ImageDiff {
        repository: after.repository.clone(),
        manifest: Change { from: before.manifest.to_string(), to: after.manifest.to_string() },
        packages_added: is
            .iter()
            .filter(|(name, _)| !was.contains_key(*name))
            .flat_map(|(n, v)| shown(n, v))
            .collect(),
        packages_removed: was
            .iter()
            .filter(|(name, _)| !is.contains_key(*name))
            .flat_map(|(n, v)| shown(n, v))
            .collect(),
        packages_changed: is
            .iter()
            .filter_map(|(name, now)| {
                let then = was.get(name).filter(|then| *then != now)?;
                Some(PackageChange { name: name.clone(), from: joined(then), to: joined(now) })
            })
            .collect(),
    }
}

/// Reads the packages out of the very SPDX document that the release names.
async fn packages(
    store: &dyn ImageStore,
    prefix: Option<&Repository>,
    image: &ReleaseImage,
) -> Outcome<BTreeMap<String, BTreeSet<String>>> {
    #[derive(Deserialize)]
    struct Spdx {
        #[serde(default)]
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Package {
        name: String,
        #[serde(default)]
        version_info: String,
        #[serde(default)]
        primary_package_purpose: String,
    }
    let repository = image.repository.below(prefix);
    let wanted: &Digest = &image.evidence.spdx;
    let evidence = collect(store, &repository, &image.manifest).await?;
    let payload = evidence
        .statements
        .iter()
        .find(|found| found.envelope.digest() == *wanted)
        .map(|found| found.envelope.payload())
        .ok_or_else(|| {
            Failure::refused_to_publish(format!(
                "the SBOM of `{repository}@sha256:{}…` is not there any more",
                image.manifest.short()
            ))
            .because(format!("the release names {wanted}"))
            .hint("ask the registry's administrator who removed it")
        })?;
    let document: Spdx = parse_predicate(payload).map_err(|error| {
        Failure::refused_to_publish(format!("the SBOM of `{repository}` cannot be read")).because(error)
    })?;
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // The image and its operating system are described as packages too; they are not what one compares.
    let real = |package: &&Package| {
        !["CONTAINER", "OPERATING_SYSTEM"].contains(&package.primary_package_purpose.as_str())
    };
    if document.packages.len() > MAX_PACKAGES {
        return Err(Failure::refused_to_publish(format!(
            "the SBOM of `{repository}` is too long to compare"
        ))
        .because(format!("it lists {} packages, more than {MAX_PACKAGES}", document.packages.len()))
        .hint("compare the SBOMs themselves: `cosign verify-attestation --type spdxjson` prints them"));
    }
    for package in document.packages.iter().filter(real) {
        packages.entry(package.name.clone()).or_default().insert(package.version_info.clone());
    }
    Ok(packages)
}
