//! SELECT over views and tables: rows read from the reactors at one epoch, then DataFusion.

use futures::StreamExt;
use laminar_core::engine::{ReadLevel, ReadObject, ReadRequest};
use laminar_core::ids::ObjectId;
use laminar_sql::adhoc::{AdhocQuery, RelationRows};
use laminar_sql::parse::Statement;

use crate::ask::ask;
use crate::error::DbError;
use crate::response::{Description, Response, RowStream};
use crate::session::Session;

/// Runs a query and answers its rows.
pub async fn run(session: &mut Session, query: AdhocQuery) -> Result<Response, DbError> {
    let schema = query.schema();
    let batches = rows(session, query).await?;
    Ok(Response::Rows { schema, batches, tag: "SELECT", notices: Vec::new() })
}

/// Runs a query whose rows are written as COPY data.
pub async fn copy_out(session: &mut Session, query: AdhocQuery) -> Result<Response, DbError> {
    let schema = query.schema();
    let batches = rows(session, query).await?;
    Ok(Response::CopyOut { schema, batches, tag: "SELECT" })
}

/// The rows of a query.
pub async fn rows(session: &mut Session, query: AdhocQuery) -> Result<RowStream, DbError> {
    let catalog = session.inner.catalog();
    let mut names = Vec::new();
    let mut objects = Vec::new();
    for relation in query.relations()? {
        let name = relation.name.strip_prefix("public.").unwrap_or(&relation.name);
        let object = catalog.require(name)?.id();
        if session.block().is_some_and(|block| block.wrote(object)) {
            let message = format!("\"{name}\" has uncommitted rows of this transaction and cannot be read in it");
            return Err(DbError::new("LDB-4058", "0A000", message).with_hint("commit first"));
        }
        names.push(relation.name);
        objects.push(ReadObject { object, columns: None });
    }
    let mut inputs = RelationRows::new();
    if !objects.is_empty() {
        let request = ReadRequest { objects, level: level(session), after: read_after(session) };
        let read = ask(|reply| session.inner.engine.read(request, reply)).await?;
        inputs.extend(names.into_iter().zip(read.objects));
    }
    let rows = query.execute(inputs).await?;
    Ok(rows.map(|batch| batch.map_err(DbError::from)).boxed())
}

fn level(session: &Session) -> ReadLevel {
    match session.settings.get("read").as_deref() {
        Some("latest") => ReadLevel::Latest,
        Some("durable") => ReadLevel::Durable,
        _ => ReadLevel::Consistent,
    }
}

/// A read sees every acknowledged write, unless its session said otherwise.
fn read_after(session: &Session) -> Option<laminar_core::ids::Epoch> {
    let off = session.settings.get("read_after_write").is_some_and(|v| v == "off");
    if off { None } else { session.last_write.max(session.inner.last_write()) }
}

/// What a statement takes and gives.
pub async fn describe(session: &mut Session, statement: &Statement) -> Result<Description, DbError> {
    let (catalog, statement, settings) = (session.inner.catalog(), statement.clone(), session.settings.clone());
    let described = session.inner.plan(move |planner| Ok(planner.describe(&statement, &catalog, &settings)?)).await?;
    Ok(Description { parameters: described.parameters, columns: described.columns })
}

/// Sources and streams keep nothing.
pub fn no_peek(session: &Session, object: ObjectId) -> DbError {
    let catalog = session.inner.catalog();
    let name = catalog.by_id(object).map_or("the object", |e| e.name());
    DbError::new("LDB-4059", "0A000", format!("\"{name}\" keeps no rows, so a SELECT has nothing to read"))
        .with_hint(format!("SUBSCRIBE {name} shows rows as they come; CREATE MATERIALIZED VIEW keeps them"))
}
