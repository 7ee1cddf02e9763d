//! A plan as the catalog keeps it: the object, and how this build lays out the state of each of its operators.
//!
//! Invariants: a start compares what was kept with what it would keep itself, and refuses, before any state is read as
//! something that it is not; what stands in the data directory is not changed by that.

use serde::{Deserialize, Serialize};

use super::EngineError;
use super::status::ObjectState;
use crate::control::table_pipeline;
use crate::data::StreamSchema;
use crate::graph::fragment::cut;
use crate::graph::{ObjectSpec, PipelineSpec};
use crate::operator::{Match, OperatorError, StateLayout, difference, layout};
use laminar_storage::manifest::CatalogEntry;

/// Version of the text that [`write`] makes; 1 was the object alone.
pub const PLAN_VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct KeptPlan {
    object: ObjectSpec,
    state: Vec<StateLayout>,
}

/// The state that an object's operators keep, in their order; none of sources and sinks.
///
/// # Errors
/// An operator that this build does not have.
pub fn layouts(object: &ObjectSpec) -> Result<Vec<StateLayout>, OperatorError> {
    match object {
        ObjectSpec::Source(_) | ObjectSpec::Sink(_) => Ok(Vec::new()),
        ObjectSpec::Table(table) => of_pipeline(&table_pipeline(table)),
        ObjectSpec::Pipeline(pipeline) => of_pipeline(pipeline),
    }
}

fn of_pipeline(pipeline: &PipelineSpec) -> Result<Vec<StateLayout>, OperatorError> {
    let mut layouts = Vec::new();
    for (fragment, part) in cut(pipeline).fragments.iter().enumerate() {
        for &node in &part.nodes {
            let node = &pipeline.nodes[node];
            let inputs: Vec<&StreamSchema> = node.inputs.iter().map(|&input| &pipeline.nodes[input].output).collect();
            layouts.extend(layout(node, &inputs, fragment as u8)?);
        }
    }
    Ok(layouts)
}

/// In what the state of an object differs from that of one which should take its place; none = it could be kept.
///
/// # Errors
/// An operator that this build does not have.
pub fn state_difference(there: &ObjectSpec, wanted: &ObjectSpec) -> Result<Option<String>, OperatorError> {
    Ok(difference(&layouts(there)?, &layouts(wanted)?, Match::Place))
}

/// The text of a plan.
///
/// # Errors
/// A defect of ours.
pub fn write(object: &ObjectSpec) -> Result<String, EngineError> {
    let kept = KeptPlan { object: object.clone(), state: layouts(object)? };
    serde_json::to_string(&kept).map_err(|error| EngineError::Internal(format!("a plan cannot be written: {error}")))
}

/// The objects of all entries with what is kept of their states, after the state that was kept for each was compared
/// with what this build keeps; of one that has failed no state is read.
///
/// # Errors
/// A text that is of a newer version or none that [`write`] makes; or they differ: the state cannot be read.
pub fn read_all<'a>(
    entries: impl Iterator<Item = &'a CatalogEntry>,
) -> Result<Vec<(ObjectSpec, ObjectState)>, EngineError> {
    let checked = |entry: &CatalogEntry| {
        let kept = parse(entry)?;
        let state = ObjectState::from_kept(&entry.settings);
        if !matches!(state, ObjectState::Failed(_)) {
            check(entry, &kept)?;
        }
        Ok((kept.object, state))
    };
    entries.map(checked).collect()
}

fn check(entry: &CatalogEntry, kept: &KeptPlan) -> Result<(), EngineError> {
    if entry.plan_version == 1 {
        // Made before layouts were kept; no build since then has changed one.
        return Ok(());
    }
    match difference(&kept.state, &layouts(&kept.object)?, Match::Number) {
        None => Ok(()),
        Some(difference) => Err(EngineError::OtherState { name: entry.name.clone(), difference }),
    }
}

fn parse(entry: &CatalogEntry) -> Result<KeptPlan, EngineError> {
    let unread = |why: String| EngineError::Start(format!("the plan of {} cannot be read: {why}", entry.name));
    match entry.plan_version {
        1 => serde_json::from_str(&entry.plan).map(|object| KeptPlan { object, state: Vec::new() }),
        PLAN_VERSION => serde_json::from_str(&entry.plan),
        newer => {
            return Err(unread(format!(
                "it has version {newer} and this build reads up to {PLAN_VERSION}; start the newer build again"
            )));
        }
    }
    .map_err(|error| unread(error.to_string()))
}
