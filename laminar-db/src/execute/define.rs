//! CREATE, DROP and ALTER: one statement is one deployment, a transaction block of CREATEs and DROPs another.
//!
//! Invariant: a definition is planned against the catalog that it changes: under the deployment lock, or in a block.

use laminar_core::graph::ObjectSpec;
use laminar_sql::catalog::CatalogEntry;
use laminar_sql::parse::{RelationKind, Statement, StatementKind};
use laminar_sql::plan::{Param, Planned};

use crate::deploy::{self, Change};
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
            | StatementKind::AlterQuery(_)
    )
}

/// Plans it against the newest catalog and applies it, or adds it to the open block.
pub async fn run(session: &mut Session, statement: &Statement, params: Vec<Param>) -> Result<Response, DbError> {
    let tag = tag_of(&statement.kind);
    let inner = session.inner.clone();
    if session.block().is_some() {
        if matches!(statement.kind, StatementKind::AlterQuery(_)) {
            let message = format!("{tag} cannot run inside a transaction block");
            return Err(DbError::new("LDB-4033", "25001", message).with_hint("send it by itself: it holds at once"));
        }
        let planned = session.plan(statement, params).await?;
        let present = inner.catalog();
        if let Some(block) = session.block() {
            block.define(planned, &present)?;
        }
        return Ok(Response::done(tag));
    }
    let deploying = inner.deploying().await;
    let notices = match session.plan(statement, params).await? {
        Planned::AlterQuery { object, memory, sql } => {
            let catalog = inner.catalog();
            let entry = catalog.by_id(object).ok_or_else(|| catalog_moved(&tag))?;
            let mut entry = CatalogEntry { altered: Some(sql), ..CatalogEntry::clone(entry) };
            if let ObjectSpec::Pipeline(pipeline) = &mut entry.spec {
                pipeline.memory = memory;
            }
            deploy::limit(&inner, deploying, entry).await?;
            Vec::new()
        }
        planned => {
            let mut change = Change::default();
            let catalog = change.take(planned, inner.catalog())?;
            change.apply(&inner, deploying, catalog).await?
        }
    };
    Ok(Response::Done { tag, notices })
}

fn catalog_moved(tag: &str) -> DbError {
    DbError::new("LDB-4035", "XX000", format!("internal: the catalog changed under {tag}"))
}

fn tag_of(kind: &StatementKind) -> String {
    let tag = |verb: &str, kind: RelationKind| format!("{verb} {}", kind.words().to_uppercase());
    match kind {
        StatementKind::CreateSource(_) => tag("CREATE", RelationKind::Source),
        StatementKind::CreateTable(_) => tag("CREATE", RelationKind::Table),
        StatementKind::CreateQuery(create) => tag("CREATE", create.kind),
        StatementKind::CreateSink(_) => tag("CREATE", RelationKind::Sink),
        StatementKind::Drop(drop) => tag("DROP", drop.kind),
        StatementKind::AlterQuery(alter) => tag("ALTER", alter.kind),
        _ => "OK".to_owned(),
    }
}
