//! The component manifest `airlock.toml` and the version tag.
