//! The `amend` program: its exit code, nothing else.

fn main() {}
