//! The PostgreSQL protocol, version 3, over our own sessions.
//!
//! Bytes to messages (`frontend`, `wire`), the handshake (`startup`, `cancel`), the two ways to run
//! a statement (`simple`, `extended`), rows and parameters in both formats (`row`, `numeric`,
//! `parameter`, `copy`). The pgwire crate encodes what we send; what we receive is decoded here,
//! because every length in it is the peer's word. Invariant: any byte sequence ends in a protocol
//! error or the close of that one connection, and no message allocates more than its bytes.

mod cancel;
mod connection;
mod copy;
mod extended;
mod fault;
mod float;
mod frontend;
mod numeric;
mod parameter;
mod row;
mod server;
mod settings;
mod simple;
mod startup;
mod time_text;
mod wire;

pub use server::{Limits, serve};
