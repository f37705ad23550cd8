//! The trust policy and the judgement over an image's evidence.
