//! A commit's tree, taken as raw git objects and recomputed from their bytes.
