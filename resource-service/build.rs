//! The migrations are embedded into the binary, so that a new one must lead to a new build.

fn main() {
    println!("cargo::rerun-if-changed=../migrations/resource");
}
