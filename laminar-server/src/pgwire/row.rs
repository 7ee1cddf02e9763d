//! Rows to the client: Arrow batches as `DataRow` messages, in text or binary, up to a limit.
//!
//! arrow-pg encodes the values; ours are decimals (its type holds 28 digits, a SUM of BIGINT has
//! 38), floats (it writes `1.0` and `inf`), times (it keeps zeros at their end), and NULL, which it does not check for every type.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, FieldRef, Float32Type, Float64Type,
    Schema,
};
use arrow_pg::datatypes::field_into_pg_type;
use arrow_pg::encoder::encode_value;
use futures::stream::BoxStream;
use futures::{StreamExt, poll};
use laminar_db::DbError;
use pgwire::api::Type;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo};
use pgwire::messages::data::{DataRow, RowDescription};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::fault::Fault;
use super::frontend::binary_at;
use super::{float, numeric, time_text};

/// Rows on their way to a client.
pub struct Rows {
    encoder: RowEncoder,
    batches: BoxStream<'static, Result<RecordBatch, DbError>>,
    current: Option<(RecordBatch, usize)>,
}

/// How sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// There are no more rows.
    All(usize),
    /// The limit was reached; there may be more.
    Limit(usize),
}

impl Sent {
    /// How many rows were sent.
    pub fn count(self) -> usize {
        match self {
            Self::All(count) | Self::Limit(count) => count,
        }
    }
}

impl Rows {
    /// Rows of a schema in the formats the client asked for.
    ///
    /// # Errors
    /// A column whose type has no PostgreSQL form, or format codes that do not fit.
    pub fn new(
        schema: &Schema,
        batches: BoxStream<'static, Result<RecordBatch, DbError>>,
        formats: &[i16],
    ) -> Result<Self, Fault> {
        Ok(Self { encoder: RowEncoder::new(schema, formats)?, batches, current: None })
    }

    /// The columns as the client is told.
    pub fn description(&self) -> RowDescription {
        RowDescription::new(self.encoder.fields.iter().map(Into::into).collect())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Sends up to `limit` rows; what is encoded is flushed before waiting for more.
    pub async fn send_rows(&mut self, rows: &mut Rows, limit: usize) -> Result<Sent, Fault> {
        let mut count = 0;
        loop {
            while let Some((batch, next)) = &mut rows.current {
                if count == limit {
                    return Ok(Sent::Limit(count));
                }
                if *next == batch.num_rows() {
                    rows.current = None;
                    break;
                }
                let row = rows.encoder.row(batch, *next)?;
                self.wire.put(&row);
                (*next, count) = (*next + 1, count + 1);
                self.relieve().await?;
            }
            if rows.current.is_none() {
                match self.next_batch(&mut rows.batches).await? {
                    Some(batch) => rows.current = Some((rows.encoder.prepare(&batch)?, 0)),
                    None => return Ok(Sent::All(count)),
                }
            }
        }
    }

    /// Sends the output if much of it waits, unless a cancel request comes first: a client that reads nothing holds up
    /// its own rows for as long as it likes, but not their end.
    pub async fn relieve(&mut self) -> Result<(), Fault> {
        tokio::select! {
            biased;
            sent = self.wire.relieve() => sent,
            _ = self.cancelled.changed() => Err(cancelled()),
        }
    }

    /// Waits for a batch, a cancel request, the end of the client or of the server.
    pub async fn next_batch(
        &mut self,
        batches: &mut BoxStream<'static, Result<RecordBatch, DbError>>,
    ) -> Result<Option<RecordBatch>, Fault> {
        let mut next = batches.next();
        let ready = match poll!(&mut next) {
            std::task::Poll::Ready(batch) => batch,
            std::task::Poll::Pending => {
                self.wire.flush().await?;
                tokio::select! {
                    biased;
                    _ = self.cancelled.changed() => return Err(cancelled()),
                    () = self.gate.stop().cancelled() => {
                        return Err(Fault::fatal("57P01", "terminating connection due to administrator command"));
                    }
                    batch = next => batch,
                    () = self.wire.closed() => return Err(Fault::Gone),
                }
            }
        };
        Ok(ready.transpose()?)
    }
}

/// What a cancelled statement ends with.
pub fn cancelled() -> Fault {
    DbError::cancelled().into()
}

/// The columns of a schema as the client is told.
///
/// # Errors
/// As [`Rows::new`].
pub fn description(schema: &Schema, formats: &[i16]) -> Result<RowDescription, Fault> {
    Ok(RowDescription::new(fields(schema, formats)?.iter().map(Into::into).collect()))
}

/// The PostgreSQL type of a column.
///
/// # Errors
/// It has none.
pub fn type_of(field: &FieldRef) -> Result<Type, Fault> {
    match field.data_type() {
        DataType::Null => Ok(Type::TEXT),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal256(..) => Ok(Type::NUMERIC),
        _ => field_into_pg_type(field).map_err(|_| {
            let message =
                format!("column \"{}\" has the type {}, which has no PostgreSQL form", field.name(), field.data_type());
            Fault::sql("0A000", message).hint("cast it in the query, for example to VARCHAR")
        }),
    }
}

fn fields(schema: &Schema, formats: &[i16]) -> Result<Vec<FieldInfo>, Fault> {
    let mut fields = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let kind = type_of(field)?;
        let format = if binary_at(formats, index)? { FieldFormat::Binary } else { FieldFormat::Text };
        let (size, modifier) = (type_size(&kind), type_modifier(field));
        let info = FieldInfo::new(field.name().clone(), None, None, kind, format);
        fields.push(info.with_type_size(size).with_type_modifier(modifier));
    }
    Ok(fields)
}

/// `pg_type.typlen`.
fn type_size(kind: &Type) -> i16 {
    match *kind {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::OID | Type::DATE | Type::REGCLASS | Type::REGTYPE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => 8,
        Type::INTERVAL => 16,
        _ => -1,
    }
}

/// `pg_attribute.atttypmod`: precision and scale of a decimal.
fn type_modifier(field: &Field) -> i32 {
    match field.data_type() {
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (i32::from(*p) << 16 | i32::from(*s) & 0x7ff) + 4,
        _ => -1,
    }
}

/// Encodes rows of one schema.
pub struct RowEncoder {
    /// The columns as the client sees them.
    pub fields: Arc<Vec<FieldInfo>>,
    schema: Arc<Schema>,
    encoder: DataRowEncoder,
}

impl RowEncoder {
    /// An encoder for a schema.
    ///
    /// # Errors
    /// As [`Rows::new`].
    pub fn new(schema: &Schema, formats: &[i16]) -> Result<Self, Fault> {
        let fields = Arc::new(fields(schema, formats)?);
        Ok(Self { encoder: DataRowEncoder::new(fields.clone()), fields, schema: Arc::new(schema.clone()) })
    }

    /// Brings a batch into a form that can be encoded value by value.
    ///
    /// # Errors
    /// A batch that is not of the schema.
    pub fn prepare(&self, batch: &RecordBatch) -> Result<RecordBatch, Fault> {
        if batch.num_columns() != self.fields.len() {
            return Err(Fault::sql("XX000", "a result batch has other columns than announced"));
        }
        let plain = |column: &ArrayRef| match column.data_type() {
            DataType::Dictionary(_, value) => cast(column, value),
            DataType::Null => cast(column, &DataType::Utf8),
            DataType::RunEndEncoded(_, value) => cast(column, value.data_type()),
            DataType::Float16 => cast(column, &DataType::Float32),
            _ => Ok(column.clone()),
        };
        let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>();
        let columns = columns.map_err(|error| Fault::sql("XX000", error.to_string()))?;
        let kept = |(column, field): (&ArrayRef, &FieldRef)| {
            Field::new(field.name(), column.data_type().clone(), true).with_metadata(field.metadata().clone())
        };
        let schema = Schema::new(columns.iter().zip(self.schema.fields()).map(kept).collect::<Vec<_>>());
        let rows = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(schema), columns, &rows)
            .map_err(|error| Fault::sql("XX000", error.to_string()))
    }

    /// Encodes one row of a prepared batch.
    ///
    /// # Errors
    /// A value that has no PostgreSQL form.
    pub fn row(&mut self, batch: &RecordBatch, row: usize) -> Result<DataRow, Fault> {
        let schema = batch.schema_ref();
        for ((column, field), info) in batch.columns().iter().zip(schema.fields()).zip(self.fields.iter()) {
            if column.is_null(row) {
                let (format, options) = (info.format(), info.format_options());
                self.encoder.encode_field_with_type_and_format(&None::<&str>, info.datatype(), format, options)?;
            } else if let Some(text) = decimal_text(column, row) {
                decimal(&mut self.encoder, &text, info)?;
            } else if let Some(text) = plain_text(column, row, info.format()) {
                put_text(&mut self.encoder, &text, info)?;
            } else {
                encode_value(&mut self.encoder, column, row, field, info)?;
            }
        }
        Ok(self.encoder.take_row())
    }
}

fn decimal(encoder: &mut DataRowEncoder, text: &str, info: &FieldInfo) -> Result<(), Fault> {
    let options = info.format_options();
    match info.format() {
        FieldFormat::Text => put_text(encoder, text, info)?,
        FieldFormat::Binary => {
            let bytes = numeric::encode(text);
            let bytes = bytes.as_slice();
            encoder.encode_field_with_type_and_format(&bytes, &Type::BYTEA, FieldFormat::Binary, options)?;
        }
    }
    Ok(())
}

fn put_text(encoder: &mut DataRowEncoder, text: &str, info: &FieldInfo) -> Result<(), Fault> {
    encoder.encode_field_with_type_and_format(&text, &Type::TEXT, FieldFormat::Text, info.format_options())?;
    Ok(())
}

/// The text format of types whose text is ours; none leaves a value to arrow-pg.
fn plain_text(column: &ArrayRef, row: usize, format: FieldFormat) -> Option<String> {
    match (format, column.data_type()) {
        (FieldFormat::Binary, _) => None,
        (FieldFormat::Text, DataType::Float32) => Some(float::single(column.as_primitive::<Float32Type>().value(row))),
        (FieldFormat::Text, DataType::Float64) => Some(float::double(column.as_primitive::<Float64Type>().value(row))),
        (FieldFormat::Text, _) => time_text::text(column, row),
    }
}

fn decimal_text(column: &ArrayRef, row: usize) -> Option<String> {
    match column.data_type() {
        DataType::Decimal32(..) => Some(column.as_primitive::<Decimal32Type>().value_as_string(row)),
        DataType::Decimal64(..) => Some(column.as_primitive::<Decimal64Type>().value_as_string(row)),
        DataType::Decimal128(..) => Some(column.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => Some(column.as_primitive::<Decimal256Type>().value_as_string(row)),
        _ => None,
    }
}

/// The values of an encoded row; none = NULL.
pub fn cells(row: &DataRow) -> Vec<Option<&[u8]>> {
    let mut rest: &[u8] = &row.data;
    let mut cells = Vec::with_capacity(row.field_count.max(0) as usize);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length);
        let (cell, after) = match usize::try_from(length) {
            Ok(length) => (Some(&after[..length]), &after[length..]),
            Err(_) => (None, after),
        };
        cells.push(cell);
        rest = after;
    }
    cells
}

#[cfg(test)]
mod tests;
