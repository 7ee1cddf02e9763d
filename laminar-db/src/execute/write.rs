//! INSERT: rows of a client into a table or push source; answered when they are durable.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt;
use laminar_core::engine::{Insert, OnConflict};
use laminar_core::ids::ObjectId;
use laminar_sql::adhoc::AdhocQuery;
use laminar_sql::parse::Conflict;

use super::query;
use crate::ask::ask;
use crate::error::{DbError, Notice};
use crate::record;
use crate::response::Response;
use crate::session::Session;

/// Inserts rows, or keeps them in the open block.
pub async fn insert(
    session: &mut Session,
    target: ObjectId,
    rows: RecordBatch,
    on_conflict: Conflict,
) -> Result<Response, DbError> {
    let on_conflict = match on_conflict {
        Conflict::Error => OnConflict::Error,
        Conflict::Nothing => OnConflict::Keep,
        Conflict::Replace => OnConflict::Replace,
    };
    let count = rows.num_rows();
    if let Some(block) = session.block() {
        block.insert(target, rows, on_conflict)?;
        return Ok(Response::done(format!("INSERT 0 {count}")));
    }
    record::fits(record::bytes(&rows))?;
    let insert = Insert { object: target, rows: vec![rows], on_conflict, request: None };
    let inserted = ask(|reply| session.inner.engine.insert(insert, reply)).await?;
    session.inner.wrote(inserted.epoch);
    session.last_write = session.last_write.max(Some(inserted.epoch));
    let notices = if inserted.read { Vec::new() } else { unread(session, target) };
    Ok(Response::Done { tag: format!("INSERT 0 {}", inserted.rows), notices })
}

/// A push source keeps nothing: rows that no query reads are gone, and the user is told.
fn unread(session: &Session, target: ObjectId) -> Vec<Notice> {
    let catalog = session.inner.catalog();
    let is_source =
        |e: &laminar_sql::catalog::CatalogEntry| matches!(e.spec, laminar_core::graph::ObjectSpec::Source(_));
    catalog.by_id(target).filter(|e| is_source(e)).map_or_else(Vec::new, |entry| {
        let mut notice = Notice::new(format!("no query reads \"{}\": the rows are counted and not kept", entry.name()));
        notice.hint = Some("create a materialized view over it first".to_owned());
        vec![notice]
    })
}

/// Inserts the result of a query.
pub async fn insert_query(
    session: &mut Session,
    target: ObjectId,
    query: AdhocQuery,
    on_conflict: Conflict,
) -> Result<Response, DbError> {
    let schema = match session.inner.catalog().by_id(target) {
        Some(entry) => entry.schema().columns.clone(),
        None => return Err(DbError::new("LDB-4051", "42P01", "the target of the INSERT no longer exists")),
    };
    let mut found = query::rows(session, query).await?;
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = found.try_next().await? {
        bytes += record::bytes(&batch);
        record::fits(bytes)?;
        batches.push(RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(|e| not_null(&e))?);
    }
    let rows = concat_batches(&schema, &batches).map_err(|e| not_null(&e))?;
    insert(session, target, rows, on_conflict).await
}

fn not_null(error: &arrow::error::ArrowError) -> DbError {
    DbError::new("LDB-4052", "23502", format!("the query's rows do not fit the target: {error}"))
}
