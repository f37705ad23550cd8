//! Names: whatever is a name is its own text, and patterns agree with a slow reading of their rule.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use airlock::domain::commit::ObjectId;
use airlock::domain::component::path::RelativePath;
use airlock::domain::component::version::{Version, VersionTemplate, version_tag};
use airlock::domain::digest::Digest;
use airlock::domain::image::{NamePattern, PinnedImage, RegistryHost, Repository, Tag};
use airlock::domain::job::RunPhase;
use airlock::domain::trust::Channel;
use libfuzzer_sys::fuzz_target;

fn is_its_own_text<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    let again = value.to_string().parse::<T>().ok().expect("a name's text is a name");
    assert!(again == value, "`{text}` became `{value}`");
    Some(value)
}

/// `*` inside one part, `**` as a whole part for one part or more; exponential, so for short texts only.
fn slow(pattern: &[&str], name: &[&str]) -> bool {
    fn part(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|n| part(rest, &text[n..])),
            Some((c, rest)) => text.split_first().is_some_and(|(t, text)| t == c && part(rest, text)),
        }
    }
    match pattern.split_first() {
        None => name.is_empty(),
        Some((&"**", rest)) => (1..=name.len()).any(|n| slow(rest, &name[n..])),
        Some((first, rest)) => name
            .split_first()
            .is_some_and(|(n, name)| part(first.as_bytes(), n.as_bytes()) && slow(rest, name)),
    }
}

fuzz_target!(|input: (&str, &str, i64)| {
    let (text, other, time) = input;
    if let Some(repository) = is_its_own_text::<Repository>(text) {
        assert!(repository.as_str().split('/').all(|part| !part.is_empty() && part != ".."));
        assert!(repository.as_str().is_ascii() && repository.as_str().len() <= 255);
    }
    is_its_own_text::<Tag>(text);
    is_its_own_text::<Digest>(text);
    is_its_own_text::<RegistryHost>(text);
    is_its_own_text::<ObjectId>(text);
    is_its_own_text::<RelativePath>(text);
    is_its_own_text::<Channel>(text);
    if let Some(image) = is_its_own_text::<PinnedImage>(text) {
        assert!(text.contains(image.digest().hex()));
    }
    assert_eq!(RunPhase::parse(text).name(), text);
    if let Some(version) = is_its_own_text::<Version>(text) {
        let template = other.parse::<VersionTemplate>().unwrap_or_default();
        let commit = "1a2b3c4d5e".repeat(4);
        if let Ok(tag) = version_tag(&version, time, &commit, &template) {
            assert_eq!(tag.as_str().parse::<Tag>().ok(), Some(tag.clone()));
            assert!((0..=253_402_300_799).contains(&time));
            if template == VersionTemplate::default() {
                assert!(tag.as_str().ends_with(&format!(".g{}", &commit[..12])));
            }
        }
    }
    let _ = Version::from_file(Some(text.as_bytes()));
    let matches = NamePattern::new(text).matches(other);
    if text.len() <= 16 && other.len() <= 16 && text.matches('*').count() <= 5 {
        let (pattern, name): (Vec<&str>, Vec<&str>) = (text.split('/').collect(), other.split('/').collect());
        assert_eq!(matches, slow(&pattern, &name), "`{text}` on `{other}`");
    }
});
