//! Debian's packages of a folded image.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use packageurl::PackageUrl;

use super::super::super::fold::View;
use super::super::super::inventory::{Distro, Package, Source, Supplier};
use super::super::super::licence::Licence;
use super::super::super::path;
use super::super::Findings;
use super::control::Stanza;
use super::{Kind, Raw, kind};

/// Dependency edges of one image.
const MAX_EDGES: usize = 100_000;

type Identity<'a> = (&'a str, &'a str, Option<&'a str>);

fn identity(stanza: &Stanza) -> Identity<'_> {
    (&stanza.name, &stanza.version, stanza.architecture.as_deref())
}

fn stanzas<'a>(path: &str, raw: &'a super::super::Raw) -> &'a [Stanza] {
    match raw {
        super::super::Raw::Debian(Raw::Status(stanzas)) if kind(path) == Some(Kind::Status) => stanzas,
        _ => &[],
    }
}

pub(super) fn fold(view: &View<'_>, findings: &mut Findings) {
    for place in ["var/lib/dpkg/status", "var/lib/dpkg/status.d"] {
        if view.is_redirected(place) {
            findings.gaps.push(format!("`/{place}` leads through a symbolic link"));
        }
    }
    let mut installed: BTreeMap<Identity<'_>, (&Stanza, Vec<&str>)> = BTreeMap::new();
    for (path, kept) in &view.raws {
        for stanza in stanzas(path, kept.value) {
            installed.entry(identity(stanza)).or_insert((stanza, Vec::new())).1.push(path);
        }
        for key in super::owned(path, kept.value) {
            findings.own(*key, kept.layer);
        }
    }
    own_records(&installed, findings);

    let first = first_layers(view);
    let mut providers: HashMap<&str, BTreeSet<String>> = HashMap::new();
    for (stanza, _) in installed.values() {
        let id = id(stanza, findings.distro.as_ref());
        for name in stanza.provides.iter().chain([&stanza.name]) {
            providers.entry(name).or_default().insert(id.clone());
        }
    }
    let mut edges = 0;
    for (identity, (stanza, places)) in &installed {
        let id = id(stanza, findings.distro.as_ref());
        let mut depends_on = BTreeSet::new();
        for provider in stanza.depends.iter().filter_map(|name| providers.get(name.as_str())).flatten() {
            if edges >= MAX_EDGES {
                findings.gaps.push(format!("only {MAX_EDGES} dependencies are listed"));
                break;
            }
            if *provider != id && depends_on.insert(provider.clone()) {
                edges += 1;
            }
        }
        let layer = first.get(identity).copied().unwrap_or_default();
        findings.packages.push(Package {
            ecosystem: "deb",
            purl: purl(stanza, findings.distro.as_ref()),
            name: stanza.name.clone(),
            version: stanza.version.clone(),
            architecture: stanza.architecture.clone(),
            source: Some(source(stanza)),
            supplier: stanza.maintainer.as_deref().and_then(supplier),
            licences: licences(view, &stanza.name),
            locations: places.iter().map(|place| format!("/{place}")).collect(),
            layer: view.layers[layer].diff_id.clone(),
            depends_on: depends_on.into_iter().collect(),
            id,
        });
    }
}

/// Returns the first layer whose database has each package, whether or not that database survives.
fn first_layers<'a>(view: &View<'a>) -> HashMap<Identity<'a>, usize> {
    let mut first = HashMap::new();
    for (index, layer) in view.layers.iter().enumerate() {
        for (path, raw) in &layer.fragment.raws {
            for stanza in stanzas(path, raw) {
                first.entry(identity(stanza)).or_insert(index);
            }
        }
    }
    first
}

/// Claims dpkg's own records, so that installing a package does not look like own files.
fn own_records(installed: &BTreeMap<Identity<'_>, (&Stanza, Vec<&str>)>, findings: &mut Findings) {
    const FIXED: [&str; 13] = [
        "status",
        "status-old",
        "available",
        "diversions",
        "diversions-old",
        "statoverride",
        "statoverride-old",
        "lock",
        "lock-frontend",
        "triggers/File",
        "triggers/Unincorp",
        "triggers/Lock",
        "info/format",
    ];
    const PER_PACKAGE: [&str; 12] = [
        "list",
        "md5sums",
        "conffiles",
        "preinst",
        "postinst",
        "prerm",
        "postrm",
        "config",
        "templates",
        "triggers",
        "shlibs",
        "symbols",
    ];
    if installed.is_empty() {
        return;
    }
    let mut own = |path: String| findings.own(path::key(&path), usize::MAX);
    FIXED.iter().for_each(|name| own(format!("var/lib/dpkg/{name}")));
    for (stanza, _) in installed.values() {
        own(format!("var/lib/dpkg/status.d/{}", stanza.name));
        own(format!("var/lib/dpkg/status.d/{}.md5sums", stanza.name));
        for end in PER_PACKAGE {
            own(format!("var/lib/dpkg/info/{}.{end}", stanza.name));
            if let Some(arch) = &stanza.architecture {
                own(format!("var/lib/dpkg/info/{}:{arch}.{end}", stanza.name));
            }
        }
    }
}

fn id(stanza: &Stanza, distro: Option<&Distro>) -> String {
    purl(stanza, distro).unwrap_or_else(|| {
        let arch = stanza.architecture.as_deref().unwrap_or("unknown");
        format!("deb:{}@{}:{arch}", stanza.name, stanza.version)
    })
}

/// Returns the package URL, spelled as other scanners spell it: the epoch stays in the version.
fn purl(stanza: &Stanza, distro: Option<&Distro>) -> Option<String> {
    let distro = distro.filter(|distro| distro.is_like("debian"))?;
    let mut purl = PackageUrl::new("deb", stanza.name.as_str()).ok()?;
    purl.with_namespace(distro.id()).ok()?.with_version(stanza.version.as_str()).ok()?;
    if let Some(arch) = &stanza.architecture {
        purl.add_qualifier("arch", arch.as_str()).ok()?;
    }
    let release = match distro.version() {
        Some(version) => format!("{}-{version}", distro.id()),
        None => distro.id().to_owned(),
    };
    purl.add_qualifier("distro", release).ok()?;
    if let Some((name, version)) = &stanza.source {
        let version = version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
        purl.add_qualifier("upstream", format!("{name}{version}")).ok()?;
    }
    Some(purl.to_string())
}

fn source(stanza: &Stanza) -> Source {
    let (name, version) = match &stanza.source {
        Some((name, version)) => (name, version.as_ref()),
        None => (&stanza.name, None),
    };
    Source { name: name.clone(), version: version.unwrap_or(&stanza.version).clone() }
}

/// Reads `Name <mail>`.
fn supplier(maintainer: &str) -> Option<Supplier> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| !c.is_control()).take(200).collect::<String>().trim().to_owned()
    };
    let (name, email) = match maintainer.split_once('<') {
        Some((name, rest)) => (name, rest.split('>').next()),
        None => (maintainer, None),
    };
    let email = email.map(plain).filter(|mail| {
        let graphic = mail.bytes().all(|b| b.is_ascii_graphic() && !b"<>()[],;:\\\"".contains(&b));
        graphic
            && mail.split_once('@').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains('@'))
    });
    let name = plain(name.trim().trim_matches('"'));
    (!name.is_empty()).then_some(Supplier { name, email })
}

fn licences(view: &View<'_>, package: &str) -> Vec<Licence> {
    match view.raw_at(&format!("usr/share/doc/{package}/copyright")) {
        Some(super::super::Raw::Debian(Raw::Copyright(names))) => {
            let licences: BTreeSet<Licence> =
                names.iter().filter_map(|name| Licence::of_debian(name)).collect();
            licences.into_iter().collect()
        }
        _ => Vec::new(),
    }
}
