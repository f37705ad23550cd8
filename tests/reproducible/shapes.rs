//! Shapes of components: several images, a target, other contexts, no base, a large file.
