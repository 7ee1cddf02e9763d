//! Queries over `pg_catalog` and `information_schema`, and functions about the server.

use std::sync::Arc;

use futures::StreamExt;
use laminar_core::graph::{ObjectSpec, PipelineKind};
use laminar_sql::adhoc::pg_catalog::{Column, Relation, RelationKind, Setting, Snapshot, SystemError, SystemQuery};
use laminar_sql::catalog::{Catalog, CatalogEntry};
use laminar_sql::expression::{immutable_functions, literal_to_scalar};
use laminar_sql::parse::Statement;
use laminar_sql::plan::Param;

use crate::error::DbError;
use crate::response::{Description, Response};
use crate::session::Session;

const VERSION: &str = concat!("PostgreSQL 15.0 (LaminarDB ", env!("CARGO_PKG_VERSION"), ")");

/// Runs one.
pub async fn run(session: &Session, statement: &Statement, params: &[Param]) -> Result<Response, DbError> {
    let query = plan(session, statement).await?;
    let values: Vec<Option<String>> = params
        .iter()
        .map(|p| match p {
            Param::Null => None,
            Param::Text(text) => Some(text.clone()),
            Param::Value(value, data_type) => {
                literal_to_scalar(value, data_type).ok().filter(|v| !v.is_null()).map(|v| v.to_string())
            }
        })
        .collect();
    let query = query.bind(&values)?;
    let schema = query.schema();
    let rows = query.execute().await?;
    let batches = rows.map(|batch| batch.map_err(DbError::from)).boxed();
    Ok(Response::Rows { schema, batches, tag: "SELECT", notices: Vec::new() })
}

/// Describes one.
pub async fn describe(session: &Session, statement: &Statement) -> Result<Description, DbError> {
    let query = plan(session, statement).await?;
    Ok(Description { parameters: query.parameters()?, columns: Some(query.schema()) })
}

async fn plan(session: &Session, statement: &Statement) -> Result<SystemQuery, DbError> {
    Ok(SystemQuery::plan(&statement.text, Arc::new(snapshot(session))).await?)
}

fn snapshot(session: &Session) -> Snapshot {
    let catalog: Catalog = session.inner.catalog();
    let settings = session.settings.all().into_iter();
    Snapshot {
        user: session.user.clone(),
        version: VERSION.to_owned(),
        backend: i32::try_from(std::process::id()).unwrap_or(1),
        relations: catalog.iter().filter(|e| e.belongs_to.is_none()).map(|e| relation(e)).collect(),
        settings: settings.map(|(name, value, description)| Setting { name, value, description }).collect(),
        functions: immutable_functions().map(|(name, _)| (name.to_owned(), 'f')).collect(),
    }
}

fn relation(entry: &CatalogEntry) -> Relation {
    let schema = entry.schema();
    let (kind, connector, definition) = match &entry.spec {
        ObjectSpec::Source(source) => (RelationKind::Source, source.connector.clone(), None),
        ObjectSpec::Table(_) => (RelationKind::Table, None, None),
        ObjectSpec::Sink(sink) => (RelationKind::Sink, Some(sink.connector.clone()), None),
        ObjectSpec::Pipeline(pipeline) => match pipeline.kind {
            PipelineKind::Stream => (RelationKind::Stream, None, Some(entry.definition())),
            PipelineKind::View => (RelationKind::MaterializedView, None, Some(entry.definition())),
        },
    };
    Relation {
        // The first objects of a PostgreSQL catalog that belong to users have numbers from 16384 on.
        oid: 16_384 + u32::try_from(entry.id().0).unwrap_or(0),
        name: entry.name().to_owned(),
        kind,
        columns: schema
            .columns
            .fields()
            .iter()
            .map(|f| Column { name: f.name().clone(), data_type: f.data_type().clone(), nullable: f.is_nullable() })
            .collect(),
        primary_key: schema.key.clone().unwrap_or_default(),
        connector,
        definition,
        comment: None,
    }
}

impl From<SystemError> for DbError {
    fn from(error: SystemError) -> Self {
        Self::new("LDB-4060", error.sqlstate, error.message)
    }
}
