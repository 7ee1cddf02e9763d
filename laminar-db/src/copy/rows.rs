//! Turns records of text into one typed batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::util::display::FormatOptions;

use super::lines::{Record, malformed};
use crate::error::DbError;

/// One batch of the schema from all records, in order.
///
/// # Errors
/// A record with another number of fields, a value that does not fit its column, NULL in a NOT NULL column; each names its line.
pub fn to_batch(schema: &SchemaRef, records: Vec<Record>) -> Result<RecordBatch, DbError> {
    let width = schema.fields().len();
    if let Some(record) = records.iter().find(|r| r.fields.len() != width) {
        return Err(malformed(record.line, &format!("has {} fields, expected {width}", record.fields.len())));
    }
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(i, field)| column(field, i, &records))
        .collect::<Result<Vec<ArrayRef>, DbError>>()?;
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|e| DbError::new("LDB-4012", "XX000", format!("COPY rows do not make a batch: {e}")))
}

fn column(field: &Field, index: usize, records: &[Record]) -> Result<ArrayRef, DbError> {
    if let Some(record) = records.iter().find(|r| !field.is_nullable() && r.fields[index].is_none()) {
        let message = format!("line {}: NULL in column \"{}\", which is NOT NULL", record.line, field.name());
        return Err(DbError::new("LDB-4013", "23502", message));
    }
    let text: ArrayRef = Arc::new(records.iter().map(|r| r.fields[index].as_deref()).collect::<StringArray>());
    let cast = parse(&text, field.data_type()).filter(|cast| cast.null_count() == text.null_count());
    cast.ok_or_else(|| bad_value(field, index, records))
}

/// Casts text; a value that does not parse becomes NULL.
fn parse(text: &ArrayRef, to: &DataType) -> Option<ArrayRef> {
    let options = CastOptions { safe: true, format_options: FormatOptions::default() };
    cast_with_options(text, to, &options).ok()
}

fn bad_value(field: &Field, index: usize, records: &[Record]) -> DbError {
    let bad = records.iter().find_map(|record| {
        let value = record.fields[index].as_deref()?;
        let one: ArrayRef = Arc::new(StringArray::from(vec![value]));
        let fits = parse(&one, field.data_type()).is_some_and(|a| a.null_count() == 0);
        (!fits).then_some((record.line, value))
    });
    let (line, value) = bad.unwrap_or((0, ""));
    let message =
        format!("line {line}: invalid value \"{value}\" for column \"{}\" of type {}", field.name(), field.data_type());
    DbError::new("LDB-4014", "22P02", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Schema, TimeUnit};

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
            Field::new("n", DataType::Int64, true),
        ]))
    }

    fn record(line: usize, fields: &[Option<&str>]) -> Record {
        Record { line, fields: fields.iter().map(|f| f.map(str::to_owned)).collect() }
    }

    #[test]
    fn values_take_the_type_of_their_column() {
        let batch = to_batch(&schema(), vec![record(1, &[Some("2024-01-01 00:00:01"), None])]).unwrap();
        assert_eq!((batch.num_rows(), batch.column(1).null_count()), (1, 1));
    }

    #[test]
    fn a_bad_value_names_line_column_and_value() {
        let rows =
            vec![record(1, &[Some("2024-01-01 00:00:01"), Some("7")]), record(2, &[Some("2024-01-01"), Some("x")])];
        let error = to_batch(&schema(), rows).unwrap_err();
        assert_eq!(error.sqlstate, "22P02");
        assert!(error.message.contains("line 2") && error.message.contains("\"x\"") && error.message.contains("\"n\""));
    }

    #[test]
    fn null_in_a_not_null_column_is_23502() {
        assert_eq!(to_batch(&schema(), vec![record(3, &[None, None])]).unwrap_err().sqlstate, "23502");
    }

    #[test]
    fn a_short_line_is_refused() {
        let error = to_batch(&schema(), vec![record(9, &[None])]).unwrap_err();
        assert!(error.message.contains("line 9") && error.message.contains("expected 2"));
    }
}
