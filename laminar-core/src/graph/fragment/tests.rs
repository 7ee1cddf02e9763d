use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::data::{ChangeMode, StreamSchema};
use crate::graph::{NodeSpec, PipelineKind};
use crate::ids::OperatorId;

fn node(id: u64, operator: OperatorSpec, inputs: &[usize]) -> NodeSpec {
    let columns = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let output = StreamSchema { columns, mode: ChangeMode::Append, key: None, time: vec![] };
    NodeSpec { id: OperatorId(id), operator, inputs: inputs.to_vec(), output }
}

fn pipeline(nodes: Vec<NodeSpec>) -> PipelineSpec {
    PipelineSpec { id: ObjectId(9), name: "p".into(), kind: PipelineKind::Stream, nodes, memory: Default::default() }
}

fn source() -> OperatorSpec {
    OperatorSpec::Source { object: ObjectId(1), columns: vec![0] }
}

#[test]
fn a_chain_with_one_exchange_has_two_fragments() {
    let p = pipeline(vec![
        node(1, source(), &[]),
        node(2, OperatorSpec::Union, &[0]),
        node(3, OperatorSpec::Exchange { keys: vec![0] }, &[1]),
        node(4, OperatorSpec::Union, &[2]),
        node(5, OperatorSpec::Output, &[3]),
    ]);
    let cut = cut(&p);
    assert_eq!(cut.exchanges, 1);
    assert_eq!(cut.fragments.len(), 2);
    assert_eq!(cut.fragments[0].nodes, [1]);
    assert_eq!(cut.fragments[0].sends, [Send { node: 1, exchange: 0, keys: vec![0] }]);
    assert_eq!(cut.fragments[1].nodes, [3, 4]);
    assert_eq!(cut.fragments[1].leaves, [Leaf { node: 2, from: LeafFrom::Exchange { exchange: 0 } }]);
    assert_eq!(cut.fragments[1].output, Some(4));
}

#[test]
fn a_union_of_a_source_with_its_own_aggregate_does_not_wait_in_a_circle() {
    let p = pipeline(vec![
        node(1, source(), &[]),
        node(2, OperatorSpec::Union, &[0]),
        node(3, OperatorSpec::Exchange { keys: vec![0] }, &[1]),
        node(4, OperatorSpec::Union, &[1, 2]),
    ]);
    let cut = cut(&p);
    assert_eq!(cut.fragments.len(), 2);
    assert_eq!(cut.fragments[0].hands, [Hand { node: 1, fragment: 1, leaf: 1 }]);
    assert_eq!(cut.fragments[1].nodes, [3]);
    for (index, fragment) in cut.fragments.iter().enumerate() {
        for leaf in &fragment.leaves {
            if let LeafFrom::Fragment { fragment: from } = leaf.from {
                assert!(from < index);
            }
        }
    }
}

#[test]
fn a_pipeline_that_only_passes_a_source_on_has_its_output_at_the_leaf() {
    let cut = cut(&pipeline(vec![node(1, source(), &[]), node(2, OperatorSpec::Output, &[0])]));
    assert_eq!(cut.fragments.len(), 1);
    assert_eq!(cut.fragments[0].output, Some(1));
}
