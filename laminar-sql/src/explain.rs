//! EXPLAIN: pipelines in words.

use std::fmt::Write;

use laminar_core::connector::Registry;
use laminar_core::graph::{
    EmitMode, MemorySpec, NodeSpec, ObjectSpec, OperatorSpec, PipelineSpec, WindowKind, WindowSpec,
};

use crate::catalog::{Catalog, CatalogEntry};
use crate::error::SqlError;
use crate::parse::ExplainFormat;
use crate::spec_without_secrets;

/// The plan of an object, without the values of secret options.
///
/// # Errors
/// A defect: the plan does not serialise.
pub fn object(
    entry: &CatalogEntry,
    catalog: &Catalog,
    registry: &Registry,
    format: ExplainFormat,
) -> Result<String, SqlError> {
    if format == ExplainFormat::Json {
        let shown = spec_without_secrets(&entry.spec, registry);
        return serde_json::to_string_pretty(&shown).map_err(|e| SqlError::internal(e.to_string()));
    }
    let ObjectSpec::Pipeline(pipeline) = &entry.spec else {
        return Ok(format!("{} {}\n", crate::catalog::kind_of(&entry.spec).words(), entry.name()));
    };
    Ok(pipeline_text(pipeline, catalog))
}

fn pipeline_text(pipeline: &PipelineSpec, catalog: &Catalog) -> String {
    let mut text = String::new();
    if let Some(last) = pipeline.nodes.len().checked_sub(1) {
        write_node(&mut text, pipeline, catalog, last, 0);
        let output = &pipeline.nodes[last].output;
        let name = |i: &usize| output.columns.field(*i).name().as_str();
        let list = |columns: &[usize]| columns.iter().map(name).collect::<Vec<_>>().join(", ");
        let key = output.key.as_deref().map_or_else(|| "none (a multiset)".to_owned(), list);
        let _ = writeln!(text, "changes: {:?}, key: {key}, time attributes: {}", output.mode, list(&output.time));
        if pipeline.memory != MemorySpec::default() {
            let _ = writeln!(text, "{}", crate::plan::memory_text(pipeline.memory));
        }
    }
    text
}

fn write_node(text: &mut String, pipeline: &PipelineSpec, catalog: &Catalog, at: usize, depth: usize) {
    let node = &pipeline.nodes[at];
    let _ = writeln!(text, "{:indent$}{}", "", node_text(pipeline, node, catalog), indent = depth * 2);
    for input in &node.inputs {
        write_node(text, pipeline, catalog, *input, depth + 1);
    }
}

fn node_text(pipeline: &PipelineSpec, node: &NodeSpec, catalog: &Catalog) -> String {
    let object = |id| catalog.by_id(id).map_or_else(|| format!("#{id}"), |e| e.name().to_owned());
    let input = node.inputs.first().map(|i| &pipeline.nodes[*i].output.columns);
    let name = |i: &usize| input.map_or_else(|| format!("#{i}"), |s| s.field(*i).name().clone());
    match &node.operator {
        OperatorSpec::Source { object: id, .. } => format!("source {}: {}", object(*id), columns(node)),
        OperatorSpec::DeadLetters { object: id, .. } => {
            format!("dead letters of {}: {}", object(*id), columns(node))
        }
        OperatorSpec::Relation { object: id, .. } => format!("relation {}: {}", object(*id), columns(node)),
        OperatorSpec::Project { exprs } => {
            let fields = node.output.columns.fields().iter();
            let list: Vec<String> = exprs.iter().zip(fields).map(|(e, f)| format!("{e} AS {}", f.name())).collect();
            format!("project {}", list.join(", "))
        }
        OperatorSpec::Exchange { keys } if keys.is_empty() => "exchange to one shard".to_owned(),
        OperatorSpec::Exchange { keys } => {
            format!("exchange by {}", keys.iter().map(name).collect::<Vec<_>>().join(", "))
        }
        OperatorSpec::Aggregate { keys, window, emit, lateness, .. } => {
            let keys: Vec<String> = keys.iter().map(name).collect();
            let window = window.as_ref().map_or_else(String::new, |w| format!(" in {}", window_text(w)));
            let state =
                if window.is_empty() { "state: one row a group, unbounded" } else { "state: until the window closes" };
            format!(
                "aggregate by ({}){window}: {}; {}; {state}",
                keys.join(", "),
                columns(node),
                emit_text(*emit, *lateness)
            )
        }
        other => operator_text(other),
    }
}

fn columns(node: &NodeSpec) -> String {
    let names: Vec<&str> = node.output.columns.fields().iter().map(|f| f.name().as_str()).collect();
    names.join(", ")
}

/// One operator in a few words, without the names of its columns.
pub fn operator_text(operator: &OperatorSpec) -> String {
    match operator {
        OperatorSpec::Source { .. } => "source".to_owned(),
        OperatorSpec::DeadLetters { .. } => "dead letters".to_owned(),
        OperatorSpec::Relation { .. } => "relation".to_owned(),
        OperatorSpec::Filter { predicate } => format!("filter {predicate}"),
        OperatorSpec::Project { .. } => "project".to_owned(),
        OperatorSpec::Union => "union all".to_owned(),
        OperatorSpec::Exchange { .. } => "exchange".to_owned(),
        OperatorSpec::WindowAssign { window, lateness } => {
            format!("assign {}, lateness {}", window_text(window), crate::plan::show_micros(*lateness))
        }
        OperatorSpec::Aggregate { window: Some(window), .. } => format!("aggregate in {}", window_text(window)),
        OperatorSpec::Aggregate { window: None, .. } => "aggregate".to_owned(),
        OperatorSpec::Materialize { retention: Some(retention) } => {
            format!("materialize, retention {}", crate::plan::show_micros(*retention))
        }
        OperatorSpec::Materialize { retention: None } => "materialize".to_owned(),
        OperatorSpec::Output => "output".to_owned(),
    }
}

fn window_text(window: &WindowSpec) -> String {
    let micros = crate::plan::show_micros;
    match window.kind {
        WindowKind::Tumble { size, offset: 0 } => format!("tumble {}", micros(size)),
        WindowKind::Tumble { size, offset } => format!("tumble {} offset {}", micros(size), micros(offset)),
        WindowKind::Hop { slide, size, offset: 0 } => format!("hop {} by {}", micros(size), micros(slide)),
        WindowKind::Hop { slide, size, offset } => {
            format!("hop {} by {} offset {}", micros(size), micros(slide), micros(offset))
        }
    }
}

fn emit_text(emit: EmitMode, lateness: i64) -> String {
    let late =
        if lateness == 0 { String::new() } else { format!(" + {} lateness", crate::plan::show_micros(lateness)) };
    match emit {
        EmitMode::OnWindowClose => format!("emit on window close{late}"),
        EmitMode::Changes => format!("emit changes{late}"),
    }
}
