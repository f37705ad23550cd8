//! What a run leaves for its readers: logs, exit codes, health, the compiled Compose file, the closed-world
//! report. Plain files, bounded, for artifacts below `.airlock/hub/`.

use crate::compose::CompiledStack;
use crate::domain::closed_world::ClosedWorld;
use crate::engine::Engine;
use crate::failure::Outcome;

/// Most bytes of one container's log that are kept.
const MAX_LOG_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes of all logs together.
const MAX_LOGS_BYTES: usize = 64 * 1024 * 1024;

/// One file of the records: its path below the directory of the records, and its content.
pub type Record = (String, Vec<u8>);

/// Collects the records of a stack, whatever state it is in.
///
/// A container whose log cannot be read is named in its place: a record that lacks something is better
/// than none, and nothing here decides.
pub async fn collect(
    engine: &Engine,
    compiled: &CompiledStack,
    closed_world: Option<&ClosedWorld>,
) -> Outcome<Vec<Record>> {
    let mut records = vec![("compose.json".to_owned(), pretty_bytes(&compiled.json))];
    if let Some(closed_world) = closed_world {
        records.push(("closed-world.json".to_owned(), pretty(closed_world)));
    }
    let observed = engine.observe_project(&compiled.project).await?;
    records.push(("services.json".to_owned(), pretty(&observed)));
    let mut room = MAX_LOGS_BYTES;
    for container in &observed {
        let name = file_name(
            container.name.strip_prefix(&format!("{}-", compiled.project)).unwrap_or(&container.name),
        );
        let log = match container.id.parse() {
            Ok(id) => match engine.container_log(&id, MAX_LOG_BYTES.min(room)).await {
                Ok(log) => log,
                Err(error) => format!("[{error}]\n").into_bytes(),
            },
            Err(error) => format!("[{error}]\n").into_bytes(),
        };
        room = room.saturating_sub(log.len());
        records.push((format!("logs/{name}.log"), log));
    }
    Ok(records)
}

/// Keeps letters, digits and `-_.`; a container's name is partly the hub's own word.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().take(100).map(safe).collect();
    name.trim_start_matches('.').to_owned()
}

fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn pretty_bytes(json: &[u8]) -> Vec<u8> {
    serde_json::from_slice::<serde_json::Value>(json).map_or_else(|_| json.to_vec(), |value| pretty(&value))
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_containers_name_never_leaves_the_directory() {
        assert_eq!(file_name("api-1"), "api-1");
        assert_eq!(file_name("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(file_name("a b\n"), "a_b_");
    }
}
