//! What prepare leaves for the later stages: one small versioned file in a 0700 directory, keyed by
//! runner and job. Nothing is carried in memory, since every stage is a process of its own.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest;
use crate::domain::hub::HubRule;
use crate::domain::image::PinnedImage;
use crate::domain::job::{JobFacts, PublishRule};
use crate::failure::Failure;

const SCHEMA: u32 = 1;
const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// The name under which everything of one job is found: directory, labels, container names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobKey(String);

impl JobKey {
    /// Returns the key of a job that GitLab handed over.
    pub fn of(facts: &JobFacts) -> Self {
        let scope = Digest::of(
            format!("{}\n{}", facts.repository_url.origin().ascii_serialization(), facts.runner_uuid)
                .as_bytes(),
        );
        Self(format!("{}-{}", facts.job_id, scope.short()))
    }

    /// Returns the key of a job that a developer tries on his own machine.
    pub fn local(process: u32, now_unix: i64) -> Self {
        Self(format!("try-{now_unix}-{process}"))
    }

    /// Names a job by the key that its label or directory carries; `None` for what is no key, since
    /// anybody may give a container any label, and `..` as a directory would be every job's.
    pub fn parse(text: &str) -> Option<Self> {
        let is_key = text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (is_key && !text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// Returns the text: letters, digits and hyphens.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The record of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRecord {
    pub schema: u32,
    pub job_id: u64,
    pub project_path: String,
    pub image: PinnedImage,
    pub image_id: Digest,
    pub helper_container: String,
    pub job_container: Option<String>,
    /// The rule by which this job publishes.
    pub publish: Option<PublishRule>,
    /// The rule by which this job tests and promotes a platform.
    pub hub: Option<HubRule>,
    pub started_unix: i64,
}

impl JobRecord {
    /// Creates a record of the present schema.
    pub fn new(facts: &JobFacts, image: PinnedImage, image_id: Digest, started_unix: i64) -> Self {
        Self {
            schema: SCHEMA,
            job_id: facts.job_id,
            project_path: facts.project_path.clone(),
            image,
            image_id,
            helper_container: String::new(),
            job_container: None,
            publish: None,
            hub: None,
            started_unix,
        }
    }
}

/// The directory of one job below the state directory.
#[derive(Debug, Clone)]
pub struct JobDirectory {
    path: PathBuf,
}

impl JobDirectory {
    /// Names the directory; nothing is created.
    pub fn new(state_dir: &Path, key: &JobKey) -> Self {
        Self { path: state_dir.join("jobs").join(key.as_str()) }
    }

    /// Creates the directory, mode 0700, empty but for what an earlier attempt left.
    pub fn create(&self) -> Result<(), Failure> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.work())
            .and_then(|()| fs::set_permissions(&self.path, fs::Permissions::from_mode(0o700)))
            .map_err(|error| self.failure("create", &error))
    }

    /// Returns the place for large temporary files of this job.
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    fn record_file(&self) -> PathBuf {
        self.path.join("record.json")
    }

    /// Writes the record so that a reader sees the old one or the new one, never a part.
    pub fn save(&self, record: &JobRecord) -> Result<(), Failure> {
        let write = || -> io::Result<()> {
            let temporary = self.path.join("record.json.new");
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.sync_all()?;
            fs::rename(&temporary, self.record_file())
        };
        write().map_err(|error| self.failure("write the record of", &error))
    }

    /// Reads the record; `None` when prepare left none.
    pub fn load(&self) -> Result<Option<JobRecord>, Failure> {
        let bytes = match fs::metadata(self.record_file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failure("read the record of", &error)),
            Ok(meta) if meta.len() > MAX_RECORD_BYTES => {
                return Err(self.failure("read the record of", &io::Error::other("it is over 1 MiB")));
            }
            Ok(_) => {
                fs::read(self.record_file()).map_err(|error| self.failure("read the record of", &error))?
            }
        };
        let record: JobRecord = serde_json::from_slice(&bytes)
            .map_err(|e| self.failure("read the record of", &io::Error::other(e)))?;
        if record.schema != SCHEMA {
            let error = io::Error::other(format!("schema {}, expected {SCHEMA}", record.schema));
            return Err(self.failure("read the record of", &error));
        }
        Ok(Some(record))
    }

    /// Removes the directory; it is no error when there is none.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn failure(&self, what: &str, error: &io::Error) -> Failure {
        Failure::system(format!("cannot {what} the job's state in `{}`", self.path.display()))
            .because(error)
            .hint("for the runner's administrator: check owner, mode and free space of `state_dir` in the host settings")
            .note("runner problem, not your script")
    }
}
