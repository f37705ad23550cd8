//! Layers to packages to documents: any bytes end, and what is written is JSON and the same each time.
#![no_main]

use airlock::domain::digest::Digest;
use airlock::sbom::{self, Layer, LayerOrigin, Subject};
use libfuzzer_sys::fuzz_target;

/// Paths that the catalogers want, and others around them.
const PATHS: [&str; 10] = [
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/base",
    "var/lib/dpkg/info/base.list",
    "usr/share/doc/base/copyright",
    "etc/os-release",
    "usr/lib/os-release",
    "var/lib/dpkg/.wh.status",
    ".wh..wh..opq",
    "var/lib/dpkg",
    "srv/app",
];

type Member<'a> = (u8, u8, &'a [u8]);

fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        let path = PATHS[usize::from(*path) % PATHS.len()];
        let link = String::from_utf8_lossy(content);
        let done = match kind % 4 {
            0 | 1 => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, *content)
            }
            2 => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, &*link)
            }
            _ => {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(0);
                let target = PATHS[content.len() % PATHS.len()];
                builder.append_link(&mut header, path, target)
            }
        };
        // A link that no archive can hold is left out.
        let _ = done;
    }
    builder.into_inner().expect("memory does not fail")
}

fuzz_target!(|input: (Vec<Vec<Member<'_>>>, &[u8])| {
    let (layers, raw) = input;
    let mut fragments = Vec::new();
    for bytes in layers.iter().take(4).map(|members| archive(members)).chain([raw.to_vec()]) {
        let Ok(fragment) = sbom::scan_layer(&bytes[..]) else { continue };
        let cached = serde_json::to_vec(&fragment).expect("a fragment is JSON");
        assert_eq!(serde_json::from_slice::<sbom::LayerFragment>(&cached).expect("a fragment"), fragment);
        fragments.push((Digest::of(&bytes), fragment));
    }
    let placed: Vec<Layer<'_>> = fragments
        .iter()
        .enumerate()
        .map(|(i, (diff_id, fragment))| Layer {
            diff_id,
            fragment,
            origin: if i == 0 { LayerOrigin::Base } else { LayerOrigin::Own },
        })
        .collect();
    let inventory = sbom::fold(&placed);
    let diff_ids: Vec<Digest> = fragments.iter().map(|(diff_id, _)| diff_id.clone()).collect();
    let digest = Digest::of(raw);
    let subject = Subject {
        repository: "acme/billing",
        manifest: &digest,
        config: &digest,
        version: "1.4.0",
        created: time::OffsetDateTime::UNIX_EPOCH,
        revision: "1a2b3c",
        source: "https://gitlab.example/acme/billing",
        architecture: "amd64",
        layers: &diff_ids,
    };
    for write in [sbom::spdx, sbom::cyclonedx] {
        let document = write(&inventory, &subject);
        let value: serde_json::Value = serde_json::from_slice(&document).expect("a document is JSON");
        assert!(value.is_object());
        assert_eq!(write(&inventory, &subject), document);
    }
});
