//! One planned ad-hoc query and its execution.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use laminar_core::expr::Literal;

use super::relation::name_of;
use super::session::state;
use super::stoppable::{Stop, compute, stoppable};
use crate::SqlError;
use crate::expression::literal_to_scalar;

/// Rows of one relation, read by the caller; batches of the relation's whole schema.
pub type RelationRows = HashMap<String, Vec<RecordBatch>>;

/// The result as it is computed; dropping it cancels the query.
pub type QueryRows = BoxStream<'static, Result<RecordBatch, SqlError>>;

/// A relation that a query reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationUse {
    /// Its full name (`public.bars`).
    pub name: String,
    /// The columns it needs, ascending; the others may come as anything of their type.
    pub columns: Vec<usize>,
}

/// An ad-hoc query: planned, not yet run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdhocQuery {
    plan: LogicalPlan,
}

impl AdhocQuery {
    /// A query from an analysed plan whose table scans are [`RelationSource`]s.
    pub fn new(plan: LogicalPlan) -> Self {
        Self { plan }
    }

    /// The columns of its result.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    /// Types of `$1`, `$2`, …; text where the query does not tell.
    ///
    /// # Errors
    /// One parameter is used with two types.
    pub fn parameters(&self) -> Result<Vec<DataType>, SqlError> {
        let types: HashMap<String, Option<DataType>> = self.plan.get_parameter_types()?;
        let numbered: BTreeMap<usize, DataType> = types
            .into_iter()
            .filter_map(|(name, data_type)| {
                let number = name.trim_start_matches('$').parse::<usize>().ok()?;
                Some((number, data_type.unwrap_or(DataType::Utf8)))
            })
            .collect();
        let count = numbered.keys().next_back().copied().unwrap_or(0);
        Ok((1..=count).map(|n| numbered.get(&n).cloned().unwrap_or(DataType::Utf8)).collect())
    }

    /// The query with its parameters given, in order.
    ///
    /// # Errors
    /// A value that does not fit its type, or too few values.
    pub fn bind(self, values: &[(Literal, DataType)]) -> Result<Self, SqlError> {
        if values.is_empty() {
            return Ok(self);
        }
        let scalars = values
            .iter()
            .map(|(value, data_type)| literal_to_scalar(value, data_type))
            .collect::<Result<Vec<ScalarValue>, _>>()
            .map_err(|e| SqlError::internal(e.message))?;
        Ok(Self { plan: self.plan.with_param_values(ParamValues::from(scalars))? })
    }

    /// The relations it reads, each once, with the columns that it needs.
    ///
    /// # Errors
    /// The optimizer fails on the plan.
    pub fn relations(&self) -> Result<Vec<RelationUse>, SqlError> {
        let optimized = started().optimize(&self.plan)?;
        let mut uses: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        optimized.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(name) = name_of(&scan.source)
            {
                let all = || (0..scan.source.schema().fields().len()).collect();
                let columns = uses.entry(name).or_default();
                columns.extend(scan.projection.clone().unwrap_or_else(all));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(uses
            .into_iter()
            .map(|(name, mut columns)| {
                columns.sort_unstable();
                columns.dedup();
                RelationUse { name, columns }
            })
            .collect())
    }

    /// Runs it over the rows of its relations; a relation without an entry is empty. Needs tokio.
    ///
    /// # Errors
    /// The plan cannot be executed; later errors come through the stream.
    pub fn execute(self, rows: RelationRows) -> BoxFuture<'static, Result<QueryRows, SqlError>> {
        Box::pin(async move {
            let schema = self.schema();
            let (plan, context) = self.physical(&rows).await?;
            Ok(compute(plan, context)?.map(move |batch| as_told(&schema, batch?)).boxed() as QueryRows)
        })
    }

    /// The rows of a query that reads no relation, computed here and now.
    ///
    /// # Errors
    /// The plan cannot be executed, a value of it not computed, or it was stopped.
    pub fn constant_rows(self, stop: &Stop) -> Result<Vec<RecordBatch>, SqlError> {
        futures::executor::block_on(async move {
            let schema = self.schema();
            let (plan, context) = self.physical(&RelationRows::new()).await?;
            let batches = datafusion::physical_plan::collect(stoppable(plan, stop)?, context).await?;
            batches.into_iter().map(|batch| as_told(&schema, batch)).collect()
        })
    }

    async fn physical(self, rows: &RelationRows) -> Result<(Arc<dyn ExecutionPlan>, Arc<TaskContext>), SqlError> {
        let plan = with_rows(self.plan, rows)?;
        let state = started();
        Ok((state.create_physical_plan(&plan).await?, state.task_ctx()))
    }

    /// The logical plan as text.
    pub fn explain(&self) -> String {
        state().optimize(&self.plan).unwrap_or_else(|_| self.plan.clone()).display_indent().to_string()
    }
}

/// The batch under the names and types that the logical plan has told.
fn as_told(schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch, SqlError> {
    Ok(RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?)
}

/// The session state of a query that starts now: `now()` is one moment for all of it.
fn started() -> SessionState {
    let mut state = state().clone();
    state.mark_start_execution();
    state
}

/// The plan with each relation replaced by its rows.
fn with_rows(plan: LogicalPlan, rows: &RelationRows) -> Result<LogicalPlan, DataFusionError> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
        let Some(name) = name_of(&scan.source) else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        let batches = rows.get(&name).cloned().unwrap_or_default();
        let table = MemTable::try_new(scan.source.schema(), vec![batches])?;
        let source = provider_as_source(Arc::new(table));
        Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
    })?;
    Ok(replaced.data)
}
