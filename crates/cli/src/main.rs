//! The `injerto` binary.
fn main() {}
