//! `laminardb-server`.
fn main() {}
