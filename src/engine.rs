//! Docker Engine through bollard: containers, builds, export.
