//! Scalar expressions that run: the engine's `ScalarExpr` over DataFusion's kernels.
//!
//! Invariant: integer arithmetic never wraps, a function is called only in the version that was
//! planned, and the result type is the planned one.

mod compiler;
mod functions;
mod literal;

pub use compiler::DataFusionCompiler;
pub use functions::{FUNCTION_VERSION, immutable_functions, scalar_function};
pub use literal::{literal_from_scalar, literal_to_scalar};
