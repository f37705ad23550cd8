//! An engine's export: refused, or an image whose every digest is that of its bytes.
#![no_main]

use airlock::delivery::describe::{DescribeInput, ImageLabels, read_export};
use airlock::domain::digest::Digest;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

type File<'a> = (&'a str, u8, i64, &'a [u8]);

fn layer(files: &[File<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, mtime, content) in files {
        let mut header = if kind & 0x40 == 0 { tar::Header::new_gnu() } else { tar::Header::new_ustar() };
        header.set_mode(0o644);
        header.set_mtime(mtime.unsigned_abs() >> (kind >> 3 & 7) * 4);
        // A path or link that no archive can hold is left out.
        let _ = match kind & 7 {
            0..=3 => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, *content)
            }
            4 => {
                let records = std::iter::once(("SCHILY.xattr.user.a", *content));
                builder.append_pax_extensions(records)
            }
            5 => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, &*String::from_utf8_lossy(content))
            }
            6 => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                builder.append_data(&mut header, path, std::io::empty())
            }
            _ => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                builder.append_link(&mut header, path, "a")
            }
        };
    }
    builder.into_inner().expect("memory does not fail")
}

fn export(layers: &[Vec<u8>], extra: &serde_json::Value) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let mut config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/app"]},
        "history": layers.iter().map(|_| json!({"created_by": "RUN"})).collect::<Vec<_>>(),
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    if let Some(extra) = extra.as_object() {
        config.as_object_mut().expect("an object").extend(extra.clone());
    }
    let config = serde_json::to_vec(&config).expect("JSON");
    let name = format!("{}.json", Digest::of(&config).hex());
    let names: Vec<String> = (0..layers.len()).map(|i| format!("layer{i}/layer.tar")).collect();
    let manifest = json!([{"Config": name, "RepoTags": null, "Layers": names}]).to_string();
    let mut builder = tar::Builder::new(Vec::new());
    let members = names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice));
    for (name, bytes) in members.chain([(name.as_str(), &config[..]), ("manifest.json", manifest.as_bytes())])
    {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes).expect("memory does not fail");
    }
    builder.into_inner().expect("memory does not fail")
}

fn read(bytes: &[u8], base: &[Digest]) -> Option<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let input = DescribeInput {
        work_dir: directory.path(),
        base_layers: base,
        commit_time: 1_700_000_000,
        labels: ImageLabels {
            version: "1.4.0".into(),
            revision: "1a2b".into(),
            source: "https://g.example/a".into(),
        },
        image_id: None,
    };
    let scan = |tar: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        tar.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        Ok::<_, String>(Digest::of(&bytes))
    };
    let Ok(image) = read_export(bytes, &input, &scan, &|_| None, &|_| ()) else {
        let left = std::fs::read_dir(directory.path()).expect("the directory").count();
        assert_eq!(left, 0, "a refused export left files");
        return None;
    };
    assert_eq!(Digest::of(&image.manifest), image.manifest_digest);
    assert_eq!(Digest::of(&image.config), image.config_digest);
    for layer in &image.layers {
        assert_eq!(layer.fragment, layer.diff_id, "the scan saw other bytes than were hashed");
        let stored = std::fs::read(layer.file.as_ref().expect("no layer is known")).expect("the file");
        assert_eq!((Digest::of(&stored), stored.len() as u64), (layer.blob.clone(), layer.size));
    }
    Some(())
}

fuzz_target!(|input: (Vec<Vec<File<'_>>>, &str, &[u8], u8)| {
    let (layers, extra, raw, base) = input;
    read(raw, &[]);
    let mut layers: Vec<Vec<u8>> = layers.iter().take(4).map(|files| layer(files)).collect();
    layers.push(raw.to_vec());
    let base: Vec<Digest> =
        layers.iter().take(usize::from(base) % 4).map(|layer| Digest::of(layer)).collect();
    let extra = serde_json::from_str(extra).unwrap_or_default();
    read(&export(&layers, &extra), &base);
    layers.pop();
    read(&export(&layers, &extra), &base);
});
