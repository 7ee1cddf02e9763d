//! Sources, tables and sinks as plain data.
//!
//! Invariant: options are kept as written (names canonical, secrets as references), so that a
//! restart builds the same connector without parsing SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use super::memory::{MemoryPolicy, MemorySpec};
use super::spec::PipelineSpec;
use crate::data::StreamSchema;
use crate::expr::ScalarExpr;
use crate::ids::ObjectId;

/// Any object of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ObjectSpec {
    /// CREATE SOURCE.
    Source(SourceSpec),
    /// CREATE TABLE.
    Table(TableSpec),
    /// CREATE STREAM, CREATE MATERIALIZED VIEW.
    Pipeline(PipelineSpec),
    /// CREATE SINK.
    Sink(SinkSpec),
}

impl ObjectSpec {
    /// Its id.
    pub const fn id(&self) -> ObjectId {
        match self {
            Self::Source(s) => s.id,
            Self::Table(t) => t.id,
            Self::Pipeline(p) => p.id,
            Self::Sink(s) => s.id,
        }
    }

    /// How much state it may hold, where it holds any. A table at its limit takes no more rows.
    pub const fn memory(&self) -> Option<MemorySpec> {
        match self {
            Self::Pipeline(p) => Some(p.memory),
            Self::Table(_) => Some(MemorySpec { limit: None, policy: MemoryPolicy::Backpressure }),
            Self::Source(_) | Self::Sink(_) => None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Source(s) => &s.name,
            Self::Table(t) => &t.name,
            Self::Pipeline(p) => &p.name,
            Self::Sink(s) => &s.name,
        }
    }
}

/// Where a source's column comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColumnSource {
    /// A field of the record, by name.
    Field(String),
    /// What the connector knows of the record: `offset`, `partition`, `topic`, `timestamp`, `key`, `file`, `line`.
    Metadata(String),
    /// An expression over the field and metadata columns before it.
    Computed(ScalarExpr),
}

/// One column of a source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceColumn {
    /// Where its values come from; name, type and nullability stand in the schema.
    pub from: ColumnSource,
    /// VARCHAR(n): the greatest number of characters; longer is a row error.
    pub max_chars: Option<u32>,
}

/// `WATERMARK FOR column AS column - delay [IDLE AFTER …]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WatermarkSpec {
    /// The timestamp column.
    pub column: usize,
    /// Microseconds that the watermark stays behind the greatest time seen.
    pub delay: i64,
    /// Microseconds of silence after which a split no longer holds time back.
    pub idle_after: i64,
    /// Microseconds that a time may lie ahead of its arrival before the row is an error; none = any.
    pub max_future: Option<i64>,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceSpec {
    /// Id.
    pub id: ObjectId,
    /// Name.
    pub name: String,
    /// The connector's name; none = a push source, clients INSERT into it.
    pub connector: Option<String>,
    /// The format's name (`json`, `csv`); none where the connector brings typed rows.
    pub format: Option<String>,
    /// Options of connector and format.
    pub options: BTreeMap<String, String>,
    /// Names and types.
    pub schema: StreamSchema,
    /// Where each column comes from, in the order of the schema.
    pub columns: Vec<SourceColumn>,
    /// Event time, if declared.
    pub watermark: Option<WatermarkSpec>,
}

/// A reference table: rows by primary key, changed by clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSpec {
    /// Id.
    pub id: ObjectId,
    /// Name.
    pub name: String,
    /// Names, types, key.
    pub schema: StreamSchema,
    /// VARCHAR(n) per column.
    pub max_chars: Vec<Option<u32>>,
}

/// What a sink promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivery {
    /// Nothing lost, duplicates after a failure.
    AtLeastOnce,
    /// Nothing lost, nothing twice.
    ExactlyOnce,
}

/// How changes are written to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Envelope {
    /// Append-only rows as they are.
    Plain,
    /// Message key = the view's key; delete = tombstone.
    Upsert,
    /// The row plus `_op` and `_epoch`.
    Changelog,
    /// Debezium's before/after.
    Debezium,
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SinkSpec {
    /// Id.
    pub id: ObjectId,
    /// Name.
    pub name: String,
    /// The stream, view or table it writes.
    pub from: ObjectId,
    /// The connector's name.
    pub connector: String,
    /// The format's name; none where the connector takes typed rows.
    pub format: Option<String>,
    /// Options of connector and format.
    pub options: BTreeMap<String, String>,
    /// What it promises.
    pub delivery: Delivery,
    /// How changes are written.
    pub envelope: Envelope,
    /// Key columns of `from` that make the message key.
    pub key: Option<Vec<usize>>,
    /// The schema of `from`.
    pub schema: StreamSchema,
}

/// What is kept of a record that the decoder refused: its place, the reason and its bytes.
pub fn dead_letter_columns() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("split", DataType::Utf8, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", time, true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("key", DataType::Binary, true),
        Field::new("payload", DataType::Binary, false),
    ]))
}
