//! BuildKit's status messages as lines for people: one a step, then what the step wrote.

use std::collections::HashMap;

use bollard::moby::buildkit::v1::StatusResponse;

/// Steps that are remembered; a Dockerfile with more loses names, never lines.
const MAX_STEPS: usize = 10_000;
/// Longest unfinished line that is kept together.
const MAX_LINE: usize = 16 * 1024;

/// One line of a build's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLogLine {
    /// The step's name, for example `[2/3] RUN make`; empty when BuildKit did not say.
    pub step: String,
    /// What the step wrote, or the step's beginning, end or failure.
    pub text: String,
}

impl BuildLogLine {
    /// Returns whether the line is of a step that BuildKit does by itself: it explains no failure.
    pub fn is_internal(&self) -> bool {
        self.step.starts_with("[internal]")
            || self.step.starts_with("copy /context")
            || self.step.contains("] FROM ")
    }
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    announced: bool,
    finished: bool,
    open_line: Vec<u8>,
}

/// Turns status messages into lines.
#[derive(Debug, Default)]
pub(super) struct BuildLog {
    steps: HashMap<String, Step>,
}

impl BuildLog {
    pub(super) fn take(&mut self, status: StatusResponse, out: &mut dyn FnMut(BuildLogLine)) {
        for vertex in status.vertexes {
            if self.steps.len() >= MAX_STEPS && !self.steps.contains_key(&vertex.digest) {
                continue;
            }
            let step = self.steps.entry(vertex.digest).or_default();
            step.name = vertex.name;
            let line = |text: String| BuildLogLine { step: step.name.clone(), text };
            if vertex.cached && !step.finished {
                step.finished = true;
                step.announced = true;
                out(line(format!("{} (cached)", step.name)));
            } else if vertex.started.is_some() && !step.announced {
                step.announced = true;
                out(line(step.name.clone()));
            }
            if !vertex.error.is_empty() {
                out(line(format!("failed: {}", vertex.error)));
            }
            if vertex.completed.is_some() {
                let rest = std::mem::take(&mut step.open_line);
                if !rest.is_empty() {
                    out(BuildLogLine { step: step.name.clone(), text: lossy(&rest) });
                }
            }
        }
        for log in status.logs {
            let mut unknown = Step::default();
            let step = self.steps.get_mut(&log.vertex).unwrap_or(&mut unknown);
            step.open_line.extend_from_slice(&log.msg);
            while let Some(end) = step
                .open_line
                .iter()
                .position(|b| *b == b'\n')
                .or_else(|| (step.open_line.len() > MAX_LINE).then_some(MAX_LINE))
            {
                let text: Vec<u8> = step.open_line.drain(..=end).collect();
                out(BuildLogLine { step: step.name.clone(), text: lossy(&text) });
            }
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches(['\n', '\r']).to_owned()
}

#[cfg(test)]
mod tests {
    use bollard::moby::buildkit::v1::{Vertex, VertexLog};

    use super::*;

    #[test]
    fn puts_lines_together_that_arrive_in_pieces() {
        let mut log = BuildLog::default();
        let mut lines = Vec::new();
        let vertex = |digest: &str, name: &str| Vertex {
            digest: digest.into(),
            name: name.into(),
            started: Some(Default::default()),
            ..Vertex::default()
        };
        let piece = |msg: &[u8]| VertexLog { vertex: "a".into(), msg: msg.into(), ..VertexLog::default() };
        for status in [
            StatusResponse { vertexes: vec![vertex("a", "[1/2] RUN make")], ..Default::default() },
            StatusResponse { logs: vec![piece(b"one\ntw"), piece(b"o\n")], ..Default::default() },
            StatusResponse { logs: vec![piece(b"no end")], ..Default::default() },
            StatusResponse {
                vertexes: vec![Vertex {
                    completed: Some(Default::default()),
                    error: "exit code: 1".into(),
                    ..vertex("a", "[1/2] RUN make")
                }],
                ..Default::default()
            },
        ] {
            log.take(status, &mut |line| lines.push(line.text));
        }
        assert_eq!(lines, ["[1/2] RUN make", "one", "two", "failed: exit code: 1", "no end"]);
    }
}
