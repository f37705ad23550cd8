//! Dockerfiles, one per trick and named after it: what is refused and in which words, what is accepted
//! and how it is rewritten.

use std::path::{Path, PathBuf};

use airlock::dockerfile::{CheckedDockerfile, onbuild_refusal, refusals_to_failure};
use airlock::domain::image::PinnedImage;
use airlock::failure::FailureKind;

fn corpus(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerfiles").join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the corpus is there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the corpus of {kind} files is there");
    let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read(path).expect("readable"))).collect()
}

fn check(bytes: &[u8], target: Option<&str>) -> Result<CheckedDockerfile, Vec<airlock::dockerfile::Refusal>> {
    let allowed = |image: &PinnedImage| image.name().starts_with("registry.test:5000/base/");
    CheckedDockerfile::check(bytes, "Dockerfile", target, &allowed)
}

#[test]
fn refuses_each_trick_with_its_own_message() {
    let settings = settings("refused");
    let mut accepted = Vec::new();
    for (name, bytes) in corpus("refused") {
        let Err(refusals) = check(&bytes, None) else {
            accepted.push(name);
            continue;
        };
        let failure = refusals_to_failure("Dockerfile", &refusals);
        assert_eq!(failure.kind(), FailureKind::Refused { stage: 103, cli: 16 });
        settings.bind(|| insta::assert_snapshot!(name, failure));
    }
    assert_eq!(accepted, Vec::<String>::new(), "accepted, but each must be refused");
}

#[test]
fn accepts_what_stays_inside_and_rewrites_every_image() {
    let settings = settings("accepted");
    for (name, bytes) in corpus("accepted") {
        let checked = match check(&bytes, None) {
            Ok(checked) => checked,
            Err(refusals) => panic!("{name}: {}", refusals_to_failure("Dockerfile", &refusals)),
        };
        let rewritten = checked.rewritten(&|image| format!("private:{}", image.digest().short()));
        let report = format!(
            "bases: {}\nfinal base: {}\n---\n{}",
            checked.bases().iter().map(PinnedImage::to_string).collect::<Vec<_>>().join(" "),
            checked.final_base().map_or("none".into(), PinnedImage::to_string),
            rewritten.replace('\r', "\\r").replace('\u{feff}', "(BOM)")
        );
        settings.bind(|| insta::assert_snapshot!(name, report));
    }
}

#[test]
fn leaves_a_file_unchanged_when_each_image_keeps_its_name() {
    for (name, bytes) in corpus("accepted") {
        if !matches!(name.as_str(), "constant-argument" | "continued-reference" | "tagged-and-pinned") {
            let checked = check(&bytes, None).expect("accepted");
            assert_eq!(checked.rewritten(&PinnedImage::to_string).as_bytes(), bytes, "{name}");
        }
    }
}

#[test]
fn follows_the_target_to_the_base_whose_layers_it_inherits() {
    let bytes = std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerfiles/accepted/stages.Dockerfile"),
    )
    .expect("the file is there");
    let base = |target| {
        let checked = check(&bytes, target).expect("accepted");
        checked.final_base().map(|image| image.repository().as_str().to_owned())
    };
    assert_eq!(base(None).as_deref(), Some("base/debian"));
    assert_eq!(base(Some("last")).as_deref(), Some("base/debian"));
    assert_eq!(base(Some("BUILD")).as_deref(), Some("base/python"));
    let refusals = check(&bytes, Some("absent")).expect_err("there is no such stage");
    insta::assert_snapshot!(refusals_to_failure("Dockerfile", &refusals));
}

#[test]
fn names_the_instructions_of_a_base_image_for_later_builds() {
    let image = format!("registry.test:5000/base/node@sha256:{}", "a".repeat(64));
    let image: PinnedImage = image.parse().expect("pinned");
    let failure =
        onbuild_refusal(&image, &["COPY . /app".into(), "ADD http://example.test/x \u{1b}[2J/".into()]);
    insta::assert_snapshot!(failure);
}

#[test]
fn refuses_a_file_that_is_too_large() {
    let refusals = check(&vec![b'#'; 1024 * 1024 + 1], None).expect_err("too large");
    insta::assert_snapshot!(refusals_to_failure("services/api/Dockerfile", &refusals));
}

#[test]
fn names_twenty_refusals_and_counts_the_rest() {
    let text = format!("FROM scratch\n{}", "ONBUILD RUN true\n".repeat(1000));
    let failure = refusals_to_failure("Dockerfile", &check(text.as_bytes(), None).expect_err("refused"));
    assert_eq!(failure.causes().len(), 21);
    assert_eq!(failure.causes()[20], "and 980 more");
}

fn settings(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("dockerfiles/{folder}.snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

mod properties {
    use proptest::prelude::*;

    use super::check;

    /// Pieces that meet each other in surprising ways.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            "FROM ",
            "scratch",
            "registry.test:5000/base/a",
            "@sha256:",
            "ADD ",
            "COPY ",
            "RUN ",
            "ONBUILD ",
            "ARG ",
            "A=b",
            "$A",
            "${A:-x}",
            "--from=",
            "0",
            "--mount=",
            "type=cache",
            ",",
            "http://x",
            " ",
            "\t",
            "\n",
            "\r\n",
            "\r",
            "\\\n",
            "\\\\\n",
            "\\",
            "`",
            "# escape=`\n",
            "# syntax=x\n",
            "//",
            "{",
            "[",
            "\"",
            "]",
            "'",
            "<<EOF",
            "<<-\"E\"",
            "EOF\n",
            "E\n",
            "#",
            "\u{feff}",
            "\u{a0}",
            "é",
            " AS x",
            "x",
            "SHELL ",
            "HEALTHCHECK ",
            "CMD ",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "VOLUME ",
            "ENV ",
            "\\u",
        ])
    }

    proptest! {
        #[test]
        fn reads_any_bytes_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = check(&bytes, None);
        }

        #[test]
        fn reads_any_mixture_of_pieces_without_a_panic(pieces in prop::collection::vec(piece(), 0..40)) {
            let text = pieces.concat();
            let _ = check(text.as_bytes(), Some("x"));
            let _ = check(format!("FROM scratch\n{text}").as_bytes(), None);
        }

        #[test]
        fn never_accepts_a_url_in_add(
            before in prop::collection::vec(piece(), 0..6),
            keyword in "[aA][dD][dD]",
            scheme in "[hH][tT][tT][pP][sS]?",
        ) {
            let text = format!("FROM scratch\nRUN {}\n{keyword} {scheme}://x /y\nRUN z", before.concat());
            let hidden = before.concat();
            // A continuation or a here-document would make the line a part of something else.
            prop_assume!(!hidden.contains('\\') && !hidden.contains("<<"));
            prop_assert!(check(text.as_bytes(), None).is_err());
        }

        #[test]
        fn keeps_every_byte_but_the_references(pieces in prop::collection::vec(piece(), 0..12)) {
            let text = format!("FROM scratch\nRUN {}\n", pieces.concat());
            if let Ok(checked) = check(text.as_bytes(), None) {
                prop_assert_eq!(checked.rewritten(&ToString::to_string), text);
            }
        }
    }
}
