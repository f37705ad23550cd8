//! What the manifest means where it says nothing, and round trips.

use proptest::prelude::*;

use super::path::RelativePath;
use super::version::{Version, VersionTemplate, version_tag};
use super::*;

const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f80912345678";

#[test]
fn a_component_without_a_manifest_builds_one_image_of_its_name() {
    let manifest = ComponentManifest::absent("acme/billing").expect("a name");
    assert_eq!(manifest.name(), "billing");
    assert_eq!(manifest.version_file().as_str(), "VERSION");
    assert!(manifest.junit().is_empty() && manifest.try_image().is_none());
    let [image] = manifest.images() else { panic!("one image") };
    assert_eq!(image.repository.as_str(), "billing");
    assert_eq!((image.dockerfile.as_str(), image.context.as_str()), ("Dockerfile", "."));
    assert_eq!(image.target, None);
}

#[test]
fn takes_every_key() {
    let image = format!("registry.test:5000/base/python@sha256:{}", "a".repeat(64));
    let text = format!(
        "schema = 1\nname = \"billing\"\nversion_file = \"api/VERSION\"\njunit = [\"reports/**/*.xml\"]\n\
         [try]\nimage = \"{image}\"\n\
         [[image]]\nrepository = \"billing/api\"\ndockerfile = \"api/Dockerfile\"\ncontext = \"api\"\ntarget = \"runtime\"\n\
         [[image]]\nrepository = \"billing/web\"\n"
    );
    let manifest = ComponentManifest::parse(&text, "acme/Something_Else").expect("valid");
    assert_eq!(manifest.try_image().map(ToString::to_string), Some(image));
    assert!(manifest.is_report("reports/unit/a.xml") && !manifest.is_report("reports/a.txt"));
    assert_eq!(manifest.images().len(), 2);
    assert_eq!(manifest.images()[0].target.as_deref(), Some("runtime"));
    assert_eq!(manifest.images()[1].context, RelativePath::root());
}

#[test]
fn makes_the_version_tag_of_the_formats() {
    let version = "1.4.0".parse().expect("a version");
    let tag = |version: &Version, template: &str| {
        version_tag(version, 1_795_342_500, COMMIT, &template.parse().expect("a template"))
    };
    let default = version_tag(&version, 1_795_342_500, COMMIT, &VersionTemplate::default()).expect("a tag");
    assert_eq!(default.as_str(), "1.4.0-20261122101500.g1a2b3c4d5e6f");
    assert_eq!(tag(&version, "v{version}_{commit12}").expect("a tag").as_str(), "v1.4.0_1a2b3c4d5e6f");
    assert_eq!(Version::from_file(None).expect("a version").to_string(), "0.0.0");
    assert_eq!(
        Version::from_file(Some(b"1.0.0-rc.1 \r\nmore")).expect("a version").to_string(),
        "1.0.0-rc.1"
    );
}

#[test]
fn names_what_is_wrong_with_a_version() {
    let version: Version = "1.4.0".parse().expect("a version");
    let long: Version = format!("1.0.0-{}", "a".repeat(120)).parse().expect("a version");
    let template = VersionTemplate::default();
    let messages = [
        Version::from_file(Some(b"1.4\n")).expect_err("short"),
        Version::from_file(Some(b"1.4.0+build\n")).expect_err("metadata"),
        Version::from_file(Some(b"\n1.4.0")).expect_err("empty line"),
        Version::from_file(Some(b"\xff")).expect_err("not a text"),
        "{version}".parse::<VersionTemplate>().expect_err("not unique"),
        "{version}:{time}".parse::<VersionTemplate>().expect_err("not a tag"),
        "{versoin}-{time}".parse::<VersionTemplate>().expect_err("a slip"),
        version_tag(&version, -1, COMMIT, &template).expect_err("before 1970"),
        version_tag(&version, i64::MAX, COMMIT, &template).expect_err("too late"),
        version_tag(&version, 0, "HEAD", &template).expect_err("no commit"),
        version_tag(&long, 0, COMMIT, &template).expect_err("too long"),
    ]
    .map(|error| crate::failure::Failure::from(error).to_string());
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn names_each_mistake_with_its_line_and_what_is_allowed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain/component/invalid");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(files.len() >= 20, "the invalid manifests are there");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let errors = ComponentManifest::parse(&text, "acme/billing").expect_err(&name);
        insta::assert_snapshot!(format!("invalid-{name}"), crate::failure::Failure::from(errors));
    }
}

#[test]
fn names_a_project_that_gives_no_component_name() {
    let errors = ComponentManifest::absent("acme/Billing_API").expect_err("no name");
    insta::assert_snapshot!(crate::failure::Failure::from(errors));
}

#[test]
fn refuses_a_manifest_that_is_too_large() {
    let text = format!("schema = 1\n#{}", "x".repeat(MAX_MANIFEST_BYTES));
    let images = format!("schema = 1\n{}", "[[image]]\nrepository = \"a\"\n".repeat(MAX_IMAGES + 1));
    let reports = format!("schema = 1\njunit = [{}]", "\"a\",".repeat(MAX_REPORT_PATTERNS + 1));
    let messages = [text, images, reports]
        .map(|text| ComponentManifest::parse(&text, "acme/billing").expect_err("too large").to_string());
    insta::assert_snapshot!(messages.join("\n"));
}

proptest! {
    #[test]
    fn reads_any_text_without_a_panic(text in ".{0,200}", project in ".{0,20}") {
        let _ = ComponentManifest::parse(&text, &project);
    }

    #[test]
    fn reads_any_values_without_a_panic(name in "\\PC{0,20}", file in "\\PC{0,20}", n in any::<i64>()) {
        let text = format!("schema = {n}\nname = '{name}'\nversion_file = \"{file}\"\njunit = ['{file}']\n[[image]]\nrepository = '{name}'\n");
        let _ = ComponentManifest::parse(&text, "a");
    }

    #[test]
    fn a_version_is_read_as_it_is_written(text in "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}(-[a-z0-9.-]{1,8})?") {
        if let Ok(version) = text.parse::<Version>() {
            prop_assert_eq!(version.to_string(), text.clone());
            prop_assert_eq!(Version::from_file(Some(format!("{text}\n").as_bytes())), Ok(version));
        }
    }

    #[test]
    fn a_version_tag_is_a_tag_or_an_error(text in "0\\.1\\.[0-9]{1,3}(-[a-z]{1,150})?", time in 0_i64..9_000_000_000) {
        if let Ok(version) = text.parse::<Version>()
            && let Ok(tag) = version_tag(&version, time, COMMIT, &VersionTemplate::default())
        {
            prop_assert!(tag.as_str().len() <= 128 && tag.as_str().starts_with(&text));
            prop_assert_eq!(tag.to_string().parse(), Ok(tag));
        }
    }

    #[test]
    fn a_path_never_leaves_the_component(text in "[a./\\\\ ]{0,12}") {
        if let Ok(path) = text.parse::<RelativePath>() {
            prop_assert!(!path.as_str().starts_with('/') && !path.as_str().split('/').any(|part| part == ".."));
            prop_assert_eq!(path.to_string().parse(), Ok(path));
        }
    }
}
