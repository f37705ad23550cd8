//! Hand-made exports in both shapes: what comes out of them, and what is refused.

mod archives;

use archives::{Export, image_config, layer};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::failure::Failure;

const COMMIT: i64 = 1_795_342_500;

fn labels() -> ImageLabels {
    ImageLabels {
        version: "1.4.0-20261122101500.g1a2b3c4d5e6f".to_owned(),
        revision: "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b".to_owned(),
        source: "https://gitlab.example.internal/acme/billing".to_owned(),
    }
}

fn input<'a>(work_dir: &'a Path, base_layers: &'a [Digest]) -> DescribeInput<'a> {
    DescribeInput { work_dir, base_layers, commit_time: COMMIT, labels: labels(), image_id: None }
}

/// Stands for the scanner: it reads the whole archive and lists its paths.
fn list(tar: &mut dyn Read) -> Result<Vec<String>, String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().map_err(|error| error.to_string())?;
    entries
        .map(|entry| entry.map(|entry| entry.path().unwrap().display().to_string()))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn read_with(export: &[u8], input: &DescribeInput<'_>) -> Result<ReadImage<Vec<String>>, DescribeError> {
    read_export(export, input, &list, &|_| None, &|_| {})
}

fn read(export: &[u8]) -> Result<ReadImage<Vec<String>>, DescribeError> {
    let work_dir = tempfile::tempdir().unwrap();
    let result = read_with(export, &input(work_dir.path(), &[]));
    if result.is_err() {
        assert_eq!(std::fs::read_dir(work_dir.path()).unwrap().count(), 0, "files were left");
    }
    result
}

fn unpacked(layer: &ReadLayer<Vec<String>>) -> Vec<u8> {
    let file = std::fs::File::open(layer.file.as_ref().unwrap()).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn an_image_becomes_blobs_that_name_each_other() {
    let work_dir = tempfile::tempdir().unwrap();
    let layers = [layer(&[("etc/os-release", "base", 5)]), layer(&[("app/main", "ours", COMMIT + 50)])];
    let base = [Digest::of(&layers[0])];
    let export = Export::old(&image_config(&layers), &layers).bytes();
    let image = read_with(&export, &input(work_dir.path(), &base)).unwrap();

    assert_eq!(image.layers[0].origin, LayerOrigin::Base);
    assert_eq!(image.layers[0].diff_id, base[0]);
    assert_eq!(unpacked(&image.layers[0]), layers[0]);
    assert_eq!(image.layers[1].origin, LayerOrigin::Own);
    assert_eq!(unpacked(&image.layers[1]), layer(&[("app/main", "ours", COMMIT)]));
    assert_eq!(image.layers[1].fragment, ["app/main"]);
    for layer in &image.layers {
        let blob = std::fs::read(layer.file.as_ref().unwrap()).unwrap();
        assert_eq!((Digest::of(&blob), blob.len() as u64), (layer.blob.clone(), layer.size));
        assert_eq!(Digest::of(&unpacked(layer)), layer.diff_id);
    }
    assert_eq!(Digest::of(&image.config), image.config_digest);
    assert_eq!(Digest::of(&image.manifest), image.manifest_digest);
    assert_eq!(image.uncompressed_bytes, layers.iter().map(|layer| layer.len() as u64).sum::<u64>());
    assert_eq!((image.architecture.as_str(), image.os.as_str()), ("amd64", "linux"));
    serde_json::from_slice::<oci_spec::image::ImageConfiguration>(&image.config).unwrap();
    serde_json::from_slice::<oci_spec::image::ImageManifest>(&image.manifest).unwrap();
}

#[test]
fn the_configuration_and_the_manifest_say_only_what_is_ours() {
    let work_dir = tempfile::tempdir().unwrap();
    let layers = [layer(&[("etc/os-release", "base", 5)]), layer(&[("app/main", "ours", COMMIT + 50)])];
    let base = [Digest::of(&layers[0])];
    let export = Export::old(&image_config(&layers), &layers).bytes();
    // Compressed bytes may change with the library; they are not what this page is about.
    let known = |_: &Digest| Some(KnownLayer { digest: Digest::of(b"blob"), size: 4 });
    let image = read_export(&export[..], &input(work_dir.path(), &base), &list, &known, &|_| {}).unwrap();
    insta::assert_snapshot!("config", serde_json::to_string_pretty(&json_of(&image.config)).unwrap());
    insta::assert_snapshot!("manifest", serde_json::to_string_pretty(&json_of(&image.manifest)).unwrap());
}

#[test]
fn both_shapes_in_any_order_give_one_digest() {
    let layers: Vec<_> = ["one", "two", "three"].map(|name| layer(&[(name, name, COMMIT + 1)])).into();
    let config = image_config(&layers);
    let expected = read(&Export::old(&config, &layers).bytes()).unwrap();
    for mut export in [Export::old(&config, &layers), Export::new(&config, &layers)] {
        assert_eq!(read(&export.bytes()).unwrap().manifest_digest, expected.manifest_digest);
        export.members.reverse();
        assert_eq!(read(&export.bytes()).unwrap().manifest_digest, expected.manifest_digest);
    }
    let order: Vec<_> = expected.layers.iter().map(|layer| layer.fragment[0].as_str()).collect();
    assert_eq!(order, ["one", "two", "three"]);
}

#[test]
fn a_layer_that_stands_twice_is_read_through_its_link() {
    let again = layer(&[("same", "same", 1)]);
    let layers = [again.clone(), layer(&[("other", "other", 1)]), again];
    let config = image_config(&layers);
    let expected = read(&Export::old(&config, &layers).bytes()).unwrap();
    for export in [
        Export::old(&config, &layers).link(2, tar::EntryType::Symlink, "../layer0/layer.tar"),
        Export::old(&config, &layers).link(2, tar::EntryType::Link, "layer0/layer.tar"),
    ] {
        let image = read(&export.bytes()).unwrap();
        assert_eq!(image.manifest_digest, expected.manifest_digest);
        assert_eq!(image.layers[2].diff_id, image.layers[0].diff_id);
    }
}

#[test]
fn two_builds_at_different_times_give_one_digest() {
    let build = |extra: i64, created: &str| {
        let layers = [layer(&[("a", "x", COMMIT + extra), ("b", "y", COMMIT + 2 * extra)])];
        let mut config = image_config(&layers);
        config["created"] = json!(created);
        config["container"] = json!(created);
        config["history"] = json!([{"created": created, "created_by": "COPY a b /"}]);
        config["config"]["Hostname"] = json!(created);
        config["config"]["Labels"] = json!({"org.opencontainers.image.created": created});
        read(&Export::old(&config, &layers).bytes()).unwrap().manifest_digest
    };
    assert_eq!(build(1, "2026-11-23T00:00:00Z"), build(7_000, "2026-11-24T00:00:00Z"));
}

#[test]
fn base_layers_count_only_as_a_whole_prefix() {
    let work_dir = tempfile::tempdir().unwrap();
    let layers = [layer(&[("a", "x", COMMIT + 1)]), layer(&[("b", "x", COMMIT + 1)])];
    let (first, second) = (Digest::of(&layers[0]), Digest::of(&layers[1]));
    let export = Export::old(&image_config(&layers), &layers).bytes();
    let own = |base: &[Digest]| {
        let image = read_with(&export, &input(work_dir.path(), base)).unwrap();
        image.layers.iter().filter(|layer| layer.origin == LayerOrigin::Own).count()
    };
    assert_eq!(own(&[]), 2);
    assert_eq!(own(std::slice::from_ref(&first)), 1);
    assert_eq!(own(&[first.clone(), second.clone()]), 0);
    assert_eq!(own(std::slice::from_ref(&second)), 2);
    assert_eq!(own(&[first, second, Digest::of(b"more")]), 2);
}

#[test]
fn a_known_layer_is_not_compressed_again() {
    let work_dir = tempfile::tempdir().unwrap();
    let layers = [layer(&[("a", "x", 1)]), layer(&[("b", "x", 1)])];
    let export = Export::new(&image_config(&layers), &layers).bytes();
    let blob = Digest::of(b"blob");
    let known = |diff_id: &Digest| {
        let is_first = *diff_id == Digest::of(&layers[0]);
        is_first.then(|| KnownLayer { digest: blob.clone(), size: 4 })
    };
    let image = read_export(&export[..], &input(work_dir.path(), &[]), &list, &known, &|_| {}).unwrap();
    assert_eq!((image.layers[0].blob.clone(), image.layers[0].size), (blob, 4));
    assert!(image.layers[0].file.is_none() && image.layers[1].file.is_some());
    assert_eq!(std::fs::read_dir(work_dir.path()).unwrap().count(), 1);
}

#[test]
fn progress_ends_with_every_layer() {
    let work_dir = tempfile::tempdir().unwrap();
    let layers = [layer(&[("a", "x", 1)]), layer(&[("b", "x", 1)])];
    let export = Export::old(&image_config(&layers), &layers).bytes();
    let seen = Mutex::new(Vec::new());
    let progress = |step| seen.lock().unwrap().push(step);
    read_export(&export[..], &input(work_dir.path(), &[]), &list, &|_| None, &progress).unwrap();
    assert_eq!(seen.into_inner().unwrap().last(), Some(&DescribeProgress::Layers { done: 2, total: 2 }));
}

#[test]
fn an_image_without_layers_is_read() {
    assert!(read(&Export::old(&image_config(&[]), &[]).bytes()).unwrap().layers.is_empty());
}

fn text(result: Result<ReadImage<Vec<String>>, DescribeError>) -> String {
    Failure::from(result.map(|_| ()).unwrap_err()).to_string()
}

#[test]
fn what_is_refused_is_said() {
    let layers = [layer(&[("a", "x", 1)]), layer(&[("b", "x", 1)])];
    let config = image_config(&layers);
    let old = || Export::old(&config, &layers);
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut config = config.clone();
        edit(&mut config);
        Export::old(&config, &layers).bytes()
    };
    let other = [layer(&[("planted", "x", 1)]), layers[1].clone()];
    let many: Vec<_> = (0..128).map(|_| layer(&[])).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &layers[0]).unwrap();
    let compressed = [gzip.finish().unwrap(), layers[1].clone()];
    let mut climbing = layer(&[("etc/zz/file", "x", 1)]);
    archives::rename(&mut climbing, "etc/../file");
    let climbing = [climbing];
    let whole = old().bytes();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", Vec::new()),
        ("an export without a manifest", old().without("manifest.json").bytes()),
        ("an export that is cut between two members", whole[..1024].to_vec()),
        ("an export that is cut", whole[..whole.len() / 2].to_vec()),
        ("something else than an archive", b"{\"message\":\"no such image\"}".repeat(30)),
        ("a member twice", old().with("manifest.json", b"[]").bytes()),
        ("a member that climbs out", old().named("zz/x", "../x").bytes()),
        ("an absolute member", old().named("zz/x", "/zz/x").bytes()),
        ("a link out of the archive", old().link(1, tar::EntryType::Symlink, "../../etc/passwd").bytes()),
        ("a link to an absolute path", old().link(1, tar::EntryType::Symlink, "/etc/passwd").bytes()),
        ("a link to nothing", old().link(1, tar::EntryType::Symlink, "../gone/layer.tar").bytes()),
        ("a link to itself", old().link(1, tar::EntryType::Symlink, "layer.tar").bytes()),
        ("a device", old().link(1, tar::EntryType::Char, "").bytes()),
        ("no layer file", old().without("layer1/layer.tar").bytes()),
        ("no configuration", old().without(".json").bytes()),
        ("two images", old().manifest(|manifest| *manifest = json!([manifest[0], manifest[0]])).bytes()),
        ("no image", old().manifest(|manifest| *manifest = json!([])).bytes()),
        ("a manifest of another shape", old().manifest(|manifest| *manifest = json!({"Config": 1})).bytes()),
        (
            "fewer layers than diff ids",
            old().manifest(|m| m[0]["Layers"] = json!(["layer0/layer.tar"])).bytes(),
        ),
        ("another layer than the configuration's", Export::old(&config, &other).bytes()),
        ("compressed layers", Export::old(&config, &compressed).bytes()),
        ("another configuration than its name", old().content(".json", b"{}").bytes()),
        ("a configuration that is too large", old().content(".json", &vec![b' '; (4 << 20) + 1]).bytes()),
        ("too many layers", Export::old(&image_config(&many), &many).bytes()),
        ("instructions for other builds", edited(&|c| c["config"]["OnBuild"] = json!(["ADD http://x /"]))),
        ("a command that is no list", edited(&|c| c["config"]["Cmd"] = json!("sh"))),
        ("another root filesystem", edited(&|c| c["rootfs"]["type"] = json!("windows"))),
        ("no architecture", edited(&|c| c["architecture"] = json!(""))),
        ("a diff id that is none", edited(&|c| c["rootfs"]["diff_ids"][0] = json!("sha512:00"))),
        ("a layer with a path that climbs out", Export::old(&image_config(&climbing), &climbing).bytes()),
    ];
    let mut texts = String::new();
    for (name, export) in cases {
        let Err(error) = read(&export) else { panic!("{name} was not refused") };
        texts.push_str(&format!("# {name}\n{}\n\n", Failure::from(error)));
    }
    insta::assert_snapshot!(texts);
}

#[test]
fn what_depends_on_the_caller_is_said() {
    let work_dir = tempfile::tempdir().unwrap();
    let layers = [layer(&[("a", "x", 1)])];
    let export = Export::old(&image_config(&layers), &layers).bytes();
    let planted = Digest::of(b"other");
    let known = |_: &Digest| None;
    let failing = |_: &mut dyn Read| Err("`var/lib/dpkg/status` has more than 64 MiB".to_owned());
    let absent = work_dir.path().join("absent");
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("connection reset by peer"))
        }
    }
    let texts = [
        text(read_with(&export, &DescribeInput { image_id: Some(&planted), ..input(work_dir.path(), &[]) })),
        text(read_with(&export, &DescribeInput { commit_time: i64::MAX, ..input(work_dir.path(), &[]) })),
        text(read_export(&export[..], &input(work_dir.path(), &[]), &failing, &known, &|_| {})),
        text(read_with(&export, &input(&absent, &[]))),
        text(read_export(Broken, &input(work_dir.path(), &[]), &list, &known, &|_| {})),
    ];
    let texts = texts.join("\n\n").replace(&*work_dir.path().to_string_lossy(), "WORK");
    let texts =
        regex::Regex::new(r#"at path "[^"]*""#).unwrap().replace_all(&texts, "at path …").into_owned();
    insta::assert_snapshot!(texts);
    assert_eq!(std::fs::read_dir(work_dir.path()).unwrap().count(), 0);
}

#[test]
fn an_export_that_is_too_large_is_said() {
    let limit = 64 << 30;
    insta::assert_snapshot!(Failure::from(DescribeError::TooLarge { limit }));
}

#[test]
fn the_first_difference_names_what_a_person_can_change() {
    let image = |content: &str, edit: &dyn Fn(&mut Value)| {
        let layers = [layer(&[("base", "x", 1)]), layer(&[("built", content, 1)])];
        let mut config = image_config(&layers);
        edit(&mut config);
        read(&Export::old(&config, &layers).bytes()).unwrap()
    };
    let ours = image("now", &|_| {});
    let against = |theirs: &ReadImage<Vec<String>>| {
        first_difference(&ours.manifest, &ours.config, &theirs.manifest, &theirs.config)
    };
    let texts = [
        against(&image("earlier", &|_| {})),
        against(&image("now", &|config| config["config"]["Env"][0] = json!("PATH=/bin"))),
        against(&image("now", &|config| config["config"]["User"] = json!("root"))),
        against(&image("now", &|config| config["history"][2]["created_by"] = json!("RUN other"))),
        against(&image("now", &|_| {})),
        first_difference(&ours.manifest, &ours.config, b"{}", &ours.config),
        first_difference(&ours.manifest, &ours.config, b"{}", b"{}"),
        first_difference(&ours.manifest, &ours.config, b"\xff", b"\xff"),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_chunks_is_read_by_blocking_code() {
    let chunks = ["an ", "", "export"].map(|text| Ok::<_, std::io::Error>(Bytes::from(text)));
    let mut reader =
        BlockingStream::new(tokio::runtime::Handle::current(), futures_util::stream::iter(chunks));
    let text = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut reader)).await.unwrap();
    assert_eq!(text.unwrap(), "an export");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn arbitrary_bytes_are_never_an_image(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn arbitrary_documents_never_panic(config in "\\PC{0,60}", manifest in "\\PC{0,60}") {
        let export = Export::old(&image_config(&[]), &[]).content(".json", config.as_bytes());
        let _ = read(&export.bytes());
        let _ = read(&export.content("manifest.json", manifest.as_bytes()).bytes());
        let _ = first_difference(b"{}", b"{}", manifest.as_bytes(), config.as_bytes());
    }
}
