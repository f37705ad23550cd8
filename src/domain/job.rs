//! What GitLab says about a job: facts, run phases, the publish decision.
