//! From a statement to its answer: one arm a kind of plan, one file a family.

pub mod copy;
mod define;
mod query;
mod show;
mod subscribe;
mod system;
mod watermark;
mod write;

use laminar_core::engine::AdvanceWatermark;
use laminar_core::ids::CheckpointNumber;
use laminar_sql::adhoc::pg_catalog::SystemQuery;
use laminar_sql::parse::{Statement, StatementKind};
use laminar_sql::plan::{Param, Planned};

use crate::ask::ask;
use crate::error::DbError;
use crate::response::{Description, Response};
use crate::session::Session;

/// Executes one statement.
pub(crate) async fn statement(
    session: &mut Session,
    statement: &Statement,
    params: Vec<Param>,
) -> Result<Response, DbError> {
    if is_system(statement) {
        return system::run(session, statement, &params).await;
    }
    if define::defines(statement) {
        return define::run(session, statement, params).await;
    }
    let planned = session.plan(statement, params).await?;
    run(session, planned).await
}

/// Describes one statement.
pub(crate) async fn describe(session: &mut Session, statement: &Statement) -> Result<Description, DbError> {
    if is_system(statement) {
        return system::describe(session, statement).await;
    }
    query::describe(session, statement).await
}

fn is_system(statement: &Statement) -> bool {
    matches!(statement.kind, StatementKind::Query { .. }) && SystemQuery::concerns(&statement.text)
}

async fn run(session: &mut Session, planned: Planned) -> Result<Response, DbError> {
    match planned {
        planned @ (Planned::Create { .. }
        | Planned::Drop { .. }
        | Planned::Nothing { .. }
        | Planned::AlterQuery { .. }) => {
            Err(DbError::new("LDB-4050", "XX000", format!("internal: a definition outside its path: {planned:?}")))
        }
        Planned::Insert { target, rows, on_conflict } => write::insert(session, target, rows, on_conflict).await,
        Planned::InsertQuery { target, query, on_conflict } => {
            write::insert_query(session, target, *query, on_conflict).await
        }
        Planned::CopyIn { target, columns, format } => copy::copy_in(session, target, &columns, &format),
        Planned::Query(query) => query::run(session, *query).await,
        Planned::CopyOut { query, .. } => query::copy_out(session, *query).await,
        Planned::Peek { object, .. } => Err(query::no_peek(session, object)),
        Planned::Subscribe(plan) => subscribe::run(session, plan, subscribe::Form::Rows).await,
        Planned::CopyOutSubscribe { subscribe, .. } => subscribe::run(session, subscribe, subscribe::Form::Copy).await,
        Planned::Rows(rows) => Ok(show::rows(rows)),
        Planned::Objects(rows) => show::objects(session, rows).await,
        Planned::Pipelines(rows) => show::pipelines(session, rows).await,
        Planned::Checkpoints => show::checkpoints(session).await,
        Planned::ExplainWatermark { sources, pipelines } => watermark::explain(session, &sources, &pipelines).await,
        Planned::Transaction(what) => session.transact(what).await,
        Planned::Set { name, value } => {
            session.settings.set(&name, value.as_deref())?;
            Ok(Response::done("SET"))
        }
        Planned::ResetAll => {
            session.settings = laminar_sql::plan::SessionSettings::default();
            Ok(Response::done("RESET"))
        }
        Planned::Deallocate { .. } => Ok(Response::done("DEALLOCATE")),
        Planned::Checkpoint => {
            let CheckpointNumber(_) = ask(|reply| session.inner.engine.checkpoint(reply)).await?;
            Ok(Response::done("CHECKPOINT"))
        }
        Planned::Flush => {
            let epoch = ask(|reply| session.inner.engine.flush(reply)).await?;
            session.last_write = session.last_write.max(Some(epoch));
            Ok(Response::done("FLUSH"))
        }
        Planned::AdvanceWatermark { source, to } => {
            let advance = AdvanceWatermark { source, to };
            ask(|reply| session.inner.engine.advance_watermark(advance, reply)).await?;
            let epoch = ask(|reply| session.inner.engine.flush(reply)).await?;
            session.last_write = session.last_write.max(Some(epoch));
            Ok(Response::done("ADVANCE WATERMARK"))
        }
        Planned::Pause { object } => {
            session.inner.pause(object).await?;
            Ok(Response::done("PAUSE"))
        }
        Planned::Resume { object } => {
            session.inner.resume(object).await?;
            Ok(Response::done("RESUME"))
        }
    }
}
