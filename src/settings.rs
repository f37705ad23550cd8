//! Host settings `/etc/airlock/host.toml`: typed, then checked once.
