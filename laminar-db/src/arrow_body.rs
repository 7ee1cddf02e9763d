//! An Arrow IPC stream as rows of a target.
//!
//! Invariant: nothing is allocated because a length was announced: the stream is cut from bytes that are
//! there, what would have to be unpacked is refused, and what the columns hold is measured before they are
//! copied. A value that its column cannot hold as it is is refused, but that a float takes the nearest. The reader may
//! panic on a damaged stream: it is to be run where that is caught.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::kernels::length::length;
use arrow::compute::{CastOptions, cast, cast_with_options, concat_batches, sum};
use arrow::datatypes::{DataType, FieldRef, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{Message, root_as_message};
use arrow::util::display::{FormatOptions, array_value_to_string};

use crate::copy::MAX_COPY_BYTES;
use crate::error::DbError;
use crate::ingest::UNTAKEN;

/// Bytes that a value of a type without a fixed width may take, its text apart.
const LOOSE_VALUE_BYTES: usize = 32;

/// A whole stream; its batches are not read yet.
pub struct ArrowBody {
    bytes: Buffer,
    schema: SchemaRef,
}

impl ArrowBody {
    /// Reads the schema and looks at the head of every message.
    ///
    /// # Errors
    /// The stream is not whole, its batches are compressed, or a column is nested.
    pub fn open(bytes: Buffer) -> Result<Self, DbError> {
        let mut schema = None;
        let mut rest = bytes.as_slice();
        while let Some((message, length)) = next_message(rest)? {
            if schema.is_none() {
                let header = message.header_as_schema().ok_or_else(|| broken("it does not begin with a schema"))?;
                schema = Some(fb_to_schema(header));
            }
            rest = &rest[length..];
        }
        let schema: Schema = schema.ok_or_else(|| broken("it has no schema"))?;
        if schema.fields().is_empty() {
            return Err(broken("it has no columns"));
        }
        for field in schema.fields() {
            if field.data_type().is_nested() || matches!(field.data_type(), DataType::RunEndEncoded(..)) {
                let why = format!("it is {}, and columns are flat here", field.data_type());
                return Err(misfit(field.name(), &why));
            }
        }
        Ok(Self { bytes, schema: Arc::new(schema) })
    }

    /// The names of its columns.
    pub fn names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// All of its rows, its columns cast in order to those that are wanted.
    ///
    /// # Errors
    /// A batch is damaged, a value does not fit, or the rows are larger than those of a COPY may be.
    pub fn rows(self, wanted: &SchemaRef) -> Result<RecordBatch, DbError> {
        let (mut decoder, mut rest) = (StreamDecoder::new(), self.bytes);
        let (mut batches, mut total, mut before) = (Vec::new(), 0_u64, 0);
        while let Some(batch) = decoder.decode(&mut rest).map_err(|error| broken(&error.to_string()))? {
            let columns = || batch.columns().iter().zip(wanted.fields());
            for (column, field) in columns() {
                let size = size(column, field.data_type()).map_err(|error| misfit(field.name(), &error.to_string()))?;
                total = total.saturating_add(size);
                if total > MAX_COPY_BYTES as u64 {
                    let message = format!("the rows of the body take more than {MAX_COPY_BYTES} bytes");
                    return Err(DbError::new("LDB-4079", "54000", message).with_hint("send them in several requests"));
                }
            }
            let cast = columns().map(|(column, field)| as_wanted(column, field, before)).collect::<Result<_, _>>()?;
            before += batch.num_rows();
            batches.push(RecordBatch::try_new(wanted.clone(), cast).map_err(|error| broken(&error.to_string()))?);
        }
        decoder.finish().map_err(|error| broken(&error.to_string()))?;
        concat_batches(wanted, &batches).map_err(|error| broken(&error.to_string()))
    }
}

/// A column of a batch as its target; so many rows were before the batch.
fn as_wanted(column: &ArrayRef, field: &FieldRef, before: usize) -> Result<ArrayRef, DbError> {
    let kind = field.data_type();
    let unfit = |error: ArrowError| misfit(field.name(), &format!("it does not fit {kind}: {error}"));
    let strict = CastOptions { safe: false, format_options: FormatOptions::default() };
    let wanted = cast_with_options(column, kind, &strict).map_err(unfit)?;
    if let Some(row) = first_changed(column, &wanted).map_err(unfit)? {
        let value = array_value_to_string(column, row).map_err(unfit)?;
        return Err(misfit(field.name(), &format!("{value} in row {} would lose a part as {kind}", before + row + 1)));
    }
    Ok(wanted)
}

/// The first value of a column that is another one after its cast.
fn first_changed(column: &ArrayRef, cast_to: &ArrayRef) -> Result<Option<usize>, ArrowError> {
    let plain = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        // Its instants count, not how its zone shows them.
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, None),
        kind => kind.clone(),
    };
    let (from, to) = (&plain, cast_to.data_type());
    // A text is parsed or written, and a float is the nearest to what it stands for.
    let exact = is_text(from) || is_text(to) || to.is_floating() || from.is_null() || from == to;
    if exact {
        return Ok(None);
    }
    let changed = distinct(&cast(column, from)?, &cast(cast_to, from)?)?;
    Ok(changed.values().set_indices().next())
}

/// The first message and its length with its body; nothing at the end of the stream.
fn next_message(rest: &[u8]) -> Result<Option<(Message<'_>, usize)>, DbError> {
    let torn = || broken("it ends in the middle of a message");
    let word = |at: usize| rest[at.min(rest.len())..].first_chunk().copied().map(u32::from_le_bytes);
    if rest.is_empty() {
        return Ok(None);
    }
    let (head, length) = match word(0) {
        Some(u32::MAX) => (8, word(4)),
        length => (4, length),
    };
    let end = match length.ok_or_else(torn)? {
        0 if rest.len() == head => return Ok(None),
        0 => return Err(broken("more bytes follow behind its end")),
        length => head + length as usize,
    };
    let message = root_as_message(rest.get(head..end).ok_or_else(torn)?).map_err(|error| broken(&error.to_string()))?;
    let batch = message.header_as_record_batch();
    let batch = batch.or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
    if batch.is_some_and(|batch| batch.compression().is_some()) {
        return Err(broken("its batches are compressed; write them without compression"));
    }
    let body = usize::try_from(message.bodyLength()).ok().filter(|body| *body <= rest.len() - end);
    Ok(Some((message, end + body.ok_or_else(torn)?)))
}

/// Bytes that a column may take as another type: neither repeated texts nor rows without bytes are free.
fn size(column: &ArrayRef, wanted: &DataType) -> Result<u64, ArrowError> {
    let width = wanted.primitive_width().unwrap_or(LOOSE_VALUE_BYTES) as u64;
    let values = (column.len() as u64).saturating_mul(width);
    if values > MAX_COPY_BYTES as u64 || !is_text(column.data_type()) {
        return Ok(values);
    }
    let lengths = cast(&length(column)?, &DataType::Int64)?;
    let text = sum(lengths.as_primitive::<Int64Type>()).unwrap_or(0);
    Ok(values + text.unsigned_abs())
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_text(values),
        kind => kind.is_string() || kind.is_binary(),
    }
}

fn broken(why: &str) -> DbError {
    DbError::new("LDB-4076", "22P03", format!("the body is no whole Arrow IPC stream: {why}")).with_hint(UNTAKEN)
}

fn misfit(column: &str, why: &str) -> DbError {
    DbError::new("LDB-4077", "22000", format!("column \"{column}\": {why}")).with_hint(UNTAKEN)
}

#[cfg(test)]
mod tests;
