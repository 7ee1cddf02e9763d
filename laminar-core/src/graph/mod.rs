//! The graph of objects and operators as plain data: what the planner makes, the catalog stores and
//! the reactors build.

pub mod fragment;
mod memory;
mod object;
mod spec;

pub use memory::{MemoryPolicy, MemorySpec};
pub use object::{
    ColumnSource, Delivery, Envelope, ObjectSpec, SinkSpec, SourceColumn, SourceSpec, TableSpec, WatermarkSpec,
    dead_letter_columns,
};
pub use spec::{EmitMode, NodeSpec, OperatorSpec, PipelineKind, PipelineSpec, WindowKind, WindowSpec};
