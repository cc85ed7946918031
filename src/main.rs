//! The `amend` program: it runs the command line and returns its exit code.

fn main() -> std::process::ExitCode {
    amend::cli::main(std::env::args_os())
}
