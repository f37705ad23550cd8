//! GitLab Runner's four stages: config, prepare, run, cleanup.
