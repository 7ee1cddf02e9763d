//! A query that ends soon when nobody wants it any more, whatever it computes.
//!
//! DataFusion's operators give way when their inputs have brought many batches. A join makes very many rows of few
//! batches, and one that finds no match makes none at all: it would compute to its end, on the thread that serves others.
//!
//! Invariants: a query computes in a task of its own, and a thread that computes serves nobody else. Each operator looks
//! at the flag before it hands a batch on, a join without keys before each piece of the pairs that it tries.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    execute_stream,
};
use futures::{Stream, StreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;

/// Set once nobody wants the query.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Sets the flag when it is dropped.
pub struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    /// Whoever holds this wants the query.
    pub fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }

    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(DataFusionError::Execution("nobody wants the query any more".to_owned()));
        }
        Ok(())
    }
}

/// The rows of a query as it computes them. Dropping it ends the query.
pub struct Computed {
    /// Batches, then `None`.
    rows: mpsc::Receiver<Option<Result<RecordBatch>>>,
    /// What the query looks at while somebody has this.
    _wanted: StopOnDrop,
}

impl Stream for Computed {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rows.poll_recv(context).map(|next| {
            next.unwrap_or_else(|| Some(Err(DataFusionError::Internal("the query ended by a panic".to_owned()))))
        })
    }
}

/// Starts a query; it computes one batch ahead. Needs tokio.
///
/// # Errors
/// The plan cannot be executed.
pub fn compute(plan: Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<Computed> {
    let stop = Stop::default();
    let mut stream = execute_stream(stoppable(plan, &stop)?, context)?;
    let (rows, taken) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let batch = Apart(&mut stream).next().await;
            let is_last = batch.is_none();
            if rows.send(batch).await.is_err() || is_last {
                return;
            }
        }
    });
    Ok(Computed { rows: taken, _wanted: stop.on_drop() })
}

/// A stream whose work does not hold up the other tasks of its thread, where there are several threads.
struct Apart<'a>(&'a mut SendableRecordBatchStream);

impl Stream for Apart<'_> {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| self.0.poll_next_unpin(context)),
            _ => self.0.poll_next_unpin(context),
        }
    }
}

/// The plan with a look at the flag wherever it may take long.
///
/// # Errors
/// A part of the plan cannot be put together again.
pub fn stoppable(plan: Arc<dyn ExecutionPlan>, stop: &Stop) -> Result<Arc<dyn ExecutionPlan>> {
    let done = plan.transform_up(|node| {
        let node = match node.downcast_ref::<NestedLoopJoinExec>() {
            Some(join) => with_stoppable_filter(join, stop)?.unwrap_or(node),
            None => node,
        };
        Ok(Transformed::yes(Arc::new(StoppableExec { input: node, stop: stop.clone() }) as Arc<dyn ExecutionPlan>))
    });
    Ok(done?.data)
}

fn with_stoppable_filter(join: &NestedLoopJoinExec, stop: &Stop) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = join.filter() else { return Ok(None) };
    let inner = Arc::clone(filter.expression());
    let expression = Arc::new(StoppableExpr { inner, stop: stop.clone() });
    let filter = JoinFilter::new(expression, filter.column_indices().to_vec(), Arc::clone(filter.schema()));
    let join = NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?;
    Ok(Some(Arc::new(join)))
}

/// An operator that looks at the flag before it hands a batch on.
#[derive(Debug)]
struct StoppableExec {
    input: Arc<dyn ExecutionPlan>,
    stop: Stop,
}

impl DisplayAs for StoppableExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoppableExec")
    }
}

impl ExecutionPlan for StoppableExec {
    fn name(&self) -> &'static str {
        "StoppableExec"
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.input.as_ref())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) if children.is_empty() => Ok(Arc::new(Self { input, stop: self.stop.clone() })),
            _ => Err(DataFusionError::Internal("StoppableExec has one input".to_owned())),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (batches, stop) = (self.input.execute(partition, context)?, self.stop.clone());
        let schema = batches.schema();
        let checked = batches.map(move |batch| stop.check().and(batch));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, checked)))
    }
}

/// A condition that looks at the flag before it is evaluated.
#[derive(Clone, Debug)]
struct StoppableExpr {
    inner: Arc<dyn PhysicalExpr>,
    stop: Stop,
}

impl fmt::Display for StoppableExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for StoppableExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for StoppableExpr {}

impl Hash for StoppableExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for StoppableExpr {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.stop.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(inner) if children.is_empty() => Ok(Arc::new(Self { inner, stop: self.stop.clone() })),
            _ => Err(DataFusionError::Internal("a condition has one expression".to_owned())),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::super::session::state;
    use super::*;

    async fn computed(sql: &str) -> Computed {
        let context = SessionContext::new_with_state(state().clone());
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        compute(plan, context.task_ctx()).unwrap()
    }

    async fn number(sql: &str) -> i64 {
        let mut rows = computed(sql).await;
        let batch = rows.next().await.unwrap().unwrap();
        assert!(rows.next().await.is_none(), "one row");
        batch.column(0).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap().value(0)
    }

    const THOUSAND: &str = "generate_series(1, 1000)";

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_computed_is_what_the_query_says() {
        assert_eq!(number(&format!("SELECT count(*) FROM {THOUSAND} a, {THOUSAND} b")).await, 1_000_000);
        let near = format!("SELECT count(*) FROM {THOUSAND} a JOIN {THOUSAND} b ON abs(a.value - b.value) < 2");
        assert_eq!(number(&near).await, 2_998);
        let failing = "SELECT 1 / (value - 3) FROM generate_series(1, 5)";
        let rows: Vec<_> = computed(failing).await.collect().await;
        assert!(rows.last().unwrap().is_err(), "{rows:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_query_that_nobody_wants_ends_whatever_it_computes_and_holds_up_nobody_meanwhile() {
        let endless = [
            // No batch ever leaves the join.
            format!(
                "SELECT count(*) FROM {THOUSAND} a, {THOUSAND} b, {THOUSAND} c, {THOUSAND} d WHERE a.value + b.value + c.value + d.value < 0"
            ),
            // Very many do, and none leaves the count.
            format!("SELECT count(*) FROM {THOUSAND} a, {THOUSAND} b, {THOUSAND} c, {THOUSAND} d"),
            // Very many leave, and nobody takes them.
            format!("SELECT a.value FROM {THOUSAND} a, {THOUSAND} b, {THOUSAND} c, {THOUSAND} d"),
        ];
        for sql in endless {
            let mut rows = computed(&sql).await;
            // The only other thread computes; this one is not waited for.
            let mut first = Box::pin(rows.next());
            for _ in 0..20 {
                let soon = tokio::time::timeout(std::time::Duration::from_millis(5), &mut first).await;
                if soon.is_ok() {
                    break;
                }
            }
            drop(first);
            let stop = rows._wanted.0.clone();
            drop(rows);
            // The plan and its stream hold the others.
            let began = std::time::Instant::now();
            while Arc::strong_count(&stop.0) > 1 {
                assert!(began.elapsed() < std::time::Duration::from_secs(60), "{sql} goes on");
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }
}
