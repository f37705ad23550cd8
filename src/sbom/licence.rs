//! Licence names as packages write them, and the SPDX expressions they mean.
//!
//! A name that is not certainly on SPDX' list stays a name of its own (`LicenseRef-…`): a wrong
//! identifier under a signature is worse than none.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A licence of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Licence {
    /// An identifier of SPDX' list.
    Id(String),
    /// A name that is on no list.
    Named(String),
    /// An expression of several.
    Expression { text: String, named: Vec<String> },
}

impl Licence {
    /// Reads a short name of Debian's copyright format, for example `GPL-2+ or Artistic`.
    ///
    /// Returns nothing for prose that somebody wrote in the place of a name.
    pub fn of_debian(text: &str) -> Option<Self> {
        let mut segments = Vec::new();
        for segment in text.split(',') {
            let segment = segment.trim();
            let (operator, rest) = match segment.split_once(' ') {
                Some((word, rest)) if word.eq_ignore_ascii_case("and") => ("AND", rest),
                Some((word, rest)) if word.eq_ignore_ascii_case("or") => ("OR", rest),
                _ => ("AND", segment),
            };
            segments.push((operator, alternatives(rest)?));
        }
        let mut segments = segments.into_iter();
        let (_, first) = segments.next()?;
        let whole = segments.fold(first, |left, (operator, right)| left.joined(operator, right));
        Some(whole.licence())
    }

    /// Returns the SPDX expression.
    pub fn expression(&self) -> String {
        match self {
            Self::Id(id) => id.clone(),
            Self::Named(name) => reference(name),
            Self::Expression { text, .. } => text.clone(),
        }
    }

    /// Returns the expression that demands all of `licences`.
    pub(super) fn all_of(licences: &[Self]) -> String {
        let terms = licences.iter().map(|licence| match licence {
            Self::Expression { text, .. } if licences.len() > 1 && text.contains(' ') => format!("({text})"),
            other => other.expression(),
        });
        terms.collect::<Vec<_>>().join(" AND ")
    }

    /// Returns the names that are on no list.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Id(_) => &[],
            Self::Named(name) => std::slice::from_ref(name),
            Self::Expression { named, .. } => named,
        }
    }
}

/// Returns the `LicenseRef-` by which a document refers to a name that is on no list.
///
/// Different names get different references: where a character had to go, a digest comes instead.
pub(super) fn reference(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let word: String = name.chars().map(|c| if plain(c) { c } else { '-' }).take(100).collect();
    if word == name {
        return format!("LicenseRef-Debian-{word}");
    }
    let digest = crate::domain::digest::Digest::of(name.as_bytes());
    format!("LicenseRef-Debian-{}-{}", word.trim_end_matches('-'), &digest.hex()[..8])
}

/// A part of an expression, while it is read.
struct Part {
    text: String,
    terms: usize,
    named: Vec<String>,
    single: Option<Licence>,
}

impl Part {
    fn joined(mut self, operator: &str, mut right: Self) -> Self {
        let wrapped = |part: &Self| {
            if part.terms > 1 { format!("({})", part.text) } else { part.text.clone() }
        };
        self.text = format!("{} {operator} {}", wrapped(&self), wrapped(&right));
        self.terms += right.terms;
        self.named.append(&mut right.named);
        self.named.sort();
        self.named.dedup();
        self.single = None;
        self
    }

    fn licence(self) -> Licence {
        self.single.unwrap_or(Licence::Expression { text: self.text, named: self.named })
    }
}

/// Reads `A and B or C`; `and` binds more tightly.
fn alternatives(text: &str) -> Option<Part> {
    let mut whole: Option<Part> = None;
    for side in split_at_word(text, "or") {
        let mut terms: Option<Part> = None;
        for term in split_at_word(&side, "and") {
            let term = term_of(&term)?;
            terms = Some(match terms {
                Some(left) => left.joined("AND", term),
                None => term,
            });
        }
        let terms = terms?;
        whole = Some(match whole {
            Some(left) => left.joined("OR", terms),
            None => terms,
        });
    }
    whole
}

fn split_at_word(text: &str, word: &str) -> Vec<String> {
    let mut parts = vec![Vec::new()];
    for token in text.split_whitespace() {
        if token.eq_ignore_ascii_case(word) {
            parts.push(Vec::new());
        } else {
            parts.last_mut().expect("it starts with one").push(token);
        }
    }
    parts.into_iter().map(|tokens| tokens.join(" ")).collect()
}

fn term_of(term: &str) -> Option<Part> {
    let tokens: Vec<&str> = term.split_whitespace().collect();
    let single = match tokens.as_slice() {
        [name] => match spdx_id(name) {
            Some(id) => Licence::Id(id),
            None if is_name(name) => Licence::Named((*name).to_owned()),
            None => return None,
        },
        // Which exception is meant is certain only where the name says it.
        [name, with, exception, word]
            if with.eq_ignore_ascii_case("with") && word.eq_ignore_ascii_case("exception") =>
        {
            let known = match exception.to_ascii_lowercase().as_str() {
                "llvm" => Some("LLVM-exception"),
                "linux-syscall-note" => Some("Linux-syscall-note"),
                _ => None,
            };
            match (spdx_id(name), known) {
                (Some(id), Some(exception)) => {
                    Licence::Expression { text: format!("{id} WITH {exception}"), named: Vec::new() }
                }
                _ if is_name(name) && is_name(exception) => Licence::Named(tokens.join("-")),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(Part { text: single.expression(), terms: 1, named: single.names().to_vec(), single: Some(single) })
}

fn is_name(token: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-._/~".contains(&b);
    token.len() <= 80 && token.bytes().all(plain) && token.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Returns the identifier on SPDX' list that a Debian short name means.
fn spdx_id(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let alias = match lower.as_str() {
        "expat" => Some("MIT"),
        "artistic" => Some("Artistic-1.0-Perl"),
        "apache-2" => Some("Apache-2.0"),
        "cc0" => Some("CC0-1.0"),
        "openldap-2.8" => Some("OLDAP-2.8"),
        "bsd-3-clause" | "bsd-3" => Some("BSD-3-Clause"),
        "bsd-2-clause" => Some("BSD-2-Clause"),
        "gpl" | "lgpl" | "agpl" | "gfdl" => return None,
        _ => None,
    };
    if let Some(id) = alias {
        return Some(id.to_owned());
    }
    if let Some(id) = gnu_id(&lower) {
        return listed(&id);
    }
    // `+` means "or later" only for GNU's licences; for any other the name is somebody's own.
    if lower.ends_with('+') {
        return None;
    }
    listed(name)
}

/// Reads `LGPL-2.1+`, `GPLv2+`, `GFDL-NIV-1.3` and the like.
fn gnu_id(lower: &str) -> Option<String> {
    let (family, rest) = ["AGPL", "LGPL", "GPL", "GFDL"]
        .iter()
        .find_map(|family| Some((*family, lower.strip_prefix(&family.to_ascii_lowercase())?)))?;
    let (variant, rest) = match rest.strip_prefix("-niv") {
        Some(rest) if family == "GFDL" => ("-no-invariants", rest),
        _ => ("", rest),
    };
    let rest = rest.trim_start_matches('-').trim_start_matches('v');
    let (version, later) = if let Some(version) = rest.strip_suffix("-or-later").or(rest.strip_suffix('+')) {
        (version, "or-later")
    } else {
        (rest.strip_suffix("-only").unwrap_or(rest), "only")
    };
    let version = match version.split_once('.') {
        None => format!("{version}.0"),
        Some(_) => version.to_owned(),
    };
    let digits = version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits.then(|| format!("{family}-{version}{variant}-{later}"))
}

/// Returns the identifier as the list spells it, where every validator's list has it.
fn listed(name: &str) -> Option<String> {
    static LIST: OnceLock<BTreeMap<String, &'static str>> = OnceLock::new();
    let list = LIST.get_or_init(|| {
        (spdx::identifiers::LICENSES.iter())
            .map(|licence| licence.name)
            .filter(|name| !name.eq_ignore_ascii_case("noassertion") && !TOO_NEW.contains(name))
            .map(|name| (name.to_ascii_lowercase(), name))
            .collect()
    });
    list.get(&name.to_ascii_lowercase()).map(|name| (*name).to_owned())
}

/// Identifiers younger than list 3.26, which CycloneDX 1.6's own schema refuses.
const TOO_NEW: &[&str] = &[
    "ALGLIB-Documentation",
    "Advanced-Cryptics-Dictionary",
    "Artistic-dist",
    "Aspell-RU",
    "BOLA-1.1",
    "BSD-2-Clause-pkgconf-disclaimer",
    "BSD-2-Clause-pos-unchanged",
    "BSD-3-Clause-OpenWebUI",
    "BSD-3-Clause-Tso",
    "BSD-Mark-Modifications",
    "BSD-Source-Code-no-disclaimer",
    "BSD-Source-alt-GPL",
    "BSD-ask-to-endorse",
    "Brian-Gladman-3-Clause-no-conversion",
    "Buddy",
    "Bugroff",
    "CAPEC-tou",
    "CC-BY-NC-3.0-IGO",
    "CryptoSwift",
    "DocBook-DTD",
    "ESA-PL-permissive-2.4",
    "ESA-PL-strong-copyleft-2.4",
    "ESA-PL-weak-copyleft-2.4",
    "FDK-MPEG-H",
    "FSFULLRSD",
    "FSL-1.1-ALv2",
    "FSL-1.1-MIT",
    "GFDL-1.1-invariants",
    "GFDL-1.1-no-invariants",
    "GFDL-1.2-invariants",
    "GFDL-1.2-no-invariants",
    "GFDL-1.3-invariants",
    "GFDL-1.3-no-invariants",
    "Game-Programming-Gems",
    "HDF5",
    "HPND-SMC",
    "HPND-sell-variant-critical-systems",
    "Hippocratic-3.0-core",
    "ISO-permission",
    "Informatica",
    "MIT-STK",
    "MMPL-1.0.1",
    "MVT-1.1",
    "NIST-PD-TNT",
    "NTIA-PD",
    "OSC-1.0",
    "OSSP",
    "OpenMDW-1.0",
    "ParaType-Free-Font-1.3",
    "SGMLUG-PM",
    "SOFA",
    "SUL-1.0",
    "TekHVC",
    "UnRAR",
    "Unlicense-libtelnet",
    "Unlicense-libwhirlpool",
    "Vixie-Cron",
    "WTFNMFPL",
    "WordNet",
    "X11-no-permit-persons",
    "atc-game",
    "hyphen-bulgarian",
    "jove",
    "libpng-1.6.35",
    "man2html",
    "ngrep",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_debians_short_names() {
        let cases = [
            "GPL-2+",
            "GPL-2",
            "GPLv3+",
            "LGPL-2.1+",
            "GPL-1+ or Artistic",
            "Expat",
            "BSD-3-clause",
            "MIT/X11",
            "public-domain",
            "GPL",
            "GFDL-NIV-1.3+",
            "ZLIB",
            "Apache-2.0 with LLVM exception",
            "MPL-1.1+",
            "GPL-2+ with Autoconf exception",
            "GPL-2+ and LGPL-2.1+ or Expat",
            "GPL-2+ or Expat, and ISC",
            "OPL-1+",
            "This software is provided 'as-is', without any express",
            "and",
            "",
            "GPL-9",
            "LGPL-3+ or GPL-2+",
        ];
        let shown: Vec<String> = cases
            .iter()
            .map(|case| {
                let read = Licence::of_debian(case).map(|licence| licence.expression());
                format!("{case:?} -> {}", read.as_deref().unwrap_or("nothing"))
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn refers_to_different_names_differently() {
        assert_ne!(reference("BSD+"), reference("BSD-"));
        assert_ne!(reference("a/b"), reference("a_b"));
    }

    proptest::proptest! {
        #[test]
        fn gives_a_valid_expression_or_nothing(text in "((GPL-2\\+|Expat|or|and|with|exception|,|\\PC{1,8}) ?){0,10}") {
            if let Some(licence) = Licence::of_debian(&text) {
                proptest::prop_assert!(spdx::Expression::parse(&licence.expression()).is_ok(), "{:?}", licence);
            }
        }
    }
}
