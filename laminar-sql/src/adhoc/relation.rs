//! A relation of an ad-hoc plan: a name and a schema whose rows come later.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{TableSource, TableType};

/// Stands for a view, a table or a catalog relation while a query is planned.
#[derive(Clone, Debug)]
pub struct RelationSource {
    name: String,
    schema: SchemaRef,
}

impl RelationSource {
    /// A relation by its full name (`public.bars`, `pg_catalog.pg_class`).
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Arc<dyn TableSource> {
        Arc::new(Self { name: name.into(), schema })
    }

    /// The relation behind a table source of a plan, if it is one of ours.
    pub(super) fn of(source: &Arc<dyn TableSource>) -> Option<&Self> {
        source.downcast_ref::<Self>()
    }

    /// Its full name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }
}
