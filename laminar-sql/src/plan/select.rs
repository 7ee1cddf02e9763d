//! Ad-hoc SELECT: full DataFusion over views and tables.

use std::sync::Arc;

use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Query;
use laminar_core::graph::{ObjectSpec, PipelineKind};

use super::admit::{Purpose, admit};
use super::clause::{ClauseId, Clauses};
use super::provider::{Provider, config};
use super::{Context, Planned, Relation, constant, logical, lower};
use crate::adhoc::AdhocQuery;
use crate::adhoc::pg_catalog::rewrite;
use crate::error::{Kind, SqlError};
use crate::function::checked_arithmetic;
use crate::parse::{CopyFormat, QueryTail};

impl Context<'_> {
    pub(super) fn select(&self, query: &Query, tail: &QueryTail) -> Result<Planned, SqlError> {
        if let Some((_, at)) = &tail.emit {
            let refused = SqlError::unsupported(
                "SELECT … EMIT",
                "SUBSCRIBE (SELECT …) follows changes; CREATE STREAM runs a query",
            );
            return Err(refused.at(*at));
        }
        if let Some((_, at)) = &tail.lateness {
            return Err(SqlError::new(Kind::InvalidDefinition, "ALLOW LATENESS belongs to a continuous query").at(*at));
        }
        Ok(Planned::Query(Box::new(self.bound(query)?)))
    }

    pub(super) fn copy_query(&self, query: &Query, format: &CopyFormat) -> Result<Planned, SqlError> {
        Ok(Planned::CopyOut { query: Box::new(self.bound(query)?), format: format.clone() })
    }

    /// A query with its parameters given.
    pub(super) fn bound(&self, query: &Query) -> Result<AdhocQuery, SqlError> {
        let plan = self.adhoc_plan(query)?;
        if self.params.is_empty() {
            return Ok(AdhocQuery::new(plan));
        }
        let types = AdhocQuery::new(plan.clone()).parameters()?;
        if self.params.len() < types.len() {
            let message = format!("the statement has {} parameters, {} were given", types.len(), self.params.len());
            return Err(SqlError::new(Kind::Parameter, message));
        }
        let values = types
            .iter()
            .zip(self.params)
            .map(|(wanted, given)| constant::parameter(given, wanted))
            .collect::<Result<Vec<_>, SqlError>>()?;
        Ok(AdhocQuery::new(plan.with_param_values(ParamValues::from(values))?))
    }

    /// The analysed plan of a query over what is kept.
    pub(super) fn adhoc_plan(&self, query: &Query) -> Result<LogicalPlan, SqlError> {
        let mut clauses: Clauses = admit(query, Purpose::AdHoc)?;
        let mut lowered = query.clone();
        lower::lower(&mut lowered, self.catalog, &mut clauses)?;
        if clauses.has(ClauseId::Window) {
            return Err(SqlError::unsupported(
                "TUMBLE or HOP in a SELECT over kept rows",
                "group by date_bin(INTERVAL '1 minute', ts), or use the window in CREATE MATERIALIZED VIEW",
            ));
        }
        rewrite(&mut lowered);
        let config = Arc::new(config(self.settings.time_zone()));
        let provider = Provider { catalog: self.catalog, config: config.clone() };
        let plan = logical::coerced(&lowered, &provider)?;
        let plan = checked_arithmetic(plan)?;
        readable(&plan)?;
        Ok(plan)
    }
}

/// Refuses to read what keeps nothing.
fn readable(plan: &LogicalPlan) -> Result<(), SqlError> {
    use datafusion::common::tree_node::TreeNodeRecursion;
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(relation) = Relation::of(&scan.source)
        {
            let entry = &relation.entry;
            let kind = match &entry.spec {
                ObjectSpec::Source(_) if relation.dead_letters => {
                    let name = entry.name();
                    let message = format!("dead_letters.{name} keeps no rows, so a SELECT has nothing to read");
                    let hint = format!("CREATE MATERIALIZED VIEW … AS SELECT … FROM dead_letters.{name} keeps them");
                    refused = Some(SqlError::new(Kind::WrongObjectKind, message).hint(hint));
                    None
                }
                ObjectSpec::Source(_) => Some("source"),
                ObjectSpec::Pipeline(p) if p.kind == PipelineKind::Stream => Some("stream"),
                ObjectSpec::Pipeline(_) | ObjectSpec::Table(_) => None,
                ObjectSpec::Sink(_) => Some("sink"),
            };
            if let Some(kind) = kind {
                let name = entry.name();
                let message = format!("\"{name}\" is a {kind} and keeps no rows, so a SELECT has nothing to read");
                let hint = format!("SUBSCRIBE {name} shows rows as they come; CREATE MATERIALIZED VIEW … AS SELECT … FROM {name} keeps them");
                refused = Some(SqlError::new(Kind::WrongObjectKind, message).hint(hint));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    refused.map_or(Ok(()), Err)
}
