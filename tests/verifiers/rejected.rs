//! What is not what was published is rejected by the verifiers that look at the part that differs.

use serde_json::Value;

use crate::accepted::TYPES;
use crate::mirror::{Entry, Mirror, SIGNATURE};
use crate::published::PUBLISHED;
use crate::support::staging::REPOSITORY;
use crate::tools::{BOTH, accepts, mirrored_from, rejects};

/// Copies an image with skopeo into a directory of the mirror's.
fn skopeo(mirror: &Mirror, key: &str, reference: &str) -> std::process::Output {
    let to = format!("dir:{}", mirror.verifier.path("copied").display());
    mirror.verifier.skopeo_copy(
        &PUBLISHED.public_key(key),
        &mirrored_from(&PUBLISHED.repository()),
        reference,
        &to,
    )
}

#[test]
fn another_key_is_rejected() {
    let mirror = Mirror::new();
    let name = mirror.name(&PUBLISHED.second);
    let stranger = PUBLISHED.public_key("stranger");
    for major in BOTH {
        rejects(major, &mirror.verifier.verify(major, &stranger, &name), "");
        for kind in TYPES {
            rejects(major, &mirror.verifier.verify_attestation(major, &stranger, kind, &name), "");
        }
        // The attestation key made no image signature in the form that both majors read.
        let attestation = PUBLISHED.public_key("attestation");
        rejects(
            major,
            &mirror.verifier.verify_attestation(major, &PUBLISHED.public_key("image"), TYPES[0], &name),
            "",
        );
        if major == "cosign2" {
            rejects(major, &mirror.verifier.verify(major, &attestation, &name), "");
        }
    }
    for key in ["stranger", "attestation"] {
        rejects("skopeo", &skopeo(&mirror, key, &name), "cryptographic signature verification failed");
    }
    accepts("skopeo", &skopeo(&mirror, "image", &name));
}

#[test]
fn an_unsigned_image_is_rejected() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    mirror.remove_evidence(image);
    let name = mirror.name(image);
    for major in BOTH {
        rejects(
            major,
            &mirror.verifier.verify(major, &PUBLISHED.public_key("image"), &name),
            "no signatures found",
        );
        let key = PUBLISHED.public_key("attestation");
        rejects(major, &mirror.verifier.verify_attestation(major, &key, TYPES[0], &name), "");
    }
    rejects("skopeo", &skopeo(&mirror, "image", &name), "A signature was required, but no signature exists");
}

#[test]
fn the_evidence_of_another_image_is_rejected() {
    let mirror = Mirror::new();
    mirror.copy_evidence(&PUBLISHED.first, &PUBLISHED.second);
    let name = mirror.name(&PUBLISHED.second);
    for major in BOTH {
        rejects(major, &mirror.verifier.verify(major, &PUBLISHED.public_key("image"), &name), "");
        let key = PUBLISHED.public_key("attestation");
        for kind in TYPES {
            rejects(major, &mirror.verifier.verify_attestation(major, &key, kind, &name), "");
        }
    }
    rejects("skopeo", &skopeo(&mirror, "image", &name), "does not match");
}

#[test]
fn a_changed_byte_of_the_signature_is_rejected() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    // The digest that the payload names is changed by one digit; the signature stays.
    mirror.change_evidence(image, SIGNATURE, |form, mut entry| {
        match form {
            "sig" => entry.content = flip(&entry.content, image.hex()),
            _ => entry.content = flip_payload(&entry.content, "/dsseEnvelope/payload", image.hex()),
        }
        Some(entry)
    });
    let (name, key) = (mirror.name(image), PUBLISHED.public_key("image"));
    for major in BOTH {
        rejects(major, &mirror.verifier.verify(major, &key, &name), "");
        // What was not changed is still accepted.
        let key = PUBLISHED.public_key("attestation");
        accepts(major, &mirror.verifier.verify_attestation(major, &key, TYPES[2], &name));
    }
    rejects("skopeo", &skopeo(&mirror, "image", &name), "cryptographic signature verification failed");
}

#[test]
fn each_verifier_needs_the_form_that_it_reads_and_airlock_takes_either() {
    let image = &PUBLISHED.second;
    let key = PUBLISHED.public_key("image");
    let trust = PUBLISHED.host.path("trust.toml");
    for changed in ["sig", "bundle"] {
        let mirror = Mirror::new();
        mirror.change_evidence(image, SIGNATURE, |form, mut entry| {
            if form == changed {
                entry.annotations["dev.cosignproject.cosign/signature"] = "AAAA".into();
                entry.content = match form {
                    "sig" => flip(&entry.content, image.hex()),
                    _ => flip_payload(&entry.content, "/dsseEnvelope/payload", image.hex()),
                };
            }
            Some(entry)
        });
        let name = mirror.name(image);
        let (two, three) =
            (mirror.verifier.verify("cosign2", &key, &name), mirror.verifier.verify("cosign3", &key, &name));
        let copied = skopeo(&mirror, "image", &name);
        if changed == "sig" {
            rejects("cosign2", &two, "");
            rejects("skopeo", &copied, "");
            accepts("cosign3", &three);
        } else {
            accepts("cosign2", &two);
            accepts("skopeo", &copied);
            rejects("cosign3", &three, "");
        }
        accepts("airlock", &mirror.verify(&trust, &name, &[]));
    }
}

#[test]
fn a_changed_byte_of_an_attestation_is_rejected() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    let provenance = "https://slsa.dev/provenance/v1";
    mirror.change_evidence(image, provenance, |form, mut entry| {
        let place = if form == "att" { "/payload" } else { "/dsseEnvelope/payload" };
        entry.content = flip_payload(&entry.content, place, &image.commit);
        Some(entry)
    });
    let (name, key) = (mirror.name(image), PUBLISHED.public_key("attestation"));
    for major in BOTH {
        rejects(major, &mirror.verifier.verify_attestation(major, &key, "slsaprovenance1", &name), "");
        accepts(major, &mirror.verifier.verify_attestation(major, &key, "cyclonedx", &name));
        accepts(major, &mirror.verifier.verify(major, &PUBLISHED.public_key("image"), &name));
    }
}

#[test]
fn a_changed_byte_in_the_registrys_storage_is_rejected() {
    let image = &PUBLISHED.second;
    let (image_key, attestation_key) = (PUBLISHED.public_key("image"), PUBLISHED.public_key("attestation"));
    let trust = PUBLISHED.host.path("trust.toml");

    let mirror = Mirror::new();
    let manifest: Value = mirror.manifest(&image.version);
    let name = mirror.name(image);
    mirror.damage_blob(
        manifest["layers"].as_array().expect("layers").last().expect("a layer")["digest"]
            .as_str()
            .expect("a digest"),
    );
    rejects("skopeo", &skopeo(&mirror, "image", &name), "");
    // A signature is about the manifest: whoever pulls compares the layers with it.
    accepts("airlock", &mirror.verify(&trust, &name, &[]));
    mirror.damage_blob(manifest["config"]["digest"].as_str().expect("a digest"));
    rejects("airlock", &mirror.verify(&trust, &name, &[]), "returned other bytes");

    let mirror = Mirror::new();
    let name = mirror.name(image);
    mirror.damage_blob(&image.digest);
    // cosign judges the digest that it was given and does not read the image itself: not asked here.
    rejects("skopeo", &skopeo(&mirror, "image", &name), "");
    rejects("airlock", &mirror.verify(&trust, &name, &[]), "returned other bytes");
    // By tag the registry hands out the changed manifest, and nothing was signed for that digest.
    let by_tag = format!("{}/{REPOSITORY}:{}", mirror.registry.host, image.version);
    for major in BOTH {
        rejects(major, &mirror.verifier.verify(major, &image_key, &by_tag), "");
        rejects(major, &mirror.verifier.verify_attestation(major, &attestation_key, TYPES[0], &by_tag), "");
    }
    rejects("airlock", &mirror.verify(&trust, &by_tag, &[]), "");

    let mirror = Mirror::new();
    let name = mirror.name(image);
    for kind in ["sig", "att"] {
        for layer in
            mirror.manifest(&format!("sha256-{}.{kind}", image.hex()))["layers"].as_array().expect("layers")
        {
            mirror.damage_blob(layer["digest"].as_str().expect("a digest"));
        }
    }
    rejects("cosign2", &mirror.verifier.verify("cosign2", &image_key, &name), "");
    rejects("cosign2", &mirror.verifier.verify_attestation("cosign2", &attestation_key, TYPES[0], &name), "");
    rejects("skopeo", &skopeo(&mirror, "image", &name), "");
}

#[test]
fn an_image_with_attestations_alone_is_not_signed() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    mirror.remove_tag(&format!("sha256-{}.sig", image.hex()));
    let mut bundles = mirror.bundles(image);
    bundles.retain(|bundle| bundle.predicate() != SIGNATURE);
    assert_eq!(bundles.len(), 4);
    mirror.put_bundles(image, &bundles);
    let name = mirror.name(image);
    for major in BOTH {
        rejects(major, &mirror.verifier.verify(major, &PUBLISHED.public_key("image"), &name), "");
    }
    rejects("skopeo", &skopeo(&mirror, "image", &name), "A signature was required, but no signature exists");
    // The pitfall that separate keys are for: to cosign 3 any bundle by the key given is a signature.
    let attestation = PUBLISHED.public_key("attestation");
    accepts("cosign3", &mirror.verifier.verify("cosign3", &attestation, &name));
    rejects("cosign2", &mirror.verifier.verify("cosign2", &attestation, &name), "no signatures found");
    let judged = mirror.verify(&PUBLISHED.host.path("trust.toml"), &name, &[]);
    assert_eq!(judged.status.code(), Some(10));
}

/// Changes the last digit of `what` in a text.
fn flip(content: &[u8], what: &str) -> Vec<u8> {
    let text = std::str::from_utf8(content).expect("UTF-8");
    assert!(text.contains(what), "{what} is not in {text}");
    let (head, last) = what.split_at(what.len() - 1);
    text.replace(what, &format!("{head}{}", if last == "0" { "1" } else { "0" })).into_bytes()
}

/// Does the same inside the payload of an envelope.
fn flip_payload(content: &[u8], place: &str, what: &str) -> Vec<u8> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let mut document: Value = serde_json::from_slice(content).expect("JSON");
    let payload = document.pointer_mut(place).expect("a payload");
    let plain = STANDARD.decode(payload.as_str().expect("text")).expect("base64");
    *payload = STANDARD.encode(flip(&plain, what)).into();
    serde_json::to_vec(&document).expect("JSON")
}

#[test]
fn a_strangers_entries_beside_the_good_ones_are_ignored() {
    let mirror = Mirror::new();
    let image = &PUBLISHED.second;
    let foreign = |content: &[u8], annotations: Value| Entry { annotations, content: content.to_vec() };
    let mut signatures = mirror.legacy(image, "sig");
    let annotation = serde_json::json!({"dev.cosignproject.cosign/signature": "MEUCIQ=="});
    signatures.insert(0, foreign(b"not a payload", annotation));
    mirror.put_legacy(image, "sig", &signatures);
    let mut bundles = mirror.bundles(image);
    let mut strange = mirror.bundles(&PUBLISHED.first);
    bundles.append(&mut strange);
    mirror.put_bundles(image, &bundles);
    let name = mirror.name(image);
    for major in BOTH {
        accepts(major, &mirror.verifier.verify(major, &PUBLISHED.public_key("image"), &name));
        let key = PUBLISHED.public_key("attestation");
        accepts(major, &mirror.verifier.verify_attestation(major, &key, TYPES[2], &name));
    }
    accepts("airlock", &mirror.verify(&PUBLISHED.host.path("trust.toml"), &name, &[]));
}
