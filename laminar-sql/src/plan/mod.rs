//! Planning: from parsed statements to what the database does.
//!
//! Invariant: planning reads a catalog snapshot and changes nothing; the caller applies the result
//! and validates the catalog's version again when it does.

mod admit;
mod admit_expr;
mod bind;
mod clause;
mod constant;
mod describe;
mod drop;
mod insert;
mod interval;
mod logical;
mod lower;
mod memory;
mod planned;
mod provider;
mod query;
mod select;
mod settings;
mod show;
mod sink;
mod source;
mod subscribe;
mod table;
#[cfg(test)]
mod tests;
mod types;
mod window_call;
mod window_node;

use std::sync::Arc;

use laminar_core::connector::Registry;
use laminar_core::ids::ObjectId;

pub use clause::{Claim, ClauseId};
pub use describe::{Described, checkpoints_schema, objects_schema, pipelines_schema, watermark_schema};
pub(crate) use interval::show_micros;
pub(crate) use memory::options_text as memory_text;
pub use planned::{Param, Planned, SubscribePlan, Transaction};
pub(crate) use provider::Relation;
pub use settings::SessionSettings;
pub use types::sql_type;
pub(crate) use window_node::WindowNode;

use crate::adhoc::Stop;
use crate::catalog::Catalog;
use crate::error::SqlError;
use crate::parse::{Location, Statement, StatementKind};

/// Plans statements against the connectors of this binary. Cheap to clone; synchronous.
#[derive(Clone)]
pub struct Planner {
    registry: Arc<Registry>,
    stop: Stop,
}

/// What planning one statement reads.
pub(crate) struct Context<'a> {
    pub registry: &'a Registry,
    pub catalog: &'a Catalog,
    pub settings: &'a SessionSettings,
    pub params: &'a [Param],
    pub sql: &'a str,
    pub stop: &'a Stop,
}

impl Planner {
    /// A planner for the connectors and formats of a registry.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, stop: Stop::default() }
    }

    /// The same, which computes no constant rows any more once it is told to stop.
    #[must_use]
    pub fn until(&self, stop: Stop) -> Self {
        Self { stop, ..self.clone() }
    }

    /// The connectors and formats.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Plans one statement.
    ///
    /// # Errors
    /// Whatever is wrong with it, with the place in the text that was parsed.
    pub fn plan(
        &self,
        statement: &Statement,
        catalog: &Catalog,
        settings: &SessionSettings,
        params: &[Param],
    ) -> Result<Planned, SqlError> {
        let context =
            Context { registry: &self.registry, catalog, settings, params, sql: &statement.text, stop: &self.stop };
        context.plan(&statement.kind).map_err(|e| statement.place(e))
    }

    /// Where rows go that come without a statement: a table or push source, and the places of the named columns, or
    /// of all.
    ///
    /// # Errors
    /// It takes no rows, or has no such column.
    pub fn copy_target(
        &self,
        catalog: &Catalog,
        target: &str,
        columns: &[String],
    ) -> Result<(ObjectId, Vec<usize>), SqlError> {
        let settings = SessionSettings::default();
        let context =
            Context { registry: &self.registry, catalog, settings: &settings, params: &[], sql: "", stop: &self.stop };
        let nowhere = Location { line: 0, column: 0 };
        let columns: Vec<_> = columns.iter().map(|name| (name.clone(), nowhere)).collect();
        context.copy_target(target, &columns, nowhere)
    }
}

impl Context<'_> {
    fn plan(&self, kind: &StatementKind) -> Result<Planned, SqlError> {
        match kind {
            StatementKind::CreateSource(create) => self.create_source(create),
            StatementKind::CreateTable(create) => self.create_table(create),
            StatementKind::CreateQuery(create) => self.create_query(create),
            StatementKind::CreateSink(create) => self.create_sink(create),
            StatementKind::Drop(drop) => self.drop_objects(drop),
            StatementKind::AlterQuery(alter) => self.alter_query(alter),
            StatementKind::Insert(insert) => self.insert(insert),
            StatementKind::CopyIn(copy) => self.copy_in(copy),
            StatementKind::CopySubscribe { subscribe, format } => self.copy_subscribe(subscribe, format),
            StatementKind::CopyQuery { query, format } => self.copy_query(query, format),
            StatementKind::Query { query, tail } => self.select(query, tail),
            StatementKind::Subscribe(subscribe) => self.subscribe(subscribe),
            StatementKind::Show(show) => self.show(show),
            StatementKind::Describe { object, at } => self.describe(object).map_err(|e| e.at(*at)),
            StatementKind::Explain(explain) => self.explain(explain),
            StatementKind::Begin => Ok(Planned::Transaction(Transaction::Begin)),
            StatementKind::Commit => Ok(Planned::Transaction(Transaction::Commit)),
            StatementKind::Rollback => Ok(Planned::Transaction(Transaction::Rollback)),
            StatementKind::Savepoint(name) => Ok(Planned::Transaction(Transaction::Savepoint(name.clone()))),
            StatementKind::Release(name) => Ok(Planned::Transaction(Transaction::Release(name.clone()))),
            StatementKind::RollbackTo(name) => Ok(Planned::Transaction(Transaction::RollbackTo(name.clone()))),
            StatementKind::Set { name, value, at } => self.set(name, value.as_deref()).map_err(|e| e.at(*at)),
            StatementKind::Reset { name, at } => self.reset(name.as_deref()).map_err(|e| e.at(*at)),
            StatementKind::Deallocate { name } => Ok(Planned::Deallocate { name: name.clone() }),
            StatementKind::Checkpoint => Ok(Planned::Checkpoint),
            StatementKind::Flush => Ok(Planned::Flush),
            StatementKind::AdvanceWatermark(advance) => self.advance_watermark(advance),
            StatementKind::Pause { object, at } => {
                self.pipeline(object).map(|object| Planned::Pause { object }).map_err(|e| e.at(*at))
            }
            StatementKind::Resume { object, at } => {
                self.pipeline(object).map(|object| Planned::Resume { object }).map_err(|e| e.at(*at))
            }
        }
    }
}
