//! GitLab: the stage environment, the job response and the API.
//!
//! Facts come from `JOB_RESPONSE_FILE` alone. No variable of the form `CUSTOM_ENV_*` is ever read: the
//! author of a job can forge nearly all of them (runner contract §4.3).

pub mod api;
pub mod job_response;
pub mod stage_environment;
pub mod status;
