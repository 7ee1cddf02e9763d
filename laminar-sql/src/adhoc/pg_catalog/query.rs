//! A query over system relations: planned and run apart from queries over objects.
//!
//! Invariant: it never reads rows of users' objects, so it needs no epoch and no engine.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{CatalogProvider as _, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as Planned;
use datafusion::sql::sqlparser::ast::{Expr, Query, Statement, visit_expressions};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::function;
use super::provider::{Relations, System};
use super::rewrite::{has_relations, reads_system, rewrite};
use super::snapshot::Snapshot;

/// A failed query over system relations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SystemError {
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// What is wrong.
    pub message: String,
}

/// A planned query over system relations. Cheap to clone.
#[derive(Clone)]
pub struct SystemQuery {
    plan: LogicalPlan,
    context: SessionContext,
}

/// Rows as they are computed.
pub type SystemRows = BoxStream<'static, Result<RecordBatch, SystemError>>;

impl SystemQuery {
    /// Whether a statement belongs here: a query that reads a system relation, or reads nothing and
    /// calls one of the functions about the server.
    pub fn concerns(sql: &str) -> bool {
        parse(sql).is_some_and(|query| reads_system(&query) || (!has_relations(&query) && calls_ours(&query)))
    }

    /// Plans a statement for which [`Self::concerns`] holds.
    ///
    /// # Errors
    /// A relation, column or function that does not exist, or a form that is not supported.
    pub async fn plan(sql: &str, snapshot: Arc<Snapshot>) -> Result<Self, SystemError> {
        let Some(mut query) = parse(sql) else {
            return Err(SystemError { sqlstate: "42601", message: "this is not a query".to_owned() });
        };
        rewrite(&mut query);
        let context = context(&snapshot)?;
        let statement = Planned::Statement(Box::new(Statement::Query(query)));
        let plan = context.state().statement_to_plan(statement).await?;
        Ok(Self { plan, context })
    }

    /// The columns of its result.
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema().inner().clone()
    }

    /// Types of `$1`, `$2`, …; text where the query does not tell.
    ///
    /// # Errors
    /// One parameter is used with two types.
    pub fn parameters(&self) -> Result<Vec<DataType>, SystemError> {
        let types: HashMap<String, Option<DataType>> = self.plan.get_parameter_types()?;
        let number = |name: &str| name.trim_start_matches('$').parse::<usize>().ok();
        let known: BTreeMap<usize, DataType> =
            types.into_iter().filter_map(|(n, t)| Some((number(&n)?, t.unwrap_or(DataType::Utf8)))).collect();
        let count = known.keys().next_back().copied().unwrap_or(0);
        Ok((1..=count).map(|n| known.get(&n).cloned().unwrap_or(DataType::Utf8)).collect())
    }

    /// The query with its parameters given as text, in order.
    ///
    /// # Errors
    /// A text that is no value of its parameter's type.
    pub fn bind(self, values: &[Option<String>]) -> Result<Self, SystemError> {
        if values.is_empty() {
            return Ok(self);
        }
        let types = self.parameters()?;
        let typed = |(value, data_type): (&Option<String>, DataType)| match value {
            Some(text) => ScalarValue::try_from_string(text.clone(), &data_type),
            None => ScalarValue::try_from(&data_type),
        };
        let scalars = values.iter().zip(types).map(typed).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { plan: self.plan.with_param_values(ParamValues::from(scalars))?, ..self })
    }

    /// Runs it. Needs tokio.
    ///
    /// # Errors
    /// The plan cannot be executed; later errors come through the stream.
    pub async fn execute(self) -> Result<SystemRows, SystemError> {
        let schema = self.schema();
        let stream = self.context.execute_logical_plan(self.plan).await?.execute_stream().await?;
        let announced = move |batch: RecordBatch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec());
        Ok(stream
            .map_err(SystemError::from)
            .map(move |b| b.and_then(|b| announced(b).map_err(DataFusionError::from).map_err(SystemError::from)))
            .boxed())
    }
}

impl From<DataFusionError> for SystemError {
    fn from(error: DataFusionError) -> Self {
        let root = error.find_root();
        let sqlstate = match root {
            DataFusionError::SchemaError(..) => "42703",
            DataFusionError::Plan(text) if text.contains("not found") => "42P01",
            DataFusionError::Plan(text) if text.contains("Invalid function") => "42883",
            DataFusionError::Plan(_) => "42601",
            DataFusionError::NotImplemented(_) => "0A000",
            DataFusionError::Execution(_) | DataFusionError::ArrowError(..) => "22000",
            _ => "XX000",
        };
        Self { sqlstate, message: root.strip_backtrace() }
    }
}

fn parse(sql: &str) -> Option<Box<Query>> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
    match (statements.pop(), statements.is_empty()) {
        (Some(Statement::Query(query)), true) => Some(query),
        _ => None,
    }
}

fn calls_ours(query: &Query) -> bool {
    let mut found = false;
    let _ = visit_expressions(query, |expr| {
        if let Expr::Function(f) = expr {
            let name = f.name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase());
            found |= name.is_some_and(|n| function::exists(&n));
        }
        found |= matches!(expr, Expr::Cast { data_type, .. } if data_type.to_string().to_lowercase().contains("reg"));
        ControlFlow::<()>::Continue(())
    });
    found
}

fn context(snapshot: &Arc<Snapshot>) -> Result<SessionContext, SystemError> {
    let mut config =
        SessionConfig::new().with_target_partitions(1).with_default_catalog_and_schema("laminardb", "public");
    config = config.with_create_default_catalog_and_schema(false);
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    let context = SessionContext::new_with_config(config);
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema("public", Arc::new(MemorySchemaProvider::new()))?;
    for system in [System::PgCatalog, System::InformationSchema] {
        catalog.register_schema(system.name(), Arc::new(Relations::new(system, snapshot.clone())))?;
    }
    context.register_catalog("laminardb", Arc::new(catalog));
    function::functions(snapshot).into_iter().for_each(|f| context.register_udf(f));
    Ok(context)
}
