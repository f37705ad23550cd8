//! Machine-readable copyright files ("DEP-5", Debian Policy's copyright format 1.0).
//!
//! Only these: guessing a licence from free text would put a false statement under a signature.

/// Different short names that are kept of one file.
const MAX_NAMES: usize = 200;

/// Returns the licence short names, each once, sorted; empty where the file is not machine-readable.
pub(super) fn short_names(text: &str) -> Vec<String> {
    let header = text.lines().take_while(|line| !line.trim().is_empty());
    let machine_readable = header.take(50).any(|line| {
        let line = line.trim_start_matches('\u{feff}').to_ascii_lowercase();
        line.starts_with("format:") || line.starts_with("format-specification:")
    });
    if !machine_readable {
        return Vec::new();
    }
    let mut names = std::collections::BTreeSet::new();
    for line in text.lines() {
        let Some((field, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if field.eq_ignore_ascii_case("license")
            && !value.is_empty()
            && value.len() <= 300
            && names.len() < MAX_NAMES
        {
            names.insert(value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_short_names_once_and_only_of_machine_readable_files() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
            Files: *\nLicense: GPL-3+\n\nFiles: a\nLicense:\tExpat\n\nLicense: GPL-3+\n License: not this\n";
        assert_eq!(short_names(text), ["Expat", "GPL-3+"]);
        assert!(short_names("This is free.\n\nLicense: GPL-3+\n").is_empty());
    }
}
