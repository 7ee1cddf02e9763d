//! `laminar-bench`.
fn main() {}
