//! GitLab: the stage environment, the job response and the API.
