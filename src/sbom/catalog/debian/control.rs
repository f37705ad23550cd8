//! Debian control data (`deb-control(5)`, `deb822(5)`): the stanzas of dpkg's status file.

use serde::{Deserialize, Serialize};

/// Longest name, version or architecture, in bytes.
const MAX_WORD: usize = 255;
/// Packages of one database.
const MAX_STANZAS: usize = 100_000;
/// Names that the relations of one database mention.
const MAX_NAMES: usize = 1_000_000;
/// Longest other field, in bytes.
const MAX_FIELD: usize = 64 * 1024;

/// An installed package as dpkg describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sbom) struct Stanza {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: Option<String>,
    /// Name and version of the source, where they are not the package's own.
    pub(super) source: Option<(String, Option<String>)>,
    pub(super) maintainer: Option<String>,
    /// Names that `Depends` and `Pre-Depends` mention, alternatives included.
    pub(super) depends: Vec<String>,
    pub(super) provides: Vec<String>,
}

/// Returns the installed packages, and how many have no usable name or version or are too many.
pub(super) fn stanzas(text: &str) -> (Vec<Stanza>, usize) {
    let mut found = Vec::new();
    let mut unreadable = 0;
    let mut names = 0;
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim_end_matches([' ', '\t', '\r']).is_empty() {
            let fields = std::mem::take(&mut fields);
            if !fields.is_empty() && is_installed(&fields) {
                match stanza(&fields) {
                    Some(stanza) if found.len() < MAX_STANZAS && names < MAX_NAMES => {
                        names += stanza.depends.len() + stanza.provides.len();
                        found.push(stanza);
                    }
                    _ => unreadable += 1,
                }
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut()
                && value.len() + line.len() < MAX_FIELD
            {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':')
            && let Some(name) = FIELDS.iter().find(|known| known.eq_ignore_ascii_case(name))
        {
            let value = if value.len() < MAX_FIELD { value.trim() } else { "" };
            fields.push((name, value.to_owned()));
        } else {
            // Its continuation lines belong to no field that is kept.
            fields.push(("", String::new()));
        }
    }
    (found, unreadable)
}

const FIELDS: [&str; 9] = [
    "Package",
    "Status",
    "Version",
    "Architecture",
    "Source",
    "Maintainer",
    "Depends",
    "Pre-Depends",
    "Provides",
];

fn field<'a>(fields: &'a [(&str, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// Reports whether the package's files are there; `status.d` has no `Status` and only installed ones.
///
/// The third word tells: a package that was selected for removal may still be installed.
fn is_installed(fields: &[(&str, String)]) -> bool {
    match field(fields, "Status") {
        None => true,
        Some(status) => !matches!(status.split_whitespace().nth(2), Some("config-files" | "not-installed")),
    }
}

fn stanza(fields: &[(&str, String)]) -> Option<Stanza> {
    let word = |name| field(fields, name).filter(|value| is_word(value)).map(str::to_owned);
    let names = |name| field(fields, name).map(names).unwrap_or_default();
    let mut depends = names("Depends");
    depends.extend(names("Pre-Depends"));
    depends.sort();
    depends.dedup();
    Some(Stanza {
        name: word("Package")?,
        version: word("Version")?,
        architecture: word("Architecture"),
        source: field(fields, "Source").and_then(source),
        maintainer: field(fields, "Maintainer").map(str::to_owned),
        depends,
        provides: names("Provides"),
    })
}

fn is_word(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= MAX_WORD
        && !value.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Reads `name` or `name (version)`.
fn source(value: &str) -> Option<(String, Option<String>)> {
    let (name, version) = match value.split_once('(') {
        Some((name, version)) => (name.trim(), version.trim().strip_suffix(')').map(str::trim)),
        None => (value.trim(), None),
    };
    is_word(name).then(|| (name.to_owned(), version.filter(|version| is_word(version)).map(str::to_owned)))
}

/// Reads the names of `libc6 (>= 2.36), debconf:any (>= 0.5) | debconf-2.0`.
fn names(value: &str) -> Vec<String> {
    value
        .split([',', '|'])
        .filter_map(|relation| relation.split(['(', '[', '<']).next())
        .map(|name| name.trim().split(':').next().unwrap_or_default())
        .filter(|name| is_word(name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Stanza {
        let (mut stanzas, unreadable) = stanzas(text);
        assert_eq!((stanzas.len(), unreadable), (1, 0));
        stanzas.remove(0)
    }

    #[test]
    fn reads_a_stanza_with_alternatives_and_continuation_lines() {
        let stanza = one(
            "Package: apt\nStatus: install ok installed\nVersion: 2.6.1\narchitecture: amd64\nSource: apt-src (2.6.0)\n\
             Depends: libc6 (>= 2.34), debconf:any (>= 0.5) | debconf-2.0,\n gpgv | gpgv2\n\
             Description: words\n Depends: nothing\n\
             Provides: apt-transport-https (= 2.6.1)\n",
        );
        assert_eq!(stanza.depends, ["debconf", "debconf-2.0", "gpgv", "gpgv2", "libc6"]);
        assert_eq!(stanza.provides, ["apt-transport-https"]);
        assert_eq!(stanza.architecture.as_deref(), Some("amd64"));
        assert_eq!(stanza.source, Some(("apt-src".into(), Some("2.6.0".into()))));
    }

    #[test]
    fn leaves_out_what_is_not_installed_and_keeps_what_is_only_selected_for_removal() {
        let (stanzas, unreadable) = stanzas(
            "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
             Package: never\nStatus: unknown ok not-installed\n\n\
             Package: still\nStatus: deinstall ok installed\nVersion: 2\n",
        );
        assert_eq!(stanzas.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["still"]);
        assert_eq!(unreadable, 0);
    }

    #[test]
    fn counts_installed_packages_without_a_usable_name_or_version() {
        let (stanzas, unreadable) =
            stanzas("Package: a b\nVersion: 1\n\nPackage: c\n\nPackage: d\nVersion: 1\n");
        assert_eq!((stanzas.len(), unreadable), (1, 2));
    }

    proptest::proptest! {
        #[test]
        fn reads_back_what_a_stanza_says(
            name in "[a-z0-9][a-z0-9+.-]{1,40}",
            version in "([0-9]:)?[0-9][A-Za-z0-9.+~]{0,20}(-[A-Za-z0-9.+~]{1,10})?",
            arch in "(amd64|all|arm64)",
            needs in proptest::collection::vec("[a-z0-9][a-z0-9+.-]{1,20}", 0..5),
        ) {
            let text = format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: {arch}\nVersion: {version}\nDepends: {}\n",
                needs.join(" (>= 1), "),
            );
            let stanza = one(&text);
            let mut needs = needs;
            needs.sort();
            needs.dedup();
            proptest::prop_assert_eq!(&stanza.name, &name);
            proptest::prop_assert_eq!(&stanza.version, &version);
            proptest::prop_assert_eq!(stanza.architecture.as_deref(), Some(arch.as_str()));
            proptest::prop_assert_eq!(stanza.depends, needs);
        }

        #[test]
        fn never_panics_on_any_text(text in "(Package|Version|Status|Source| |:|\n|\\PC){0,200}") {
            let _ = stanzas(&text);
        }
    }
}
