//! Relations that the caller fills for each query: `pg_catalog`, `information_schema`.

use arrow::datatypes::SchemaRef;
use laminar_core::ids::ObjectId;

/// A relation that no stream knows; only ad-hoc queries read it.
#[derive(Clone, Debug)]
pub struct SystemRelation {
    /// `pg_catalog.pg_class`, in lower case.
    pub name: String,
    /// Its id, for `AdhocQuery::relations`; above all ids of objects (top bit set).
    pub id: ObjectId,
    /// Its columns.
    pub columns: SchemaRef,
}
