//! What a person reads in a job's log: collapsible sections, one line per thing done.
//!
//! GitLab's section markers: `section_start:<unix>:<name>[collapsed=true]\r\x1b[0K<header>`.
//! No timestamps of our own: GitLab Runner prepends them. Secrets that Airlock holds are masked here.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

/// Whether section markers are written: GitLab folds them, a terminal shows a heading instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// GitLab's collapsible sections.
    GitLab,
    /// Plain headings.
    Terminal,
}

/// A job's log; clones write to the same place.
#[derive(Clone)]
pub struct JobLog {
    inner: Arc<Mutex<Inner>>,
    style: LogStyle,
}

struct Inner {
    out: Box<dyn Write + Send>,
    masks: Vec<String>,
    /// How often each section was opened: GitLab tells sections apart by their names alone.
    sections: BTreeMap<String, u32>,
}

/// How GitLab shows a section at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fold {
    Closed,
    Open,
}

impl JobLog {
    /// Creates a log over `out`.
    pub fn new(out: Box<dyn Write + Send>, style: LogStyle) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner { out, masks: Vec::new(), sections: BTreeMap::new() })),
            style,
        }
    }

    /// Masks `secret` in everything that Airlock writes from now on; texts under 6 bytes are not masked.
    pub fn mask(&self, secret: &str) {
        if secret.len() >= 6 {
            self.lock().masks.push(secret.to_owned());
        }
    }

    /// Writes one line; control characters other than tab are dropped, so that quoted text cannot
    /// forge a section or move the cursor.
    pub fn line(&self, text: impl AsRef<str>) {
        for line in text.as_ref().split('\n') {
            self.write(&format!("{}\n", printable(line)));
        }
    }

    /// Passes a script's own output through, unchanged.
    pub fn raw(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        // A closed log must not stop the work: the exit code and the evidence still tell.
        let _ = inner.out.write_all(bytes);
        let _ = inner.out.flush();
    }

    /// Returns `text` with every secret masked, for what is written elsewhere than here.
    pub fn masked(&self, text: &str) -> String {
        self.lock().masked(text)
    }

    /// Opens a folded section that ends when the returned guard is dropped.
    pub fn section(&self, name: &str, header: &str) -> Section {
        self.start_section(name, header, Fold::Closed)
    }

    /// Opens a section whose content is what the reader came for: it is shown unfolded.
    pub fn open_section(&self, name: &str, header: &str) -> Section {
        self.start_section(name, header, Fold::Open)
    }

    fn start_section(&self, name: &str, header: &str, fold: Fold) -> Section {
        let times = {
            let mut inner = self.lock();
            let times = inner.sections.entry(name.to_owned()).or_default();
            *times += 1;
            *times
        };
        let name = if times == 1 { name.to_owned() } else { format!("{name}_{times}") };
        let header = printable(header);
        match self.style {
            LogStyle::GitLab => {
                let fold = if fold == Fold::Closed { "[collapsed=true]" } else { "" };
                self.write(&format!("section_start:{}:airlock_{name}{fold}\r\x1b[0K{header}\n", unix_now()));
            }
            LogStyle::Terminal => self.write(&format!("\n── {header}\n")),
        }
        Section { log: self.clone(), name }
    }

    fn write(&self, text: &str) {
        let mut inner = self.lock();
        let text = inner.masked(text);
        let _ = inner.out.write_all(text.as_bytes());
        let _ = inner.out.flush();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn masked(&self, text: &str) -> String {
        self.masks.iter().fold(text.to_owned(), |text, mask| text.replace(mask.as_str(), "[MASKED]"))
    }
}

/// An open section of the log.
pub struct Section {
    log: JobLog,
    name: String,
}

impl Drop for Section {
    fn drop(&mut self) {
        if self.log.style == LogStyle::GitLab {
            self.log.write(&format!("section_end:{}:airlock_{}\r\x1b[0K\n", unix_now(), self.name));
        }
    }
}

/// Returns `text` without control characters other than tab.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| *c == '\t' || !c.is_control()).collect()
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_quoted_line_can_neither_forge_a_section_nor_show_a_secret() {
        let shared = Shared::default();
        let log = JobLog::new(Box::new(shared.clone()), LogStyle::GitLab);
        log.mask("hunter2-hunter2");
        log.line("\x1b[0Ksection_end:1:airlock_test\r said hunter2-hunter2");
        let text = String::from_utf8(shared.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert_eq!(text, "[0Ksection_end:1:airlock_test said [MASKED]\n");
    }

    #[test]
    fn a_section_ends_when_its_guard_is_dropped() {
        let shared = Shared::default();
        let log = JobLog::new(Box::new(shared.clone()), LogStyle::GitLab);
        drop(log.section("build", "Build"));
        let text = String::from_utf8(shared.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        let times = regex::Regex::new(":[0-9]+:").expect("a pattern");
        insta::assert_snapshot!(format!("{:?}", times.replace_all(&text, ":<unix>:")));
    }
}
