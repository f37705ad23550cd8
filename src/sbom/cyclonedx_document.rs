//! CycloneDX 1.6, in the shape that GitLab, grype and trivy read.
//!
//! 1.6 and no newer, because GitLab accepts nothing newer. Key order is insertion order, lists are
//! sorted before they come here: the same image gives the same bytes.

use serde_json::{Map, Value, json};

use super::inventory::{Distro, Inventory, OwnFile, OwnFiles, Package};
use super::licence::Licence;
use super::subject::{Subject, TOOL, TOOL_VERSION};

/// Returns the CycloneDX 1.6 JSON document of an image; the same input gives the same bytes.
pub fn cyclonedx(inventory: &Inventory, subject: &Subject<'_>) -> Vec<u8> {
    let image = subject.purl().unwrap_or_else(|| format!("image:{}", subject.manifest));
    let application = format!("application:{}@{}", subject.name(), subject.version);
    let mut components: Vec<Value> = inventory.packages.iter().map(|p| package(p, inventory)).collect();
    let mut contains: Vec<String> = inventory.packages.iter().map(|p| p.id.clone()).collect();
    if let Some(distro) = &inventory.distro {
        components.push(operating_system(distro));
        contains.push(operating_system_ref(distro));
    }
    if inventory.own_files.total > 0 || inventory.own_files.uncounted > 0 {
        components.push(own_files(&inventory.own_files, subject, &application));
        contains.push(application.clone());
    }
    contains.sort();

    let mut dependencies = vec![json!({ "ref": image, "dependsOn": contains })];
    for package in &inventory.packages {
        let mut edge = Map::new();
        edge.insert("ref".to_owned(), json!(package.id));
        put_list(&mut edge, "dependsOn", package.depends_on.iter().map(|id| json!(id)).collect());
        dependencies.push(Value::Object(edge));
    }

    // Files of other ecosystems may lie anywhere in an image, so the whole is never called complete.
    let mut compositions = vec![json!({ "aggregate": "incomplete", "assemblies": [image] })];
    if contains.contains(&application) {
        let aggregate = if inventory.own_files.is_complete() { "complete" } else { "incomplete" };
        compositions.push(json!({ "aggregate": aggregate, "assemblies": [application] }));
    }

    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", subject.uuid("cyclonedx-1.6")),
        "version": 1,
        "metadata": {
            "timestamp": subject.timestamp(),
            "lifecycles": [{ "phase": "post-build" }],
            "tools": { "components": [{ "type": "application", "name": TOOL, "version": TOOL_VERSION }] },
            "component": image_component(subject, &image),
            "properties": properties(document_properties(inventory, subject)),
        },
        "components": components,
        "dependencies": dependencies,
        "compositions": compositions,
    });
    serde_json::to_vec(&document).expect("a tree of JSON values is JSON")
}

/// Puts a list unless it is empty: validators refuse `null`, readers stumble over `[]`.
fn put_list(object: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object.insert(key.to_owned(), Value::Array(list));
    }
}

fn properties(pairs: Vec<(&str, String)>) -> Vec<Value> {
    pairs.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn document_properties<'a>(inventory: &Inventory, subject: &Subject<'_>) -> Vec<(&'a str, String)> {
    let mut pairs = vec![
        ("gitlab:meta:schema_version", "1".to_owned()),
        ("gitlab:container_scanning:image:name", subject.repository.to_owned()),
        ("gitlab:container_scanning:image:tag", subject.version.to_owned()),
    ];
    // GitLab wants both or neither.
    if let Some(distro) = &inventory.distro
        && let Some(version) = distro.version()
    {
        pairs.push(("gitlab:container_scanning:operating_system:name", distro.id().to_owned()));
        pairs.push(("gitlab:container_scanning:operating_system:version", version.to_owned()));
    }
    pairs.extend(inventory.gaps.iter().map(|gap| ("airlock:gap", gap.clone())));
    pairs
}

fn image_component(subject: &Subject<'_>, image: &str) -> Value {
    let mut component = Map::new();
    component.insert("bom-ref".to_owned(), json!(image));
    component.insert("type".to_owned(), json!("container"));
    component.insert("name".to_owned(), json!(subject.repository));
    component.insert("version".to_owned(), json!(subject.manifest.as_str()));
    component.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": subject.manifest.hex() }]));
    if let Some(purl) = subject.purl() {
        component.insert("purl".to_owned(), json!(purl));
    }
    if let Some(address) = subject.source_address() {
        component.insert("externalReferences".to_owned(), json!([{ "type": "vcs", "url": address }]));
    }
    let mut pairs = vec![
        ("airlock:image:version", subject.version.to_owned()),
        ("airlock:image:revision", subject.revision.to_owned()),
        ("airlock:image:architecture", subject.architecture.to_owned()),
        ("airlock:image:config", subject.config.to_string()),
    ];
    pairs.extend(subject.layers.iter().map(|layer| ("aquasecurity:trivy:DiffID", layer.to_string())));
    put_list(&mut component, "properties", properties(pairs));
    Value::Object(component)
}

fn operating_system_ref(distro: &Distro) -> String {
    format!("os:{}@{}", distro.id(), distro.version().unwrap_or("unknown"))
}

fn operating_system(distro: &Distro) -> Value {
    let version = distro.version().unwrap_or("unknown");
    json!({
        "bom-ref": operating_system_ref(distro),
        "type": "operating-system",
        "name": distro.id(),
        "version": version,
        "description": distro.name(),
        "swid": { "tagId": distro.id(), "name": distro.id(), "version": version },
    })
}

fn package(package: &Package, inventory: &Inventory) -> Value {
    let mut component = Map::new();
    component.insert("bom-ref".to_owned(), json!(package.id));
    component.insert("type".to_owned(), json!("library"));
    if let Some(supplier) = &package.supplier {
        let mut value = json!({ "name": supplier.name });
        if let Some(email) = &supplier.email {
            value["contact"] = json!([{ "name": supplier.name, "email": email }]);
        }
        component.insert("supplier".to_owned(), value);
    }
    component.insert("name".to_owned(), json!(package.name));
    component.insert("version".to_owned(), json!(package.version));
    put_list(&mut component, "licenses", licences(&package.licences));
    if let Some(purl) = &package.purl {
        component.insert("purl".to_owned(), json!(purl));
    }
    let places = package.locations.iter().map(|place| json!({ "location": place })).collect::<Vec<_>>();
    if !places.is_empty() {
        component.insert("evidence".to_owned(), json!({ "occurrences": places }));
    }
    put_list(&mut component, "properties", properties(package_properties(package, inventory)));
    Value::Object(component)
}

/// Trivy's names, because GitLab and trivy match Debian's advisories by the source they carry.
fn package_properties<'a>(package: &Package, inventory: &Inventory) -> Vec<(&'a str, String)> {
    let mut pairs = vec![
        ("aquasecurity:trivy:LayerDiffID", package.layer.to_string()),
        ("aquasecurity:trivy:PkgID", format!("{}@{}", package.name, package.version)),
    ];
    if let Some(distro) = &inventory.distro {
        pairs.push(("aquasecurity:trivy:PkgType", distro.id().to_owned()));
    }
    if let Some(source) = &package.source {
        let (epoch, rest) = match source.version.split_once(':') {
            Some((epoch, rest)) => (Some(epoch), rest),
            None => (None, source.version.as_str()),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release)),
            None => (rest, None),
        };
        if let Some(epoch) = epoch {
            pairs.push(("aquasecurity:trivy:SrcEpoch", epoch.to_owned()));
        }
        pairs.push(("aquasecurity:trivy:SrcName", source.name.clone()));
        if let Some(release) = release {
            pairs.push(("aquasecurity:trivy:SrcRelease", release.to_owned()));
        }
        pairs.push(("aquasecurity:trivy:SrcVersion", version.to_owned()));
    }
    pairs
}

/// A list of licences, or exactly one expression: the schema allows no mixture.
fn licences(licences: &[Licence]) -> Vec<Value> {
    let plain = licences.iter().all(|licence| !matches!(licence, Licence::Expression { .. }));
    if plain {
        return (licences.iter())
            .map(|licence| match licence {
                Licence::Id(id) => json!({ "license": { "id": id } }),
                other => json!({ "license": { "name": other.names().first() } }),
            })
            .collect();
    }
    vec![json!({ "expression": Licence::all_of(licences) })]
}

fn own_files(own: &OwnFiles, subject: &Subject<'_>, reference: &str) -> Value {
    let mut component = Map::new();
    component.insert("bom-ref".to_owned(), json!(reference));
    component.insert("type".to_owned(), json!("application"));
    component.insert("name".to_owned(), json!(subject.name()));
    component.insert("version".to_owned(), json!(subject.version));
    component.insert("description".to_owned(), json!(own.summary()));
    put_list(
        &mut component,
        "properties",
        properties(vec![
            ("airlock:files:bytes", own.bytes().to_string()),
            ("airlock:files:listed", own.listed().len().to_string()),
            ("airlock:files:total", own.total().to_string()),
            ("airlock:files:unread", own.uncounted().to_string()),
        ]),
    );
    put_list(&mut component, "components", own.listed().iter().map(file).collect());
    Value::Object(component)
}

fn file(file: &OwnFile) -> Value {
    json!({
        "bom-ref": format!("file:{}", file.path),
        "type": "file",
        "name": file.path,
        "hashes": [{ "alg": "SHA-256", "content": file.digest.hex() }],
        "properties": properties(vec![
            ("aquasecurity:trivy:LayerDiffID", file.layer.to_string()),
            ("airlock:file:size", file.size.to_string()),
        ]),
    })
}
