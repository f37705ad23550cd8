# The commands of this repository. `.ci/run` runs the same ones.
.PHONY: help bootstrap demo test fault-matrix newer-engine check deny fuzz bench

help:
	@echo "make bootstrap   make this Debian machine ready (idempotent)"
	@echo "make demo        the sample component through its staging job, then verified"
	@echo "make test        every test, once, in debug"
	@echo "make fault-matrix   kill -9 at every single write of a delivery (about 20 minutes)"
	@echo "make newer-engine   every test with Debian's newest Docker Engine and Compose, in namespaces of its own"
	@echo "make check       formatting, lints, fuzz targets, and dependencies where cargo-deny is there"
	@echo "make deny        dependencies: banned crates, licences, sources (installs cargo-deny under target/)"

bootstrap:
	@scripts/bootstrap

demo:
	@scripts/demo

test: bootstrap
	cargo test --locked

fault-matrix: bootstrap
	cargo test --locked --test faults -- --ignored --nocapture every_single_write

# Without the test of bootstrap itself: there is no network inside.
newer-engine: bootstrap
	scripts/newer-engine cargo test --locked --offline --no-fail-fast -- --skip a_second_bootstrap_installs_nothing

check:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo check --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz-check
	@scripts/deny --if-installed

deny:
	@scripts/deny

fuzz:
	@scripts/fuzz $(or $(SECONDS_EACH),20)

bench:
	@scripts/bench
