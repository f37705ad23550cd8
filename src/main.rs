//! Parses the command line, dispatches, returns the exit code.

fn main() -> std::process::ExitCode {
    airlock::cli::main()
}
