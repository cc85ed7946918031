//! Tells the linker where a portable build has its libraries.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_PORTABLE").is_some() {
        // Relative to the program: where it is installed, and where it is in a wheel.
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/../lib/amend");
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/../data/lib/amend");
    }
}
