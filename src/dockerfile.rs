//! What a Dockerfile may ask for, and the refusals.
