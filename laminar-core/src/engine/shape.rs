//! The shape of a fragment: which operator feeds which, and where rows leave.
//!
//! Invariants: vertices are in topological order, leaves included; a shape is the same in all
//! shards and on all reactors.

use crate::graph::PipelineSpec;
use crate::graph::fragment::Fragment;
use crate::ids::OperatorId;

/// Where rows leave a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutletId {
    /// Index among the fragment's exchange sends.
    Send(usize),
    /// Index among the fragment's hand-overs.
    Hand(usize),
    /// The pipeline's output.
    Output,
}

/// One vertex: a leaf or an operator.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// The node of the pipeline.
    pub node: usize,
    /// Its operator; none = a leaf.
    pub operator: Option<OperatorId>,
    /// Number of inputs; 0 for a leaf.
    pub inputs: usize,
    /// Vertices that take its rows, and their input.
    pub users: Vec<(usize, usize)>,
    /// Where its rows leave.
    pub outlets: Vec<OutletId>,
}

/// The shape.
#[derive(Clone, Debug)]
pub struct ChainShape {
    /// In topological order.
    pub vertices: Vec<Vertex>,
    /// Vertex of each leaf.
    pub leaves: Vec<usize>,
    /// Vertex of each send.
    pub sends: Vec<usize>,
    /// Vertex of each hand-over.
    pub hands: Vec<usize>,
    /// Vertex of the pipeline's output, if it is here.
    pub output: Option<usize>,
}

impl ChainShape {
    /// The shape of a fragment.
    pub fn new(pipeline: &PipelineSpec, fragment: &Fragment) -> Self {
        let mut nodes: Vec<(usize, Option<usize>)> = fragment.nodes.iter().map(|&node| (node, None)).collect();
        nodes.extend(fragment.leaves.iter().enumerate().map(|(leaf, from)| (from.node, Some(leaf))));
        nodes.sort_by_key(|&(node, _)| node);
        let vertex_of = |node: usize| nodes.iter().position(|&(n, _)| n == node).unwrap_or_default();
        let mut vertices: Vec<Vertex> = nodes
            .iter()
            .map(|&(node, leaf)| Vertex {
                node,
                operator: leaf.is_none().then(|| pipeline.nodes[node].id),
                inputs: if leaf.is_none() { pipeline.nodes[node].inputs.len() } else { 0 },
                users: Vec::new(),
                outlets: Vec::new(),
            })
            .collect();
        for &node in &fragment.nodes {
            let user = vertex_of(node);
            for (input, &from) in pipeline.nodes[node].inputs.iter().enumerate() {
                vertices[vertex_of(from)].users.push((user, input));
            }
        }
        let mut leaves = vec![0; fragment.leaves.len()];
        for (vertex, &(_, leaf)) in nodes.iter().enumerate() {
            if let Some(leaf) = leaf {
                leaves[leaf] = vertex;
            }
        }
        let sends: Vec<usize> = fragment.sends.iter().map(|send| vertex_of(send.node)).collect();
        for (index, &vertex) in sends.iter().enumerate() {
            vertices[vertex].outlets.push(OutletId::Send(index));
        }
        let hands: Vec<usize> = fragment.hands.iter().map(|hand| vertex_of(hand.node)).collect();
        for (index, &vertex) in hands.iter().enumerate() {
            vertices[vertex].outlets.push(OutletId::Hand(index));
        }
        let output = fragment.output.map(vertex_of);
        if let Some(vertex) = output {
            vertices[vertex].outlets.push(OutletId::Output);
        }
        Self { vertices, leaves, sends, hands, output }
    }
}
