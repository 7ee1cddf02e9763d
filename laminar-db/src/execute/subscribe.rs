//! SUBSCRIBE: a snapshot, then every change, until the client goes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use laminar_core::data::StreamSchema;
use laminar_core::engine::Snapshot;
use laminar_core::expr::{CompileError, ExprCompiler};
use laminar_core::graph::ObjectSpec;
use laminar_sql::expression::DataFusionCompiler;
use laminar_sql::plan::SubscribePlan;

use crate::ask::ask;
use crate::error::{DbError, Notice};
use crate::response::{Response, SUBSCRIBE};
use crate::session::Session;
use crate::subscription::{Progress, Selection, channel};

/// How the rows are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As the rows of a query.
    Rows,
    /// As COPY data.
    Copy,
}

/// Begins a subscription.
pub async fn run(session: &mut Session, plan: SubscribePlan, form: Form) -> Result<Response, DbError> {
    if let Some(epoch) = plan.as_of {
        let message = format!("AS OF EPOCH {epoch}: past epochs are not kept");
        return Err(DbError::new("LDB-4061", "0A000", message)
            .with_hint("subscribe with the snapshot, which holds all changes before it"));
    }
    let Some(entry) = session.inner.catalog().by_id(plan.object).cloned() else {
        return Err(DbError::new("LDB-4062", "42P01", "the object of the SUBSCRIBE no longer exists"));
    };
    let selection = selection(entry.schema(), &plan).map_err(|e| DbError::new("LDB-4063", "0A000", e.message))?;
    let schema = selection.schema.clone();
    let first = if plan.snapshot && keeps_rows(&entry.spec) { Snapshot::First } else { Snapshot::None };
    let engine = session.inner.engine.clone();
    let limit = session.inner.options.subscription_limit;
    let (subscriber, queue) = channel(selection, limit, session.inner.subscriptions.clone());
    let subscribed = ask(|reply| engine.subscribe(plan.object, first, subscriber, reply)).await?;
    let batches = queue.rows(move || engine.unsubscribe(subscribed.id));
    Ok(match form {
        Form::Copy => Response::CopyOut { schema, batches, tag: SUBSCRIBE },
        Form::Rows => Response::Rows { schema, batches, tag: SUBSCRIBE, notices: vec![psql_notice()] },
    })
}

fn keeps_rows(spec: &ObjectSpec) -> bool {
    match spec {
        ObjectSpec::Table(_) => true,
        ObjectSpec::Pipeline(p) => p.kind == laminar_core::graph::PipelineKind::View,
        ObjectSpec::Source(_) | ObjectSpec::Sink(_) => false,
    }
}

fn psql_notice() -> Notice {
    let mut notice =
        Notice::new("the rows of a subscription never end; clients that print a result when it ends show nothing");
    notice.hint = Some("in psql: COPY (SUBSCRIBE …) TO STDOUT".to_owned());
    notice
}

fn selection(object: &StreamSchema, plan: &SubscribePlan) -> Result<Selection, CompileError> {
    let needed = plan.columns.iter().map(|i| object.columns.field(*i).clone()).collect::<Vec<_>>();
    let input: SchemaRef = Arc::new(Schema::new(needed));
    let compiler = DataFusionCompiler::default();
    let filter = plan.filter.as_ref().map(|f| compiler.compile(f, &input)).transpose()?;
    let mut fields =
        vec![Field::new("laminar_epoch", DataType::Int64, false), Field::new("laminar_weight", DataType::Int64, true)];
    let mut project = Vec::new();
    for (name, data_type, expr) in &plan.project {
        fields.push(Field::new(name, data_type.clone(), true));
        project.push(compiler.compile(expr, &input)?);
    }
    let progress = if plan.progress { Progress::EachEpoch } else { Progress::Silent };
    Ok(Selection {
        input,
        columns: plan.columns.clone(),
        filter,
        project,
        progress,
        schema: Arc::new(Schema::new(fields)),
    })
}
