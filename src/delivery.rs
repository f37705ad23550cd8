//! From a commit to a trusted image: build, describe, sign, push, verify, tag.

pub mod describe;
pub mod push;
pub mod sign;
pub mod verify;
