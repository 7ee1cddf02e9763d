//! SUBSCRIBE: an object, or columns and rows of it.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::{Expr, LogicalPlan};
use laminar_core::expr::ScalarExpr;
use laminar_core::graph::ObjectSpec;

use super::admit::{Purpose, admit};
use super::constant::Plain;
use super::planned::SubscribePlan;
use super::provider::{Provider, config};
use super::{Context, Planned, Relation, logical};
use crate::catalog::CatalogEntry;
use crate::compile::Converter;
use crate::error::{Kind, SqlError};
use crate::parse::{CopyFormat, Subscribe, SubscribeTarget};

impl Context<'_> {
    pub(super) fn subscribe(&self, subscribe: &Subscribe) -> Result<Planned, SqlError> {
        Ok(Planned::Subscribe(self.subscription(subscribe)?))
    }

    pub(super) fn copy_subscribe(&self, subscribe: &Subscribe, format: &CopyFormat) -> Result<Planned, SqlError> {
        Ok(Planned::CopyOutSubscribe { subscribe: self.subscription(subscribe)?, format: format.clone() })
    }

    pub(super) fn subscription(&self, subscribe: &Subscribe) -> Result<SubscribePlan, SqlError> {
        let Subscribe { target, as_of, options, at } = subscribe;
        let mut plan = match target {
            SubscribeTarget::Object(name) => {
                let entry = self.catalog.require(name).map_err(|e| e.at(*at))?;
                subscribable(entry).map_err(|e| e.at(*at))?;
                whole(entry)
            }
            SubscribeTarget::Query(query) => {
                admit(query, Purpose::Continuous)?;
                let config = Arc::new(config(self.settings.time_zone()));
                let provider = Provider { catalog: self.catalog, config };
                let logical = logical::coerced(query, &provider)?;
                logical::only_immutable(&logical)?;
                part(&logical).map_err(|e| e.at(*at))?
            }
        };
        plan.as_of = *as_of;
        for given in options {
            let flag = match given.value.to_ascii_lowercase().as_str() {
                "true" | "on" => true,
                "false" | "off" => false,
                other => {
                    let message = format!("option \"{}\" must be true or false, not '{other}'", given.key);
                    return Err(SqlError::new(Kind::InvalidOption, message).at(given.at));
                }
            };
            match given.key.as_str() {
                "snapshot" => plan.snapshot = flag,
                "progress" => plan.progress = flag,
                other => {
                    let error = SqlError::new(Kind::InvalidOption, format!("SUBSCRIBE has no option \"{other}\""));
                    return Err(error.hint("its options are: snapshot, progress").at(given.at));
                }
            }
        }
        Ok(plan)
    }
}

fn subscribable(entry: &CatalogEntry) -> Result<(), SqlError> {
    match entry.spec {
        ObjectSpec::Sink(_) => {
            let message = format!("\"{}\" is a sink, nothing can be read from it", entry.name());
            Err(SqlError::new(Kind::WrongObjectKind, message).hint("subscribe to what the sink writes"))
        }
        ObjectSpec::Source(_) | ObjectSpec::Table(_) | ObjectSpec::Pipeline(_) => Ok(()),
    }
}

fn whole(entry: &CatalogEntry) -> SubscribePlan {
    let fields = entry.schema().columns.fields();
    let project = fields.iter().enumerate().map(|(i, f)| {
        (f.name().clone(), f.data_type().clone(), ScalarExpr::column(i, f.name(), f.data_type().clone()))
    });
    SubscribePlan {
        object: entry.id(),
        columns: (0..fields.len()).collect(),
        filter: None,
        project: project.collect(),
        snapshot: true,
        progress: false,
        as_of: None,
    }
}

/// `SELECT columns FROM object [WHERE condition]`.
fn part(plan: &LogicalPlan) -> Result<SubscribePlan, SqlError> {
    let LogicalPlan::Projection(projection) = plan else { return Err(too_much()) };
    let (filter, below) = match projection.input.as_ref() {
        LogicalPlan::Filter(filter) => (Some(&filter.predicate), filter.input.as_ref()),
        other => (None, other),
    };
    let scan = match below {
        LogicalPlan::TableScan(scan) => scan,
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::TableScan(scan) => scan,
            _ => return Err(too_much()),
        },
        _ => return Err(too_much()),
    };
    let Some(relation) = Relation::of(&scan.source) else { return Err(too_much()) };
    let entry = relation.entry.clone();
    if relation.dead_letters {
        let hint = format!("CREATE STREAM … AS SELECT … FROM dead_letters.{}, and SUBSCRIBE to that", entry.name());
        return Err(SqlError::unsupported("SUBSCRIBE to dead letters", hint));
    }
    subscribable(&entry)?;
    let input: SchemaRef =
        Arc::new(Schema::new(below.schema().fields().iter().map(|f| f.as_ref().clone()).collect::<Vec<_>>()));
    let convert = |schema: &DFSchemaRef, expr: &Expr| Converter { schema, resolve: &Plain(input.clone()) }.scalar(expr);
    let filter = filter.map(|f| convert(below.schema(), f)).transpose()?;
    let fields = projection.schema.fields().iter();
    let project = projection
        .expr
        .iter()
        .zip(fields)
        .map(|(e, f)| Ok((f.name().clone(), f.data_type().clone(), convert(below.schema(), e)?)));
    let project = project.collect::<Result<Vec<_>, SqlError>>()?;
    Ok(SubscribePlan { filter, project, ..whole(&entry) })
}

fn too_much() -> SqlError {
    SqlError::unsupported(
        "SUBSCRIBE to more than columns and rows of one object",
        "CREATE STREAM … AS SELECT …, then SUBSCRIBE to it",
    )
}
