//! CREATE and DROP: one statement is one deployment, a transaction block of them another.

use laminar_core::graph::{MemorySpec, ObjectSpec, PipelineKind};
use laminar_core::ids::ObjectId;
use laminar_sql::catalog::{CatalogEntry, CatalogRecord};
use laminar_sql::parse::{RelationKind, Statement, StatementKind};
use laminar_sql::plan::{Param, Planned};

use crate::ask::ask;
use crate::deploy::Change;
use crate::error::DbError;
use crate::response::Response;
use crate::session::Session;

/// Whether a statement changes the catalog; INSERT into a sink makes a query, and does so too.
pub fn defines(statement: &Statement) -> bool {
    matches!(
        &statement.kind,
        StatementKind::CreateSource(_)
            | StatementKind::CreateTable(_)
            | StatementKind::CreateQuery(_)
            | StatementKind::CreateSink(_)
            | StatementKind::Drop(_)
    )
}

/// Plans it against the newest catalog and applies it, or adds it to the open block.
pub async fn run(session: &mut Session, statement: &Statement, params: Vec<Param>) -> Result<Response, DbError> {
    let tag = tag_of(&statement.kind);
    let inner = session.inner.clone();
    if session.block().is_some() {
        let planned = session.plan(statement, params).await?;
        let present = inner.catalog();
        if let Some(block) = session.block() {
            block.define(planned, &present)?;
        }
        return Ok(Response::done(tag));
    }
    let _deploying = inner.deploying.lock().await;
    let planned = session.plan(statement, params).await?;
    apply(session, planned, tag).await
}

/// Gives a query another memory limit, durably; at once, also in a transaction block, as PAUSE and RESUME are.
pub async fn alter(session: &Session, object: ObjectId, memory: MemorySpec, sql: String) -> Result<Response, DbError> {
    let inner = &session.inner;
    let _deploying = inner.deploying.lock().await;
    let catalog = inner.catalog();
    let Some(entry) = catalog.by_id(object) else {
        return Err(DbError::new("LDB-4033", "42P01", "what was to be altered was dropped meanwhile"));
    };
    let mut entry = CatalogEntry { altered: Some(sql), ..CatalogEntry::clone(entry) };
    let mut tag = "ALTER STREAM";
    if let ObjectSpec::Pipeline(pipeline) = &mut entry.spec {
        pipeline.memory = memory;
        if pipeline.kind == PipelineKind::View {
            tag = "ALTER MATERIALIZED VIEW";
        }
    }
    let record = CatalogRecord::from_entry(&entry).to_json()?.into_bytes();
    ask(|reply| inner.engine.limit(object, memory, record, reply)).await?;
    inner.set_catalog(catalog.add(entry)?);
    Ok(Response::done(tag))
}

/// Applies a planned definition; the caller holds the deployment lock.
pub async fn apply(session: &Session, planned: Planned, tag: &str) -> Result<Response, DbError> {
    let mut change = Change::default();
    let catalog = change.take(planned, session.inner.catalog())?;
    let notices = change.apply(&session.inner, catalog).await?;
    Ok(Response::Done { tag: tag.to_owned(), notices })
}

fn tag_of(kind: &StatementKind) -> &'static str {
    match kind {
        StatementKind::CreateSource(_) => "CREATE SOURCE",
        StatementKind::CreateTable(_) => "CREATE TABLE",
        StatementKind::CreateQuery(create) if create.kind == RelationKind::View => "CREATE MATERIALIZED VIEW",
        StatementKind::CreateQuery(_) => "CREATE STREAM",
        StatementKind::CreateSink(_) => "CREATE SINK",
        StatementKind::Drop(drop) => match drop.kind {
            RelationKind::Source => "DROP SOURCE",
            RelationKind::Table => "DROP TABLE",
            RelationKind::Stream => "DROP STREAM",
            RelationKind::View => "DROP MATERIALIZED VIEW",
            RelationKind::Sink => "DROP SINK",
        },
        _ => "OK",
    }
}
