//! The growing list of operators, with what is known of each one's output.

use arrow::datatypes::{Field, Schema, SchemaRef};
use laminar_core::data::key::{KeyEncoder, KeyError};
use laminar_core::data::{ChangeMode, StreamSchema};
use laminar_core::expr::ScalarExpr;
use laminar_core::graph::{MemorySpec, NodeSpec, OperatorSpec};
use laminar_core::ids::{ObjectId, OperatorId};
use std::sync::Arc;

use super::expr::functions_of;
use crate::error::SqlError;
use crate::plan::{Claim, ClauseId, sql_type};

/// What is known of a node's output beside its schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Sets of columns each of which names at most one row.
    pub keys: Vec<Vec<usize>>,
    /// Rows of equal values in these columns are in one shard.
    pub partition: Option<Vec<usize>>,
    /// The operator that makes the rows change, for messages.
    pub updated_by: Option<String>,
}

/// Builds the nodes of one pipeline.
#[derive(Default)]
pub(crate) struct Builder {
    pub nodes: Vec<NodeSpec>,
    pub facts: Vec<Facts>,
    pub claims: Vec<Claim>,
    pub notices: Vec<String>,
    pub depends_on: Vec<ObjectId>,
    pub functions: std::collections::BTreeMap<String, u16>,
    pub memory: MemorySpec,
}

impl Builder {
    /// Adds a node.
    pub fn push(&mut self, operator: OperatorSpec, inputs: Vec<usize>, output: StreamSchema, facts: Facts) -> usize {
        let mut note = |e: &ScalarExpr| functions_of(e, &mut self.functions);
        match &operator {
            OperatorSpec::Filter { predicate } => note(predicate),
            OperatorSpec::Project { exprs } => exprs.iter().for_each(note),
            _ => {}
        }
        let output = StreamSchema { key: facts.keys.first().cloned(), ..output };
        self.nodes.push(NodeSpec { id: OperatorId(0), operator, inputs, output });
        self.facts.push(facts);
        self.nodes.len() - 1
    }

    /// The output of a node.
    pub fn output(&self, node: usize) -> &StreamSchema {
        &self.nodes[node].output
    }

    /// Number of columns of a node.
    pub fn width(&self, node: usize) -> usize {
        self.nodes[node].output.columns.fields().len()
    }

    /// A column of a node as an expression.
    pub fn column(&self, node: usize, index: usize) -> ScalarExpr {
        let field = self.nodes[node].output.columns.field(index);
        ScalarExpr::column(index, field.name(), field.data_type().clone())
    }

    /// Says that a node executes clauses.
    pub fn claim(&mut self, node: usize, clauses: &[ClauseId]) {
        let by = format!("{node}: {}", crate::explain::operator_text(&self.nodes[node].operator));
        for clause in clauses {
            self.claims.push(Claim { clause: *clause, by: by.clone() });
        }
    }

    /// Limits the state of all nodes together.
    pub fn limit(&mut self, memory: MemorySpec) {
        self.memory = memory;
        let by = format!("the whole query: {}", crate::plan::memory_text(memory));
        self.claims.push(Claim { clause: ClauseId::Memory, by });
    }

    /// Adds a projection, unless it would change nothing.
    pub fn project(&mut self, node: usize, exprs: Vec<ScalarExpr>, columns: SchemaRef) -> usize {
        let same = exprs.len() == self.width(node)
            && exprs.iter().enumerate().all(|(i, e)| matches!(e, ScalarExpr::Column { index, .. } if *index == i))
            && columns.fields().iter().zip(self.output(node).columns.fields()).all(|(a, b)| a.name() == b.name());
        if same {
            self.claim(node, &[ClauseId::Projection]);
            return node;
        }
        let input = self.output(node).clone();
        let moved = Moved::new(&exprs);
        let facts = moved.facts(&self.facts[node]);
        let time = (0..exprs.len()).filter(|&i| is_time(&exprs[i], &input.time)).collect();
        let output = StreamSchema { columns, mode: input.mode, key: None, time };
        let made = self.push(OperatorSpec::Project { exprs }, vec![node], output, facts);
        self.claim(made, &[ClauseId::Projection]);
        made
    }

    /// Sends rows of equal `keys` to one shard, unless they are there.
    ///
    /// # Errors
    /// A column has a type that cannot be a key.
    pub fn exchange(&mut self, node: usize, keys: Vec<usize>) -> Result<usize, SqlError> {
        if let Err(KeyError { column, data_type }) = KeyEncoder::new(&self.output(node).columns, &keys) {
            let what = format!("column \"{column}\" of type {} in a key", sql_type(&data_type, None));
            let hint = "GROUP BY columns, and all columns of a view without GROUP BY, are keys: take its parts, or make TEXT of it";
            return Err(SqlError::unsupported(what, hint));
        }
        let there = self.facts[node].partition.as_ref().is_some_and(|p| p.iter().all(|c| keys.contains(c)));
        if there {
            return Ok(node);
        }
        let output = self.output(node).clone();
        let facts = Facts { partition: Some(keys.clone()), ..self.facts[node].clone() };
        Ok(self.push(OperatorSpec::Exchange { keys }, vec![node], output, facts))
    }

    /// Gives each node its stable id.
    pub fn finish(mut self, object: ObjectId) -> Self {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let name = crate::explain::operator_text(&node.operator);
            let text = format!("{}/{index}/{name}", object.0);
            node.id = OperatorId(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
        }
        self
    }
}

/// Whether an expression is a time attribute: a bare copy of one, or the last moment of a window.
fn is_time(expr: &ScalarExpr, time: &[usize]) -> bool {
    match expr {
        ScalarExpr::Column { index, .. } => time.contains(index),
        ScalarExpr::Call { function, args, .. } if function == crate::function::WINDOW_TIME_OF => {
            args.iter().all(|a| is_time(a, time))
        }
        _ => false,
    }
}

/// Where the columns of an input went.
struct Moved {
    /// For each output column, the input column that it copies.
    from: Vec<Option<usize>>,
}

impl Moved {
    fn new(exprs: &[ScalarExpr]) -> Self {
        let from =
            exprs.iter().map(|e| if let ScalarExpr::Column { index, .. } = e { Some(*index) } else { None }).collect();
        Self { from }
    }

    fn all(&self, columns: &[usize]) -> Option<Vec<usize>> {
        columns.iter().map(|c| self.from.iter().position(|f| *f == Some(*c))).collect()
    }

    fn facts(&self, facts: &Facts) -> Facts {
        Facts {
            keys: facts.keys.iter().filter_map(|k| self.all(k)).collect(),
            partition: facts.partition.as_ref().and_then(|p| self.all(p)),
            updated_by: facts.updated_by.clone(),
        }
    }
}

/// A schema of fields.
pub(crate) fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

/// Of a union: changing if one input is.
pub(crate) fn joined_mode(modes: impl Iterator<Item = ChangeMode>) -> ChangeMode {
    if modes.into_iter().any(|m| m == ChangeMode::Changelog) { ChangeMode::Changelog } else { ChangeMode::Append }
}
