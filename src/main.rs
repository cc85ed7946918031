//! The `amend` program: its exit code, nothing else.

fn main() -> std::process::ExitCode {
    amend::cli::main(std::env::args_os())
}
