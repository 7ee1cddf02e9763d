//! From a node's spec to the operator that runs it.

use super::aggregate::{self, AggregateParts};
use super::checked::Checked;
use super::filter::Filter;
use super::materialize::Materialize;
use super::port::{Operator, OperatorError};
use super::project::Project;
use super::union::Pass;
use super::window::WindowAssign;
use crate::data::StreamSchema;
use crate::expr::ExprCompiler;
use crate::graph::{NodeSpec, OperatorSpec};
use crate::ids::ShardId;
use crate::shard::ShardMap;

/// Where an operator will live.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// All shards.
    pub shards: ShardMap,
    /// Its own.
    pub shard: ShardId,
}

impl Place {
    /// Whether rows without key columns come here, and so the one row of a global aggregate lives here.
    pub fn is_home(&self) -> bool {
        self.shards.home() == self.shard
    }
}

/// Builds a node's operator. `inputs` are the outputs of the nodes it reads, in order. In debug builds
/// it is wrapped in [`Checked`].
///
/// # Errors
/// An expression or type that this build does not have, or a spec that no planner should make; sources,
/// relations and exchanges, which the engine builds itself.
pub fn build(
    node: &NodeSpec,
    inputs: &[&StreamSchema],
    compiler: &dyn ExprCompiler,
    place: Place,
) -> Result<Box<dyn Operator>, OperatorError> {
    let operator = build_bare(node, inputs, compiler, place)?;
    Ok(if cfg!(debug_assertions) { Box::new(Checked::new(operator, &node.output)) } else { operator })
}

fn build_bare(
    node: &NodeSpec,
    inputs: &[&StreamSchema],
    compiler: &dyn ExprCompiler,
    place: Place,
) -> Result<Box<dyn Operator>, OperatorError> {
    let output = node.output.columns.clone();
    let input = || match inputs {
        [only] => Ok(*only),
        _ => Err(OperatorError::defect(format!("operator {} has {} inputs, not one", node.id, inputs.len()))),
    };
    Ok(match &node.operator {
        OperatorSpec::Source { .. }
        | OperatorSpec::DeadLetters { .. }
        | OperatorSpec::Relation { .. }
        | OperatorSpec::Exchange { .. } => {
            return Err(OperatorError::defect(format!("operator {} is built by the engine", node.id)));
        }
        OperatorSpec::Filter { predicate } => Box::new(Filter::new(node.id, predicate, &input()?.columns, compiler)?),
        OperatorSpec::Project { exprs } => Box::new(Project::new(node.id, exprs, output, &input()?.columns, compiler)?),
        OperatorSpec::Union | OperatorSpec::Output => Box::new(Pass::new(node.id, output)),
        OperatorSpec::WindowAssign { window, lateness } => {
            Box::new(WindowAssign::new(node.id, window, *lateness, output, &input()?.columns)?)
        }
        OperatorSpec::Aggregate { keys, window, aggregates, emit, lateness } => {
            let (window, emit, lateness) = (window.as_ref(), *emit, *lateness);
            aggregate::build(node, &AggregateParts { keys, window, aggregates, emit, lateness }, input()?, place)?
        }
        OperatorSpec::Materialize { retention } => Box::new(Materialize::new(node.id, &node.output, *retention)?),
    })
}
