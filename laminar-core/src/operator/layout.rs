//! What an operator keeps, described: which keys, which values, how they lie in the arena.
//!
//! The catalog holds the description beside the plan, and a start compares it with what this build would keep, before
//! any byte of state is read as something that it is not. Invariant: two builds that describe a node alike read
//! each other's state; whoever changes the bytes of a state without changing its description raises [`FORMAT`].

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::aggregate::{self, AggregateParts};
use super::materialize;
use super::port::OperatorError;
use crate::data::{StreamSchema, schema_serde};
use crate::graph::{NodeSpec, OperatorSpec};
use crate::ids::OperatorId;
use laminar_storage::arena::{KeyShape, TableShape};

/// Version of what the parts below do not say: the order of bytes in values, rows and keys.
const FORMAT: u32 = 1;

/// The state of one operator, described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateLayout {
    /// Under which number it is kept.
    pub operator: OperatorId,
    /// In the arena of which fragment of its pipeline.
    pub fragment: u8,
    /// What is kept.
    pub keeps: String,
    /// By which columns.
    #[serde(with = "schema_serde")]
    pub key: SchemaRef,
    /// What of each key.
    #[serde(with = "schema_serde")]
    pub values: SchemaRef,
    /// How it is cut by time, if it is.
    pub windows: Option<String>,
    /// How an entry lies in its table.
    pub entry: String,
}

/// What an operator's family says of it.
pub(super) struct Kept {
    pub(super) keeps: String,
    pub(super) key: Vec<Field>,
    pub(super) values: Vec<Field>,
    pub(super) windows: Option<String>,
    pub(super) shape: TableShape,
}

/// What a node keeps, in the arena of this fragment; none = nothing. `inputs` are the outputs of the nodes it reads.
///
/// # Errors
/// As [`super::build`].
pub fn layout(node: &NodeSpec, inputs: &[&StreamSchema], fragment: u8) -> Result<Option<StateLayout>, OperatorError> {
    let kept = match &node.operator {
        OperatorSpec::Source { .. }
        | OperatorSpec::DeadLetters { .. }
        | OperatorSpec::Relation { .. }
        | OperatorSpec::Exchange { .. }
        | OperatorSpec::Filter { .. }
        | OperatorSpec::Project { .. }
        | OperatorSpec::Union
        | OperatorSpec::Output
        | OperatorSpec::WindowAssign { .. } => return Ok(None),
        OperatorSpec::Aggregate { keys, window, aggregates, emit, lateness } => {
            let [input] = inputs else {
                return Err(OperatorError::defect(format!(
                    "operator {} has {} inputs, not one",
                    node.id,
                    inputs.len()
                )));
            };
            let (window, emit, lateness) = (window.as_ref(), *emit, *lateness);
            aggregate::layout(&AggregateParts { keys, window, aggregates, emit, lateness }, input)?
        }
        OperatorSpec::Materialize { retention } => materialize::layout(&node.output, *retention)?,
    };
    let key = match kept.shape.key {
        KeyShape::Fixed(width) => format!("key of {width} bytes"),
        KeyShape::Variable { inline } => format!("key of any length, {inline} bytes inline"),
    };
    Ok(Some(StateLayout {
        operator: node.id,
        fragment,
        keeps: kept.keeps,
        key: Arc::new(Schema::new(kept.key)),
        values: Arc::new(Schema::new(kept.values)),
        windows: kept.windows,
        entry: format!("format {FORMAT}, {key}, value of {} bytes", kept.shape.value_len),
    }))
}

/// The fields of some columns.
pub(super) fn fields(schema: &Schema, columns: &[usize]) -> Vec<Field> {
    columns.iter().map(|&column| schema.field(column).clone()).collect()
}

/// Which operators are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Those with one number in one fragment: of one plan.
    Number,
    /// Those at one place, counting from the first: of two plans.
    Place,
}

/// The first way in which state of `there` is not what `wanted` describes; none = it can be read.
pub fn difference(there: &[StateLayout], wanted: &[StateLayout], by: Match) -> Option<String> {
    let same = |(at, a): (usize, &StateLayout), (to, b): (usize, &StateLayout)| match by {
        Match::Number => (a.operator, a.fragment) == (b.operator, b.fragment),
        Match::Place => at == to,
    };
    for (at, kept) in there.iter().enumerate() {
        match wanted.iter().enumerate().find(|other| same((at, kept), *other)) {
            None => return Some(format!("the {} by ({}) would be kept no more", kept.keeps, columns(&kept.key))),
            Some((_, now)) => {
                if let Some(difference) = kept.differs(now) {
                    return Some(difference);
                }
            }
        }
    }
    let new = wanted.iter().enumerate().find(|now| !there.iter().enumerate().any(|kept| same(kept, *now)))?.1;
    Some(format!("{} by ({}) would be kept, and there are none", new.keeps, columns(&new.key)))
}

impl StateLayout {
    fn differs(&self, now: &Self) -> Option<String> {
        let what = &self.keeps;
        if self.keeps != now.keeps {
            return Some(format!("there are {what}, wanted are {}", now.keeps));
        }
        let parts = [
            ("keys", columns(&self.key), columns(&now.key)),
            ("values", columns(&self.values), columns(&now.values)),
            ("windows", self.windows.clone().unwrap_or_default(), now.windows.clone().unwrap_or_default()),
            ("entries", self.entry.clone(), now.entry.clone()),
        ];
        let (part, there, wanted) = parts.into_iter().find(|(_, there, wanted)| there != wanted)?;
        Some(format!("the {part} of the {what} are ({there}), wanted are ({wanted})"))
    }
}

/// Names and types.
fn columns(schema: &Schema) -> String {
    let column = |field: &Arc<Field>| {
        let null = if field.is_nullable() { "" } else { " NOT NULL" };
        format!("{} {}{null}", field.name(), field.data_type())
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}
