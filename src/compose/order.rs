//! The order of starts: every dependency is there, and none leads back to itself.

use std::collections::BTreeMap;

use super::CompiledService;
use super::refusal::Refusing;

/// Refuses dependencies on what is not there, and cycles.
pub(super) fn check(services: &BTreeMap<String, CompiledService>, refusing: &mut Refusing) {
    for (name, service) in services {
        for dependency in service.depends_on.keys().filter(|name| !services.contains_key(*name)) {
            refusing
                .refuse(format!("services.{name}.depends_on"), format!("there is no service `{dependency}`"));
        }
    }
    // Whatever depends on nothing that is left can be started; what remains at the end never can.
    let mut left: BTreeMap<&str, Vec<&str>> = services
        .iter()
        .map(|(name, service)| {
            let known = service.depends_on.keys().filter(|name| services.contains_key(*name));
            (name.as_str(), known.map(String::as_str).collect())
        })
        .collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, after)| !after.iter().any(|name| left.contains_key(name)))
            .map(|(name, _)| *name)
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            left.remove(name);
        }
    }
    if !left.is_empty() {
        let names: Vec<&str> = left.into_keys().collect();
        refusing.refuse(
            "services",
            format!(
                "these depend on each other in a circle, so none can be the first: `{}`",
                names.join("`, `")
            ),
        );
    }
}
