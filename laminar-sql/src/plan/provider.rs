//! What DataFusion's SQL planner asks of us: relations, functions, types.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result as DfResult, TableReference};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use laminar_core::graph::{ObjectSpec, dead_letter_columns};

use super::types::Types;
use crate::catalog::{Catalog, CatalogEntry};
use crate::error::{Kind, SqlError};
use crate::function;

/// A relation in a plan.
pub(crate) struct Relation {
    /// The object.
    pub entry: Arc<CatalogEntry>,
    pub columns: SchemaRef,
    /// Whether it is what the source's decoder refused.
    pub dead_letters: bool,
}

impl Relation {
    /// The relation behind a table source of a plan, if it is one of ours.
    pub fn of(source: &Arc<dyn TableSource>) -> Option<&Self> {
        let source: &dyn std::any::Any = source.as_ref();
        source.downcast_ref::<Self>()
    }
}

impl TableSource for Relation {
    fn schema(&self) -> SchemaRef {
        self.columns.clone()
    }
}

/// A catalog and the functions, for one query.
pub(crate) struct Provider<'a> {
    pub catalog: &'a Catalog,
    pub config: Arc<ConfigOptions>,
}

/// DataFusion's options as our dialect needs them.
pub(crate) fn config(time_zone: &str) -> ConfigOptions {
    let mut config = ConfigOptions::new();
    config.sql_parser.map_string_types_to_utf8view = false;
    config.sql_parser.enable_ident_normalization = true;
    config.execution.time_zone = Some(time_zone.to_owned());
    config.optimizer.skip_failed_rules = false;
    config
}

impl Provider<'_> {
    pub(super) fn find(&self, name: &TableReference) -> Result<Relation, SqlError> {
        let (schema, table) = (name.schema(), name.table());
        if schema.is_none_or(|s| s == "public")
            && let Some(entry) = self.catalog.get(table)
        {
            return self.object(entry);
        }
        if schema == Some("dead_letters") {
            return self.dead_letters(table);
        }
        let full = match schema {
            Some(schema) if schema != "public" => format!("{schema}.{table}"),
            _ => table.to_owned(),
        };
        Err(self.catalog.missing(&full))
    }

    fn object(&self, entry: &Arc<CatalogEntry>) -> Result<Relation, SqlError> {
        if let ObjectSpec::Sink(_) = entry.spec {
            return Err(SqlError::new(
                Kind::WrongObjectKind,
                format!("\"{}\" is a sink, nothing can be read from it", entry.name()),
            )
            .hint("read what the sink writes"));
        }
        Ok(Relation { entry: entry.clone(), columns: entry.schema().columns.clone(), dead_letters: false })
    }

    /// `dead_letters.s`: the records of a source that its decoder refused.
    fn dead_letters(&self, source: &str) -> Result<Relation, SqlError> {
        let entry = self.catalog.require(source)?;
        let refused = |message: String, hint: &str| Err(SqlError::new(Kind::WrongObjectKind, message).hint(hint));
        let ObjectSpec::Source(spec) = &entry.spec else {
            return refused(format!("\"{source}\" is not a source, so it has no dead letters"), "name a source");
        };
        if spec.connector.is_none() {
            return refused(
                format!("source \"{source}\" has no connector, so it has no dead letters"),
                "a client whose rows are refused gets the error itself",
            );
        }
        if spec.format.is_none() {
            return refused(
                format!("source \"{source}\" has no format, so it has no dead letters"),
                "its connector makes rows, not bytes that could be malformed",
            );
        }
        Ok(Relation { entry: entry.clone(), columns: dead_letter_columns(), dead_letters: true })
    }
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        match self.find(&name) {
            Ok(relation) => Ok(Arc::new(relation)),
            Err(error) => Err(DataFusionError::External(Box::new(error))),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &function::all().planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        function::all().scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        function::all().higher_order.get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        function::all().aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        function::all().window.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.config
    }

    fn udf_names(&self) -> Vec<String> {
        function::all().scalar.keys().filter(|n| !n.starts_with("__")).cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        function::all().higher_order.keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        function::all().aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        function::all().window.keys().cloned().collect()
    }
}
