//! CREATE STREAM and CREATE MATERIALIZED VIEW; also the query inside CREATE SINK … AS.

use datafusion::sql::sqlparser::ast::Query;
use laminar_core::graph::{EmitMode, MemorySpec, ObjectSpec, PipelineKind, PipelineSpec};
use laminar_core::ids::ObjectId;

use super::admit::{Purpose, admit};
use super::clause::ClauseId;
use super::interval::{micros, text_micros};
use super::provider::{Provider, config};
use super::{Context, Planned, bind, logical, lower, memory};
use crate::catalog::{CatalogEntry, kind_of};
use crate::compile::{Builder, Request, compile};
use crate::error::{Kind, SqlError};
use crate::parse::{CreateQuery, EmitClause, Existing, Given, Location, QueryTail, RelationKind};
use std::sync::Arc;

/// What can stand in the WITH of a query.
pub(super) const QUERY_OPTIONS: &[&str] = &["retention", "memory_limit", "memory_policy"];

/// The WITH of a query.
#[derive(Clone, Copy, Default)]
pub(super) struct QueryOptions {
    /// Microseconds.
    retention: Option<i64>,
    /// None = nothing is said.
    memory: Option<MemorySpec>,
}

/// The id to use, and what goes away first.
pub(super) struct Place {
    pub id: ObjectId,
    pub replaces: Vec<ObjectId>,
    pub notices: Vec<String>,
}

impl Context<'_> {
    /// Finds the place of a new object; none = it exists and stays.
    pub(super) fn place(
        &self,
        name: &str,
        existing: Existing,
        kind: RelationKind,
        at: Location,
    ) -> Result<Option<Place>, SqlError> {
        let next = self.catalog.next_id();
        let Some(old) = self.catalog.get(name) else {
            return Ok(Some(Place { id: next, replaces: Vec::new(), notices: Vec::new() }));
        };
        let old_kind = kind_of(&old.spec);
        match existing {
            Existing::Keep => Ok(None),
            Existing::Refuse => {
                Err(SqlError::new(Kind::Duplicate, format!("{} \"{name}\" already exists", old_kind.words()))
                    .hint("choose another name, or write IF NOT EXISTS or OR REPLACE")
                    .at(at))
            }
            Existing::Replace if old_kind != kind => Err(SqlError::new(
                Kind::WrongObjectKind,
                format!("\"{name}\" is a {}, not a {}", old_kind.words(), kind.words()),
            )
            .hint("DROP it first")
            .at(at)),
            Existing::Replace => {
                let users: Vec<_> =
                    self.catalog.users(old.id()).into_iter().filter(|u| u.belongs_to != Some(old.id())).collect();
                if !users.is_empty() {
                    let names: Vec<&str> = users.iter().map(|u| u.name()).collect();
                    return Err(SqlError::new(
                        Kind::Dependents,
                        format!("cannot replace \"{name}\": others depend on it"),
                    )
                    .detail(format!("dependent objects: {}", names.join(", ")))
                    .hint("drop them first, or create the new query under another name")
                    .at(at));
                }
                let mut replaces = vec![old.id()];
                replaces.extend(self.catalog.iter().filter(|e| e.belongs_to == Some(old.id())).map(|e| e.id()));
                Ok(Some(Place {
                    id: next,
                    replaces,
                    notices: vec![format!("\"{name}\" starts anew with empty state")],
                }))
            }
        }
    }

    pub(super) fn create_query(&self, create: &CreateQuery) -> Result<Planned, SqlError> {
        let CreateQuery { kind, name, existing, columns, options, query, tail, at } = create;
        let tag = if *kind == RelationKind::View { "CREATE MATERIALIZED VIEW" } else { "CREATE STREAM" };
        let Some(place) = self.place(name, *existing, *kind, *at)? else {
            return Ok(Planned::Nothing { tag, notices: vec![format!("\"{name}\" already exists, skipping")] });
        };
        let kind = if *kind == RelationKind::View { PipelineKind::View } else { PipelineKind::Stream };
        let Place { id, replaces, mut notices } = place;
        let options = query_options(kind, options)?;
        let (entry, mut more) = self.pipeline_entry(id, name, kind, query, tail, columns, options)?;
        notices.append(&mut more);
        if entry.schema().time.is_empty() && replaces.contains(&id) {
            return Err(SqlError::internal("an object replaces itself"));
        }
        Ok(Planned::Create { objects: vec![entry], replaces, notices })
    }

    /// The entry of a continuous query, with notices.
    #[expect(clippy::too_many_arguments, reason = "the parts of one statement")]
    pub(super) fn pipeline_entry(
        &self,
        id: ObjectId,
        name: &str,
        kind: PipelineKind,
        query: &Query,
        tail: &QueryTail,
        names: &[String],
        QueryOptions { retention, memory }: QueryOptions,
    ) -> Result<(CatalogEntry, Vec<String>), SqlError> {
        let lateness = match &tail.lateness {
            Some((e, at)) => micros(e).map_err(|e| e.at(*at))?,
            None => 0,
        };
        if lateness < 0 {
            return Err(SqlError::new(Kind::InvalidDefinition, "ALLOW LATENESS takes a positive interval"));
        }
        let names = names.to_vec();
        let request = Request { object: id, kind, emit: EmitMode::Changes, lateness, retention, memory, names };
        let built = self.continuous(query, tail, request)?;
        let Builder { nodes, facts: _, claims, notices, depends_on, functions, memory } = built;
        let spec = PipelineSpec { id, name: name.to_owned(), kind, nodes, memory };
        let entry = CatalogEntry {
            spec: ObjectSpec::Pipeline(spec),
            sql: self.sql.to_owned(),
            depends_on,
            belongs_to: None,
            functions,
            coverage: claims,
            time_zone: self.settings.time_zone().to_owned(),
            altered: None,
        };
        Ok((entry, notices))
    }

    fn continuous(&self, query: &Query, tail: &QueryTail, mut request: Request) -> Result<Builder, SqlError> {
        let mut clauses = admit(query, Purpose::Continuous)?;
        let mut lowered = query.clone();
        lower::lower(&mut lowered, self.catalog, &mut clauses)?;
        let config = Arc::new(config(self.settings.time_zone()));
        let provider = Provider { catalog: self.catalog, config: config.clone() };
        let plan = logical::coerced(&lowered, &provider)?;
        logical::no_parameters(&plan)?;
        logical::only_immutable(&plan)?;
        let plan = logical::optimise(bind::bind(plan)?, &config)?;
        if let Some((_, at)) = &tail.lateness {
            clauses.meet(ClauseId::Lateness, *at);
        }
        if request.retention.is_some() {
            clauses.meet(ClauseId::Retention, Location { line: 0, column: 0 });
        }
        if request.memory.is_some() {
            clauses.meet(ClauseId::Memory, Location { line: 0, column: 0 });
        }
        if !request.names.is_empty() {
            clauses.meet(ClauseId::ColumnNames, Location { line: 0, column: 0 });
        }
        if let Some((_, at)) = &tail.emit {
            clauses.meet(ClauseId::Emit, *at);
        }
        let mut built = match &tail.emit {
            Some((EmitClause::OnWindowClose, at)) => {
                request.emit = EmitMode::OnWindowClose;
                if !clauses.has(ClauseId::Window) && !clauses.has(ClauseId::GroupBy) && !clauses.has(ClauseId::Distinct)
                {
                    return Err(SqlError::new(
                        Kind::InvalidDefinition,
                        "EMIT ON WINDOW CLOSE needs a window in GROUP BY",
                    )
                    .hint("leave EMIT out: rows leave as they come")
                    .at(*at));
                }
                compile(&plan, &request).map_err(|e| e.at(*at))?
            }
            Some((EmitClause::OnUpdate | EmitClause::Changes, _)) => compile(&plan, &request)?,
            None if request.kind == PipelineKind::View => compile(&plan, &request)?,
            None => {
                // A stream over closable windows emits each window once; else its changes.
                let close = Request { emit: EmitMode::OnWindowClose, ..request.clone() };
                match compile(&plan, &close) {
                    Ok(built) => built,
                    Err(first) => compile(&plan, &request)
                        .map_err(|second| if second.kind == first.kind { first } else { second })?,
                }
            }
        };
        clauses.covered_by(&built.claims)?;
        // An operator claims all that it can execute; the user is told what the query has.
        built.claims.retain(|claim| clauses.has(claim.clause) || claim.clause == ClauseId::Aggregate);
        Ok(built)
    }
}

fn query_options(kind: PipelineKind, options: &[Given]) -> Result<QueryOptions, SqlError> {
    memory::once(options)?;
    let mut all = QueryOptions::default();
    for given in options {
        match given.key.as_str() {
            "retention" if kind == PipelineKind::View => {
                all.retention = Some(text_micros(&given.value).map_err(|e| e.at(given.at))?);
            }
            "retention" => {
                return Err(
                    SqlError::new(Kind::InvalidOption, "a stream keeps nothing, so it has no retention").at(given.at)
                );
            }
            "start" => {
                return Err(SqlError::unsupported("option start of a query", "a query sees rows from its creation on")
                    .at(given.at));
            }
            _ if memory::take(all.memory.get_or_insert_default(), given)? => {}
            _ => return Err(memory::no_option(given, QUERY_OPTIONS)),
        }
    }
    Ok(all)
}
