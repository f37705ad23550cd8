//! The command line: the clap tree, one file per verb; the only writer to standard output.
