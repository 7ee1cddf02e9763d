//! Windows: the grid that cuts event time, and the operator that appends window columns.

mod assign;
mod grid;

pub(super) use assign::WindowAssign;
pub(crate) use grid::Grid;
