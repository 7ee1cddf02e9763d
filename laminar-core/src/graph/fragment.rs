//! Cuts a pipeline into fragments: the parts of its graph between exchanges.
//!
//! A fragment runs once per shard. Rows come in at its leaves (a source's splits, a relation's
//! changes, an exchange, or an earlier fragment of the same shard) and go out through its sends.
//! Invariant: fragments are ordered so that each reads only earlier ones; therefore barriers never
//! wait in a circle.

use super::spec::{OperatorSpec, PipelineSpec};
use crate::ids::ObjectId;

/// What of a source's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceSide {
    /// Those that the decoder made rows of.
    Rows,
    /// Those that it refused.
    DeadLetters,
}

/// Where a leaf's rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafFrom {
    /// The splits of a source that live in the shard; these columns in this order.
    Source {
        /// The source (or the table, for its own pushed rows).
        object: ObjectId,
        /// Needed columns.
        columns: Vec<usize>,
        /// Which rows.
        rows: SourceSide,
    },
    /// The output of another pipeline in the same shard; these columns in this order.
    Relation {
        /// The stream, view or table.
        object: ObjectId,
        /// Needed columns.
        columns: Vec<usize>,
    },
    /// An exchange: all shards send here.
    Exchange {
        /// Index among the pipeline's exchanges.
        exchange: usize,
    },
    /// An earlier fragment of the pipeline, in the same shard.
    Fragment {
        /// Index of that fragment.
        fragment: usize,
    },
}

/// A place where rows enter a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The node whose output enters here.
    pub node: usize,
    /// Where the rows come from.
    pub from: LeafFrom,
}

/// Rows that leave a fragment through an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The node whose output is sent.
    pub node: usize,
    /// Index among the pipeline's exchanges.
    pub exchange: usize,
    /// Columns whose hash names the shard; none = all rows go to one shard.
    pub keys: Vec<usize>,
}

/// Rows that leave a fragment to a later one of the same shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    /// The node whose output is handed on.
    pub node: usize,
    /// The later fragment.
    pub fragment: usize,
    /// The leaf there.
    pub leaf: usize,
}

/// One fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Nodes that run here, in topological order; without sources, relations and exchanges.
    pub nodes: Vec<usize>,
    /// Where rows come in.
    pub leaves: Vec<Leaf>,
    /// Where rows leave through exchanges.
    pub sends: Vec<Send>,
    /// Where rows leave to later fragments.
    pub hands: Vec<Hand>,
    /// The node that is the pipeline's output, if it is here (it may be a leaf's node).
    pub output: Option<usize>,
}

/// A pipeline in fragments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragments {
    /// In an order in which each reads only earlier ones.
    pub fragments: Vec<Fragment>,
    /// Number of exchanges.
    pub exchanges: usize,
}

/// Cuts a validated pipeline.
pub fn cut(pipeline: &PipelineSpec) -> Fragments {
    let levels = levels(pipeline);
    let parts = parts(pipeline, &levels);
    let mut made = Fragments { fragments: vec![Fragment::default(); parts.count], exchanges: 0 };
    for (index, node) in pipeline.nodes.iter().enumerate() {
        let home = parts.of[index];
        match &node.operator {
            OperatorSpec::Source { object, columns } => {
                let from = LeafFrom::Source { object: *object, columns: columns.clone(), rows: SourceSide::Rows };
                made.fragments[home].leaves.push(Leaf { node: index, from });
            }
            OperatorSpec::DeadLetters { object, columns } => {
                let from =
                    LeafFrom::Source { object: *object, columns: columns.clone(), rows: SourceSide::DeadLetters };
                made.fragments[home].leaves.push(Leaf { node: index, from });
            }
            OperatorSpec::Relation { object, columns } => {
                let from = LeafFrom::Relation { object: *object, columns: columns.clone() };
                made.fragments[home].leaves.push(Leaf { node: index, from });
            }
            OperatorSpec::Exchange { keys } => {
                let exchange = made.exchanges;
                made.exchanges += 1;
                made.fragments[home].leaves.push(Leaf { node: index, from: LeafFrom::Exchange { exchange } });
                let input = node.inputs[0];
                made.fragments[parts.of[input]].sends.push(Send { node: input, exchange, keys: keys.clone() });
            }
            _ => {
                made.fragments[home].nodes.push(index);
                for &input in &node.inputs {
                    hand_over(&mut made.fragments, &parts, input, home);
                }
            }
        }
    }
    if let Some(last) = pipeline.nodes.len().checked_sub(1) {
        made.fragments[parts.of[last]].output = Some(last);
    }
    made
}

/// Adds the hand-over of `input` to the fragment `to`, where they differ and it is not there yet.
fn hand_over(fragments: &mut [Fragment], parts: &Parts, input: usize, to: usize) {
    let from = parts.of[input];
    if from == to || fragments[to].leaves.iter().any(|leaf| leaf.node == input) {
        return;
    }
    let leaf = fragments[to].leaves.len();
    fragments[to].leaves.push(Leaf { node: input, from: LeafFrom::Fragment { fragment: from } });
    fragments[from].hands.push(Hand { node: input, fragment: to, leaf });
}

/// How many exchanges lie on the longest way from a source to each node.
fn levels(pipeline: &PipelineSpec) -> Vec<usize> {
    let mut levels = Vec::with_capacity(pipeline.nodes.len());
    for node in &pipeline.nodes {
        let below = node.inputs.iter().map(|&input| levels[input]).max().unwrap_or(0);
        levels.push(below + usize::from(matches!(node.operator, OperatorSpec::Exchange { .. })));
    }
    levels
}

struct Parts {
    of: Vec<usize>,
    count: usize,
}

/// Nodes of one level that are connected without an exchange form one part; parts are numbered by level.
fn parts(pipeline: &PipelineSpec, levels: &[usize]) -> Parts {
    let mut parent: Vec<usize> = (0..pipeline.nodes.len()).collect();
    fn root(parent: &[usize], mut node: usize) -> usize {
        while parent[node] != node {
            node = parent[node];
        }
        node
    }
    for (index, node) in pipeline.nodes.iter().enumerate() {
        if matches!(node.operator, OperatorSpec::Exchange { .. }) {
            continue;
        }
        for &input in &node.inputs {
            if levels[input] == levels[index] {
                let (a, b) = (root(&parent, input), root(&parent, index));
                parent[a.max(b)] = a.min(b);
            }
        }
    }
    let mut roots: Vec<usize> = (0..parent.len()).filter(|&node| parent[node] == node).collect();
    roots.sort_by_key(|&node| (levels[node], node));
    let of = (0..parent.len())
        .map(|node| {
            let root = root(&parent, node);
            roots.iter().position(|&r| r == root).unwrap_or_default()
        })
        .collect();
    Parts { of, count: roots.len() }
}

#[cfg(test)]
mod tests;
