//! Makes a source's rows from what its connector delivers: decoded fields, metadata, computed columns.
//!
//! Invariants: a record that the decoder refuses, a row whose computed column fails and a text that
//! is too long are left out and counted, and never stop the source; the order of rows is the order
//! of records.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    new_null_array,
};
use arrow::compute::{and, cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::EngineError;
use super::dead_letters::DeadLetters;
use crate::connector::{ConnectorError, Decoder, DecoderFactory, Ingest, RawRecord, Registry};
use crate::expr::{Evaluate, ExprCompiler};
use crate::graph::{ColumnSource, SourceSpec};

/// What was left out, since the source was opened.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    /// Records that the decoder refused.
    pub malformed: u64,
    /// The newest refusal, with its place.
    pub malformed_last: Option<String>,
    /// Rows whose computed column failed.
    pub evaluation: u64,
    /// Rows with a text above VARCHAR(n), or NULL in a NOT NULL column.
    pub constraint: u64,
}

/// What is known of each row beside its fields.
#[derive(Default)]
struct Metadata {
    offsets: Vec<i64>,
    timestamps: Vec<Option<i64>>,
    keys: Vec<Option<Vec<u8>>>,
}

/// Makes rows of one split.
pub struct SourceRows {
    schema: SchemaRef,
    split: String,
    columns: Vec<(ColumnSource, Option<u32>)>,
    computed: Vec<(usize, Box<dyn Evaluate>)>,
    field_schema: SchemaRef,
    decoder: Option<Box<dyn Decoder>>,
    metadata: Metadata,
    wants_keys: bool,
    typed: Vec<RecordBatch>,
    left_out: LeftOut,
    /// Refused records that somebody reads.
    dead_letters: Option<DeadLetters>,
}

impl SourceRows {
    /// A maker of rows of one split of a source.
    ///
    /// # Errors
    /// The format is unknown or refuses a column, or an expression does not compile.
    pub fn new(
        spec: &SourceSpec,
        split: &str,
        registry: &Registry,
        compiler: &dyn ExprCompiler,
    ) -> Result<Self, EngineError> {
        let schema = spec.schema.columns.clone();
        let mut names = Vec::new();
        let mut fields = Vec::new();
        let mut computed = Vec::new();
        let mut wants_keys = false;
        for (index, column) in spec.columns.iter().enumerate() {
            match &column.from {
                ColumnSource::Field(name) => {
                    names.push(name.clone());
                    fields.push(schema.field(index).clone());
                }
                ColumnSource::Metadata(name) => wants_keys |= name == "key",
                ColumnSource::Computed(expr) => {
                    let evaluate = compiler
                        .compile(expr, &schema)
                        .map_err(|error| EngineError::Refused { name: spec.name.clone(), reason: error.message })?;
                    computed.push((index, evaluate));
                }
            }
        }
        let field_schema: SchemaRef = Arc::new(Schema::new(fields));
        let decoder = match &spec.format {
            None => None,
            Some(format) => Some(decoder(spec, format, &names, &field_schema, registry)?),
        };
        Ok(Self {
            schema,
            split: split.to_owned(),
            columns: spec.columns.iter().map(|column| (column.from.clone(), column.max_chars)).collect(),
            computed,
            field_schema,
            decoder,
            metadata: Metadata::default(),
            wants_keys,
            typed: Vec::new(),
            left_out: LeftOut::default(),
            dead_letters: None,
        })
    }

    /// What was left out so far.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Whether refused records are kept for [`SourceRows::take_dead_letters`].
    pub fn keep_dead_letters(&mut self, keep: bool) {
        if keep != self.dead_letters.is_some() {
            self.dead_letters = keep.then(DeadLetters::default);
        }
    }

    /// Takes the records refused since the last call, if they are kept.
    ///
    /// # Errors
    /// A defect: columns that do not fit.
    pub fn take_dead_letters(&mut self) -> Result<Option<RecordBatch>, EngineError> {
        match self.dead_letters.as_mut().filter(|letters| !letters.is_empty()) {
            Some(letters) => letters.take(&self.split).map(Some),
            None => Ok(None),
        }
    }

    /// Takes everything ingested since the last call as rows of the source's schema.
    ///
    /// # Errors
    /// A defect of a decoder or connector: columns that do not fit the schema.
    pub fn take(&mut self) -> Result<Option<RecordBatch>, EngineError> {
        if let Some(decoder) = self.decoder.as_mut()
            && decoder.rows() > 0
        {
            self.typed.push(decoder.finish()?);
        }
        if self.typed.is_empty() {
            return Ok(None);
        }
        let typed = std::mem::take(&mut self.typed);
        let fields = match typed.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&self.field_schema, many).map_err(|error| defect(&error))?,
        };
        let metadata = std::mem::take(&mut self.metadata);
        let rows = self.assemble(&fields, &metadata)?;
        let rows = self.compute(rows)?;
        let rows = self.check(rows)?;
        Ok((rows.num_rows() > 0).then_some(rows))
    }

    /// Rows pushed by a client: computes what is computed and leaves out what breaks a constraint.
    ///
    /// # Errors
    /// The columns do not fit the schema.
    pub fn pushed(&mut self, rows: RecordBatch) -> Result<RecordBatch, EngineError> {
        let rows = self.compute(rows)?;
        self.check(rows)
    }

    fn assemble(&self, fields: &RecordBatch, metadata: &Metadata) -> Result<RecordBatch, EngineError> {
        let rows = fields.num_rows();
        let mut field = 0;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (index, (from, _)) in self.columns.iter().enumerate() {
            let data_type = self.schema.field(index).data_type();
            columns.push(match from {
                ColumnSource::Field(_) => {
                    field += 1;
                    fields.column(field - 1).clone()
                }
                ColumnSource::Metadata(name) => self.metadata_column(name, metadata, rows, data_type)?,
                ColumnSource::Computed(_) => new_null_array(data_type, rows),
            });
        }
        // NOT NULL is checked after the computed columns are filled in.
        batch(&relaxed(&self.schema), columns)
    }

    fn metadata_column(
        &self,
        name: &str,
        metadata: &Metadata,
        rows: usize,
        data_type: &DataType,
    ) -> Result<ArrayRef, EngineError> {
        let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; rows])) };
        let (path, last) = self.split.rsplit_once('/').unwrap_or((&self.split, "0"));
        let array: ArrayRef = match name {
            "offset" | "line" => Arc::new(Int64Array::from(metadata.offsets.clone())),
            "timestamp" => Arc::new(TimestampMillisecondArray::from(metadata.timestamps.clone())),
            "key" => Arc::new(BinaryArray::from_iter(metadata.keys.iter().map(|key| key.as_deref()))),
            "partition" => Arc::new(Int64Array::from(vec![last.parse::<i64>().unwrap_or(0); rows])),
            "topic" => text(path),
            "file" => text(&self.split),
            other => return Err(EngineError::Internal(format!("unknown metadata column {other}"))),
        };
        cast(&array, data_type).map_err(|error| defect(&error))
    }

    fn compute(&mut self, mut rows: RecordBatch) -> Result<RecordBatch, EngineError> {
        for (index, evaluate) in &self.computed {
            let (kept, values, failed) = evaluate_rows(evaluate.as_ref(), &rows)?;
            self.left_out.evaluation += failed;
            let mut columns = kept.columns().to_vec();
            columns[*index] = values;
            rows = batch(&relaxed(&self.schema), columns)?;
        }
        Ok(rows)
    }

    fn check(&mut self, rows: RecordBatch) -> Result<RecordBatch, EngineError> {
        let mut keep: Option<BooleanArray> = None;
        for (index, (_, max_chars)) in self.columns.iter().enumerate() {
            let column = rows.column(index);
            let mut good: Option<BooleanArray> = None;
            if !self.schema.field(index).is_nullable() && column.null_count() > 0 {
                good = Some((0..column.len()).map(|row| Some(column.is_valid(row))).collect());
            }
            if let Some(max) = max_chars
                && let Some(fits) = fitting(column, *max as usize)
            {
                good = Some(match good {
                    None => fits,
                    Some(good) => and(&good, &fits).map_err(|error| defect(&error))?,
                });
            }
            keep = match (keep, good) {
                (None, good) => good,
                (keep, None) => keep,
                (Some(a), Some(b)) => Some(and(&a, &b).map_err(|error| defect(&error))?),
            };
        }
        let rows = match keep {
            None => rows,
            Some(keep) => {
                self.left_out.constraint += (keep.len() - keep.true_count()) as u64;
                filter_record_batch(&rows, &keep).map_err(|error| defect(&error))?
            }
        };
        batch(&self.schema, rows.columns().to_vec())
    }
}

fn decoder(
    spec: &SourceSpec,
    format: &str,
    names: &[String],
    schema: &SchemaRef,
    registry: &Registry,
) -> Result<Box<dyn Decoder>, EngineError> {
    let factory: &Arc<dyn DecoderFactory> = registry.decoders.get(format).ok_or_else(|| EngineError::Refused {
        name: spec.name.clone(),
        reason: format!(
            "format {format} is not known; this server has {}",
            registry.decoders.keys().copied().collect::<Vec<_>>().join(", ")
        ),
    })?;
    let options = spec
        .options
        .iter()
        .filter(|(name, _)| factory.options().iter().any(|option| option.name == name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(factory.create(names, schema.clone(), &options)?)
}

impl Ingest for SourceRows {
    fn record(&mut self, record: RawRecord<'_>) {
        let Some(decoder) = self.decoder.as_mut() else {
            self.left_out.malformed += 1;
            return;
        };
        match decoder.push(&record) {
            Ok(rows) => {
                for _ in 0..rows {
                    self.metadata.offsets.push(record.offset as i64);
                    self.metadata.timestamps.push(record.timestamp_ms);
                    if self.wants_keys {
                        self.metadata.keys.push(record.key.map(<[u8]>::to_vec));
                    }
                }
            }
            Err(refused) => {
                self.left_out.malformed += 1;
                if let Some(letters) = &mut self.dead_letters {
                    letters.push(&record, &refused.reason);
                }
                self.left_out.malformed_last =
                    Some(format!("split {}, offset {}: {}", self.split, record.offset, refused.reason));
            }
        }
    }

    fn rows(&mut self, rows: RecordBatch, first_offset: u64) {
        if let Some(decoder) = self.decoder.as_mut()
            && decoder.rows() > 0
            && let Ok(decoded) = decoder.finish()
        {
            self.typed.push(decoded);
        }
        let count = rows.num_rows() as u64;
        self.metadata.offsets.extend((first_offset..first_offset + count).map(|offset| offset as i64));
        self.metadata.timestamps.extend((0..count).map(|_| None));
        if self.wants_keys {
            self.metadata.keys.extend((0..count).map(|_| None));
        }
        self.typed.push(rows);
    }
}

/// Evaluates over all rows; where some fail, finds them by halving and leaves them out. Returns the
/// rows kept, their values and how many failed.
fn evaluate_rows(evaluate: &dyn Evaluate, rows: &RecordBatch) -> Result<(RecordBatch, ArrayRef, u64), EngineError> {
    match evaluate.evaluate(rows) {
        Ok(values) => Ok((rows.clone(), values, 0)),
        Err(_) if rows.num_rows() <= 1 => {
            let none = rows.slice(0, 0);
            let values = evaluate.evaluate(&none).map_err(|error| EngineError::Internal(error.message))?;
            Ok((none, values, rows.num_rows() as u64))
        }
        Err(_) => {
            let half = rows.num_rows() / 2;
            let (a, a_values, a_failed) = evaluate_rows(evaluate, &rows.slice(0, half))?;
            let (b, b_values, b_failed) = evaluate_rows(evaluate, &rows.slice(half, rows.num_rows() - half))?;
            let kept = concat_batches(&rows.schema(), [&a, &b]).map_err(|error| defect(&error))?;
            let values =
                arrow::compute::concat(&[a_values.as_ref(), b_values.as_ref()]).map_err(|error| defect(&error))?;
            Ok((kept, values, a_failed + b_failed))
        }
    }
}

/// Which texts have at most `max` characters; none when all have.
fn fitting(column: &ArrayRef, max: usize) -> Option<BooleanArray> {
    let texts = column.as_any().downcast_ref::<StringArray>()?;
    let fits = |text: Option<&str>| text.is_none_or(|text| text.len() <= max || text.chars().count() <= max);
    if texts.iter().all(fits) {
        return None;
    }
    Some(texts.iter().map(|text| Some(fits(text))).collect())
}

/// The schema with every column nullable.
pub(super) fn relaxed(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    ))
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, EngineError> {
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| defect(&error))
}

fn defect(error: &arrow::error::ArrowError) -> EngineError {
    EngineError::Connector(ConnectorError {
        code: "LDB-3021",
        fault: crate::connector::Fault::Internal,
        message: format!("columns do not fit the source's schema: {error}"),
    })
}
