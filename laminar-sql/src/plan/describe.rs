//! What a statement takes and gives, before it runs; and DESCRIBE.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use laminar_core::graph::{ColumnSource, ObjectSpec};

use super::{Context, Planned, Planner, SessionSettings, sql_type};
use crate::adhoc::AdhocQuery;
use crate::catalog::{Catalog, CatalogEntry};
use crate::error::SqlError;
use crate::parse::{Statement, StatementKind, Subscribe};

/// Parameters and columns of a statement.
#[derive(Clone, Debug)]
pub struct Described {
    /// Types of `$1`, `$2`, ….
    pub parameters: Vec<DataType>,
    /// Columns of its rows; none when it returns none.
    pub columns: Option<SchemaRef>,
}

impl Planner {
    /// Describes a statement without values for its parameters.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn describe(
        &self,
        statement: &Statement,
        catalog: &Catalog,
        settings: &SessionSettings,
    ) -> Result<Described, SqlError> {
        let context = Context {
            registry: self.registry(),
            catalog,
            settings,
            params: &[],
            sql: &statement.text,
            stop: &self.stop,
        };
        context.described(&statement.kind).map_err(|e| statement.place(e))
    }
}

/// Columns of SHOW SOURCES, SHOW SINKS and their like: those of the catalog, then `state`.
pub fn objects_schema(known: &RecordBatch) -> SchemaRef {
    let mut fields = known.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("state", DataType::Utf8, false)));
    Arc::new(Schema::new(fields))
}

/// Columns of SHOW PIPELINES: those of the catalog, then `state`, `state_bytes` and `memory_limit`.
pub fn pipelines_schema(known: &RecordBatch) -> SchemaRef {
    let mut fields = objects_schema(known).fields().to_vec();
    fields.push(Arc::new(Field::new("state_bytes", DataType::Int64, false)));
    fields.push(Arc::new(Field::new("memory_limit", DataType::Int64, true)));
    Arc::new(Schema::new(fields))
}

/// Columns of SHOW CHECKPOINTS.
pub fn checkpoints_schema() -> SchemaRef {
    let number = |name| Field::new(name, DataType::Int64, false);
    let (epoch, newest) = (Field::new("epoch", DataType::Utf8, false), Field::new("newest", DataType::Boolean, false));
    Arc::new(Schema::new(vec![number("checkpoint"), epoch, newest, number("objects"), number("staged_bytes")]))
}

/// Columns of EXPLAIN WATERMARK.
pub fn watermark_schema() -> SchemaRef {
    let fields = ["object", "split", "watermark", "reason"].map(|n| Field::new(n, DataType::Utf8, true));
    Arc::new(Schema::new(fields.to_vec()))
}

impl Context<'_> {
    fn described(&self, kind: &StatementKind) -> Result<Described, SqlError> {
        let rows = |columns: SchemaRef| Ok(Described { parameters: Vec::new(), columns: Some(columns) });
        match kind {
            StatementKind::Query { query, .. } => {
                let query = AdhocQuery::new(self.adhoc_plan(query)?);
                Ok(Described { parameters: query.parameters()?, columns: Some(query.schema()) })
            }
            StatementKind::Insert(insert) => {
                Ok(Described { parameters: self.insert_parameters(insert)?, columns: None })
            }
            StatementKind::Subscribe(subscribe) => rows(self.subscription_schema(subscribe)?),
            StatementKind::Show(_) | StatementKind::Describe { .. } | StatementKind::Explain(_) => {
                match self.plan(kind)? {
                    Planned::Rows(batch) => rows(batch.schema()),
                    Planned::Objects(batch) => rows(objects_schema(&batch)),
                    Planned::Pipelines(batch) => rows(pipelines_schema(&batch)),
                    Planned::Checkpoints => rows(checkpoints_schema()),
                    Planned::ExplainWatermark { .. } => rows(watermark_schema()),
                    _ => Ok(Described { parameters: Vec::new(), columns: None }),
                }
            }
            _ => Ok(Described { parameters: Vec::new(), columns: None }),
        }
    }

    fn subscription_schema(&self, subscribe: &Subscribe) -> Result<SchemaRef, SqlError> {
        let plan = self.subscription(subscribe)?;
        let mut fields = vec![
            Field::new("laminar_epoch", DataType::Int64, false),
            Field::new("laminar_weight", DataType::Int64, true),
        ];
        fields.extend(plan.project.iter().map(|(name, data_type, _)| Field::new(name, data_type.clone(), true)));
        Ok(Arc::new(Schema::new(fields)))
    }

    pub(super) fn describe(&self, name: &str) -> Result<Planned, SqlError> {
        Ok(Planned::Rows(columns_of(self.catalog.require(name)?)?))
    }
}

/// The columns of an object as rows.
pub(super) fn columns_of(entry: &CatalogEntry) -> Result<RecordBatch, SqlError> {
    let schema = entry.schema();
    let fields = schema.columns.fields();
    let key = schema.key.clone().unwrap_or_default();
    let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
    let types: Vec<String> = fields.iter().map(|f| sql_type(f.data_type(), None)).collect();
    let nullable: Vec<bool> = fields.iter().map(|f| f.is_nullable()).collect();
    let notes: Vec<Option<String>> = (0..fields.len())
        .map(|i| {
            let mut notes = Vec::new();
            if key.contains(&i) {
                notes.push("key".to_owned());
            }
            if schema.time.contains(&i) {
                notes.push("time attribute".to_owned());
            }
            if let ObjectSpec::Source(source) = &entry.spec {
                match source.columns.get(i).map(|c| &c.from) {
                    Some(ColumnSource::Computed(expr)) => notes.push(format!("computed: {expr}")),
                    Some(ColumnSource::Metadata(key)) => notes.push(format!("metadata: {key}")),
                    Some(ColumnSource::Field(_)) | None => {}
                }
            }
            (!notes.is_empty()).then(|| notes.join(", "))
        })
        .collect();
    let schema = Schema::new(vec![
        Field::new("column", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
        Field::new("nullable", DataType::Boolean, false),
        Field::new("notes", DataType::Utf8, true),
    ]);
    Ok(RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(StringArray::from(names)),
            Arc::new(StringArray::from(types)),
            Arc::new(BooleanArray::from(nullable)),
            Arc::new(StringArray::from(notes)),
        ],
    )?)
}
