//! Reads images that a real engine built.

use std::io::Read;
use std::path::Path;

use airlock::delivery::describe::{
    BlockingStream, DescribeInput, ImageLabels, LayerOrigin, ReadImage, first_difference, read_export,
};
use airlock::domain::digest::Digest;
use bollard::Docker;
use bollard::query_parameters::{BuildImageOptionsBuilder, RemoveImageOptionsBuilder};
use futures_util::StreamExt;
use sha2::Digest as _;

const COMMIT: i64 = 1_700_000_000;

/// A build context whose files have the modification time `mtime`.
fn context(dockerfile: &str, mtime: i64) -> Vec<u8> {
    let header_at = |mtime: i64, kind, mode, size: usize| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(mtime.cast_unsigned());
        header.set_size(size as u64);
        header
    };
    // The archive inside is content: the engine writes its digest into the history.
    let header = |kind, mode, size| header_at(COMMIT + 5, kind, mode, size);
    let mut inner = tar::Builder::new(Vec::new());
    let long = format!("long/{}", "name".repeat(45));
    let file = |mode| header(tar::EntryType::Regular, mode, 4);
    inner.append_data(&mut file(0o755), "bin/ping", &b"ping"[..]).unwrap();
    inner.append_data(&mut file(0o4755), "bin/su", &b"suid"[..]).unwrap();
    inner.append_data(&mut file(0o640), &long, &b"long"[..]).unwrap();
    inner.append_link(&mut header(tar::EntryType::Link, 0o755, 0), "bin/zz-hard", "bin/ping").unwrap();
    inner.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), "bin/soft", "../bin/su").unwrap();
    inner.append_data(&mut header(tar::EntryType::Fifo, 0o600, 0), "pipe", std::io::empty()).unwrap();
    let inner = inner.into_inner().unwrap();

    let mut outer = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = header_at(mtime, tar::EntryType::Regular, 0o644, content.len());
        outer.append_data(&mut header, name, content).unwrap();
    };
    add("Dockerfile", dockerfile.as_bytes());
    add("rootfs.tar", &inner);
    add("app", b"the application");
    outer.into_inner().unwrap()
}

async fn build(docker: &Docker, tag: &str, dockerfile: &str, mtime: i64) -> Digest {
    let options = BuildImageOptionsBuilder::default().t(tag).nocache(true).rm(true).forcerm(true).build();
    let body = bollard::body_full(context(dockerfile, mtime).into());
    let mut answers = docker.build_image(options, None, Some(body));
    while let Some(answer) = answers.next().await {
        let answer = answer.expect("the engine builds");
        assert!(answer.error_detail.is_none(), "{answer:?}");
    }
    let image = docker.inspect_image(tag).await.expect("the engine knows what it built");
    image.id.unwrap().parse().unwrap()
}

async fn layers(docker: &Docker, tag: &str) -> Vec<Digest> {
    let image = docker.inspect_image(tag).await.unwrap();
    image.root_fs.unwrap().layers.unwrap().iter().map(|layer| layer.parse().unwrap()).collect()
}

fn list(tar: &mut dyn Read) -> Result<Vec<String>, String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().map_err(|error| error.to_string())?;
    let describe = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let records = entry.pax_extensions().unwrap().into_iter().flatten();
        let records: Vec<_> = records.map(|record| record.unwrap().key().unwrap().to_owned()).collect();
        let header = entry.header();
        let link = entry.link_name().unwrap().map(|link| format!(" -> {}", link.display()));
        let records = if records.is_empty() { String::new() } else { format!(" [{}]", records.join(", ")) };
        format!(
            "{:?} {:o} {}{}{records}",
            header.entry_type(),
            header.mode().unwrap(),
            entry.path().unwrap().display(),
            link.unwrap_or_default(),
        )
    };
    Ok(entries.map(describe).collect())
}

fn labels() -> ImageLabels {
    ImageLabels {
        version: "1.0.0".to_owned(),
        revision: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        source: "https://gitlab.example.internal/acme/billing".to_owned(),
    }
}

async fn read(docker: &Docker, work_dir: &Path, id: &Digest, base: &[Digest]) -> ReadImage<Vec<String>> {
    let stream = docker.export_image(id.as_str()).map(|chunk| chunk.map_err(std::io::Error::other)).boxed();
    let export = BlockingStream::new(tokio::runtime::Handle::current(), stream);
    let (work_dir, id, base) = (work_dir.to_owned(), id.clone(), base.to_vec());
    tokio::task::spawn_blocking(move || {
        let input = DescribeInput {
            work_dir: &work_dir,
            base_layers: &base,
            commit_time: COMMIT,
            labels: labels(),
            image_id: Some(&id),
        };
        read_export(export, &input, &list, &|_| None, &|_| {})
    })
    .await
    .unwrap()
    .expect("the image is read")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_built_twice_by_the_engine_gets_one_digest() {
    let docker = Docker::connect_with_socket_defaults().expect("the engine's socket is there");
    let name = format!("airlock-test-describe-{}", std::process::id());
    let [base, first, second] = ["base", "first", "second"].map(|tag| format!("{name}:{tag}"));
    let work_dir = tempfile::tempdir().unwrap();

    build(&docker, &base, "FROM scratch\nADD rootfs.tar /\nENV A=b\n", COMMIT + 10).await;
    let own = format!("FROM {base}\nCOPY app /srv/app\nADD rootfs.tar /again\nCMD [\"/srv/app\"]\n");
    let first_id = build(&docker, &first, &own, COMMIT + 1_000).await;
    let second_id = build(&docker, &second, &own, COMMIT + 2_000).await;
    let base_layers = layers(&docker, &base).await;

    let one = read(&docker, work_dir.path(), &first_id, &base_layers).await;
    let again = read(&docker, work_dir.path(), &first_id, &base_layers).await;
    let other = read(&docker, work_dir.path(), &second_id, &base_layers).await;
    for tag in [&first, &second, &base] {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        docker.remove_image(tag, Some(options), None).await.expect("the engine removes the image");
    }

    assert_ne!(first_id, second_id, "the engine itself gives two ids");
    assert_eq!(one.manifest_digest, again.manifest_digest);
    let difference = first_difference(&one.manifest, &one.config, &other.manifest, &other.config);
    assert_eq!(difference, "none, the two images are the same");
    let origins: Vec<_> = one.layers.iter().map(|layer| layer.origin).collect();
    assert_eq!(origins, [LayerOrigin::Base, LayerOrigin::Own, LayerOrigin::Own]);
    assert_eq!(one.layers[0].diff_id, base_layers[0]);
    let listed: Vec<_> = one.layers.iter().map(|layer| layer.fragment.join("\n")).collect();
    // Docker Engine 20.10 writes the kind of an entry into its mode too, 28 does not.
    let version = docker.version().await.unwrap().version.unwrap();
    let by = if version.starts_with("20.") { "" } else { "_by_newer_engines" };
    insta::assert_snapshot!(
        format!("an_image_built_twice_by_the_engine_gets_one_digest{by}"),
        listed.join("\n\n")
    );
    let files = std::fs::read_dir(work_dir.path()).unwrap().count();
    assert_eq!(files, 9, "nothing but the compressed layers stays in the work directory");
}

/// The header of a regular file.
fn entry(name: &str, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// Most memory that this process had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn memory_does_not_grow_with_the_image() {
    const CONTENT: u64 = 512 * 1024 * 1024;
    let work_dir = tempfile::tempdir().unwrap();
    let layer =
        || std::io::Cursor::new(entry("large", CONTENT)).chain(std::io::repeat(0).take(CONTENT + 1024));
    let mut hash = sha2::Sha256::new();
    let (mut buffer, mut content, mut size) = (vec![0; 1 << 20], layer(), 0);
    loop {
        let read = content.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
    let diff_id = Digest::from_sha256(hash.finalize().into());

    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest = format!(r#"[{{"Config":"{config_name}","Layers":["1/layer.tar"]}}]"#);
    let document = |name: &str, text: &str| {
        let mut bytes = [&entry(name, text.len() as u64), text.as_bytes()].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    let rest =
        [document(&config_name, &config), document("manifest.json", &manifest), vec![0; 1024]].concat();
    let export = std::io::Cursor::new(entry("1/layer.tar", size)).chain(layer()).chain(&rest[..]);

    let before = peak_memory();
    let input = DescribeInput {
        work_dir: work_dir.path(),
        base_layers: &[],
        commit_time: COMMIT,
        labels: labels(),
        image_id: None,
    };
    let image = read_export(export, &input, &|_| Ok(()), &|_| None, &|_| {}).unwrap();
    assert_eq!(image.uncompressed_bytes, size);
    let grown = peak_memory() - before;
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes of memory for an image of {size}");
}
