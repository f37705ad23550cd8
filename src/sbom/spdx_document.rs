//! SPDX 2.3 JSON, in the shape that BuildKit's consumers, cosign, grype and trivy read.
//!
//! Own files are packages with the purpose `FILE`, because SPDX demands SHA-1 of its file elements and
//! nothing here is identified by SHA-1.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::inventory::{Distro, Inventory, OwnFile, Package};
use super::licence::{Licence, reference};
use super::subject::{Subject, TOOL, TOOL_VERSION};
use crate::domain::digest::Digest;

const IMAGE: &str = "SPDXRef-ContainerImage";
const APPLICATION: &str = "SPDXRef-Application";

/// Returns the SPDX 2.3 JSON document of an image; the same input gives the same bytes.
pub fn spdx(inventory: &Inventory, subject: &Subject<'_>) -> Vec<u8> {
    let mut packages = vec![image(subject)];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    if let Some(distro) = &inventory.distro {
        let id = spdx_id("OperatingSystem", distro.id());
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
        packages.push(operating_system(distro, &id));
    }
    for item in &inventory.packages {
        let id = package_id(&item.id);
        relationships.push(relationship(IMAGE, "CONTAINS", &id));
        relationships
            .extend(item.depends_on.iter().map(|needs| relationship(&id, "DEPENDS_ON", &package_id(needs))));
        packages.push(package(item, &id, inventory, subject));
    }
    let own = &inventory.own_files;
    if own.total > 0 || own.uncounted > 0 {
        relationships.push(relationship(IMAGE, "CONTAINS", APPLICATION));
        packages.push(application(inventory, subject));
        for item in own.listed() {
            let id = spdx_id("File", &item.path);
            relationships.push(relationship(APPLICATION, "CONTAINS", &id));
            packages.push(file(item, &id, subject));
        }
    }

    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{}@{}", subject.repository, subject.manifest),
        "documentNamespace": format!("https://spdx.org/spdxdocs/{TOOL}-{}", subject.uuid("spdx-2.3")),
        "creationInfo": {
            "created": subject.timestamp(),
            "creators": [format!("Tool: {TOOL}-{TOOL_VERSION}")],
            "licenseListVersion": licence_list_version(),
            "comment": comment(inventory),
        },
        "packages": packages,
        "relationships": relationships,
    });
    let extracted = extracted_licences(inventory);
    if !extracted.is_empty() {
        document["hasExtractedLicensingInfos"] = Value::Array(extracted);
    }
    serde_json::to_vec(&document).expect("a tree of JSON values is JSON")
}

/// Returns the version of SPDX' licence list as the specification wants it, for example `3.29`.
fn licence_list_version() -> String {
    ::spdx::license_version().trim_start_matches('v').splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

fn comment(inventory: &Inventory) -> String {
    let mut comment =
        "Made from the built image (post-build). Known: packages of the distribution's package \
         database, files above the base image that no package owns. Other ecosystems are not searched for."
            .to_owned();
    for gap in &inventory.gaps {
        comment.push_str(" Not known: ");
        comment.push_str(gap);
        comment.push('.');
    }
    comment
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// Returns an identifier that is unique for `text`; SPDX allows letters, digits, `.` and `-`.
fn spdx_id(kind: &str, text: &str) -> String {
    let digest = Digest::of(text.as_bytes());
    format!("SPDXRef-{kind}-{}", &digest.hex()[..16])
}

fn package_id(id: &str) -> String {
    spdx_id("Package", id)
}

fn annotation(subject: &Subject<'_>, comment: String) -> Value {
    json!({
        "annotator": format!("Tool: {TOOL}-{TOOL_VERSION}"),
        "annotationDate": subject.timestamp(),
        "annotationType": "OTHER",
        "comment": comment,
    })
}

fn purl_reference(purl: &str) -> Value {
    json!([{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl }])
}

/// What each package element has; nobody has looked at files inside, so they are not analysed.
fn element(id: &str, name: &str, version: &str, purpose: &str) -> Map<String, Value> {
    let fields = [
        ("name", name),
        ("SPDXID", id),
        ("versionInfo", version),
        ("primaryPackagePurpose", purpose),
        ("downloadLocation", "NOASSERTION"),
        ("licenseConcluded", "NOASSERTION"),
        ("licenseDeclared", "NOASSERTION"),
        ("copyrightText", "NOASSERTION"),
    ];
    let mut element: Map<String, Value> =
        fields.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    element.insert("filesAnalyzed".to_owned(), json!(false));
    element
}

fn image(subject: &Subject<'_>) -> Value {
    let mut image = element(IMAGE, subject.repository, subject.manifest.as_str(), "CONTAINER");
    image.insert("checksums".to_owned(), checksum(subject.manifest));
    if let Some(purl) = subject.purl() {
        image.insert("externalRefs".to_owned(), purl_reference(&purl));
    }
    let mut origin = format!("commit {}", subject.revision);
    if let Some(address) = subject.source_address() {
        origin.push_str(" of ");
        origin.push_str(address);
    }
    image.insert("sourceInfo".to_owned(), json!(origin));
    let mut annotations = vec![
        annotation(subject, format!("ImageID: {}", subject.config)),
        annotation(subject, format!("Version: {}", subject.version)),
    ];
    annotations.extend(subject.layers.iter().map(|layer| annotation(subject, format!("DiffID: {layer}"))));
    image.insert("annotations".to_owned(), Value::Array(annotations));
    Value::Object(image)
}

fn operating_system(distro: &Distro, id: &str) -> Value {
    let version = distro.version().unwrap_or("unknown");
    let mut system = element(id, distro.id(), version, "OPERATING_SYSTEM");
    system.insert("description".to_owned(), json!(distro.name()));
    Value::Object(system)
}

fn package(package: &Package, id: &str, inventory: &Inventory, subject: &Subject<'_>) -> Value {
    let mut element = element(id, &package.name, &package.version, "LIBRARY");
    if let Some(supplier) = &package.supplier {
        let who = if is_group(&supplier.name) { "Organization" } else { "Person" };
        let mail = supplier.email.as_ref().map(|mail| format!(" ({mail})")).unwrap_or_default();
        element.insert("supplier".to_owned(), json!(format!("{who}: {}{mail}", supplier.name)));
    }
    if !package.licences.is_empty() {
        element.insert("licenseDeclared".to_owned(), json!(Licence::all_of(&package.licences)));
    }
    if let Some(source) = &package.source {
        let origin = format!("built package from: {} {}", source.name, source.version);
        element.insert("sourceInfo".to_owned(), json!(origin));
    }
    if let Some(purl) = &package.purl {
        element.insert("externalRefs".to_owned(), purl_reference(purl));
    }
    let mut annotations = vec![annotation(subject, format!("LayerDiffID: {}", package.layer))];
    if let Some(distro) = &inventory.distro {
        annotations.push(annotation(subject, format!("PkgType: {}", distro.id())));
    }
    element.insert("annotations".to_owned(), Value::Array(annotations));
    Value::Object(element)
}

/// Reports whether a maintainer's name is that of a group, as Debian's teams call themselves.
fn is_group(name: &str) -> bool {
    ["team", "maintainer", "group", "project", "developers", "packagers", "debian"]
        .iter()
        .any(|word| name.to_lowercase().contains(word))
}

fn application(inventory: &Inventory, subject: &Subject<'_>) -> Value {
    let mut application = element(APPLICATION, subject.name(), subject.version, "APPLICATION");
    application.insert("description".to_owned(), json!(inventory.own_files.summary()));
    Value::Object(application)
}

fn file(file: &OwnFile, id: &str, subject: &Subject<'_>) -> Value {
    let mut element = element(id, &file.path, file.digest.as_str(), "FILE");
    element.insert("packageFileName".to_owned(), json!(file.path));
    element.insert("checksums".to_owned(), checksum(&file.digest));
    let layer = annotation(subject, format!("LayerDiffID: {}", file.layer));
    element.insert("annotations".to_owned(), json!([layer]));
    Value::Object(element)
}

fn checksum(digest: &Digest) -> Value {
    json!([{ "algorithm": "SHA256", "checksumValue": digest.hex() }])
}

/// Every `LicenseRef-` of a document must be explained in it.
fn extracted_licences(inventory: &Inventory) -> Vec<Value> {
    let names: BTreeSet<&String> =
        inventory.packages.iter().flat_map(|package| &package.licences).flat_map(Licence::names).collect();
    (names.into_iter())
        .map(|name| {
            json!({
                "licenseId": reference(name),
                "name": name,
                "extractedText": format!(
                    "The licence that a Debian copyright file calls `{name}`; its text stands in the file \
                     `/usr/share/doc/<package>/copyright` of the package."
                ),
            })
        })
        .collect()
}
