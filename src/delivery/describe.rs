//! Reads the built image once: normalise, hash, scan, compress.
