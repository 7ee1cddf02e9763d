//! Operators: synchronous state machines, message in, messages out.

mod port;

pub use port::{Barrier, Context, Counter, Operator, OperatorError, Readable};
