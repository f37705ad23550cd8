//! The job's log: masked per stream, cut at the limit, sent on by the trace loop.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// The collected log of one job.
pub struct JobLog {
    state: Mutex<State>,
    limit: usize,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    phrases: Vec<Vec<u8>>,
    full: bool,
}

impl JobLog {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), limit })
    }

    /// Sets the values that become `[MASKED]` from now on.
    pub fn mask(&self, values: Vec<String>) {
        let mut phrases: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
        phrases.sort_by_key(|phrase| std::cmp::Reverse(phrase.len()));
        self.lock().phrases = phrases;
    }

    /// Writes a line of the runner's own.
    pub fn line(self: &Arc<Self>, text: &str) {
        let mut stream = self.stream();
        stream.write(format!("{text}\n").as_bytes());
        stream.flush();
    }

    /// Opens a collapsible section.
    pub fn section_start(self: &Arc<Self>, name: &str) {
        self.append(format!("section_start:{}:{name}\r\x1b[0K", now()).as_bytes());
    }

    /// Closes a section.
    pub fn section_end(self: &Arc<Self>, name: &str) {
        self.append(format!("section_end:{}:{name}\r\x1b[0K", now()).as_bytes());
    }

    /// Opens one of the streams of a call.
    pub fn stream(self: &Arc<Self>) -> LogStream {
        LogStream { log: Arc::clone(self), pending: Vec::new() }
    }

    /// Returns the bytes from `offset` on.
    pub fn since(&self, offset: usize) -> Vec<u8> {
        self.lock().bytes.get(offset..).unwrap_or_default().to_vec()
    }

    /// Returns the log as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    fn append(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.full {
            return;
        }
        let room = self.limit.saturating_sub(state.bytes.len());
        state.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            state.full = true;
            let note = format!(
                "\n\x1b[33;1mJob's log exceeded limit of {} bytes.\nJob execution will continue but no more \
                 output will be collected.\x1b[0;m\n",
                self.limit
            );
            state.bytes.extend_from_slice(note.as_bytes());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no writer of the log panicked")
    }
}

/// One stream into the log; a masked value is found even when it comes in two writes.
pub struct LogStream {
    log: Arc<JobLog>,
    pending: Vec<u8>,
}

impl LogStream {
    pub fn write(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let phrases = self.log.lock().phrases.clone();
        let mut out = Vec::with_capacity(self.pending.len());
        let mut at = 0;
        while at < self.pending.len() {
            let rest = &self.pending[at..];
            if let Some(phrase) = phrases.iter().find(|phrase| rest.starts_with(phrase)) {
                out.extend_from_slice(b"[MASKED]");
                at += phrase.len();
            } else if phrases.iter().any(|phrase| phrase.starts_with(rest)) {
                break;
            } else {
                out.push(self.pending[at]);
                at += 1;
            }
        }
        self.pending.drain(..at);
        self.log.append(&out);
    }

    /// Writes what was held back as the possible start of a masked value.
    pub fn flush(&mut self) {
        let rest = std::mem::take(&mut self.pending);
        self.log.append(&rest);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}
