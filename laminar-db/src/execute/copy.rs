//! `COPY … FROM STDIN` into a table or push source.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use laminar_core::engine::{Insert, OnConflict};
use laminar_core::ids::ObjectId;
use laminar_sql::parse::CopyFormat as Parsed;

use crate::ask::ask;
use crate::copy::{CopyCommit, CopyFormat, CopyIn, CopySyntax, Header};
use crate::database::Inner;
use crate::error::DbError;
use crate::ingest::Ingested;
use crate::record;
use crate::response::Response;
use crate::session::Session;

/// Begins a COPY.
pub fn copy_in(
    session: &mut Session,
    target: ObjectId,
    columns: &[usize],
    format: &Parsed,
) -> Result<Response, DbError> {
    if session.block().is_some() {
        let message = "COPY FROM STDIN inside a transaction block is not supported";
        return Err(DbError::new("LDB-4053", "0A000", message).with_hint("COPY is one transaction by itself"));
    }
    let copy = begin(&session.inner, target, columns, copy_format(format)?)?;
    Ok(Response::CopyIn(Box::new(copy)))
}

/// Begins to take rows of some columns of an object.
pub fn begin(inner: &Arc<Inner>, target: ObjectId, columns: &[usize], format: CopyFormat) -> Result<CopyIn, DbError> {
    let Some(schema) = inner.catalog().by_id(target).map(|e| e.schema().columns.clone()) else {
        return Err(DbError::new("LDB-4054", "42P01", "the target of the COPY no longer exists"));
    };
    let given: SchemaRef = Arc::new(Schema::new(columns.iter().map(|i| schema.field(*i).clone()).collect::<Vec<_>>()));
    let (inner, columns, row_bits) = (inner.clone(), columns.to_vec(), record::row_bits(schema.fields()));
    let commit: CopyCommit = Box::new(move |rows, request| {
        Box::pin(async move {
            let rows = vec![whole_rows(&schema, &columns, &rows)?];
            let insert = Insert { object: target, rows, on_conflict: OnConflict::Error, request };
            let inserted = ask(|reply| inner.engine.insert(insert, reply)).await?;
            inner.wrote(inserted.epoch);
            Ok(Ingested { rows: inserted.rows, repeated: inserted.repeated })
        })
    });
    Ok(CopyIn::new(given, row_bits, format, commit))
}

fn copy_format(format: &Parsed) -> Result<CopyFormat, DbError> {
    let delimiter = u8::try_from(format.delimiter)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| DbError::new("LDB-4055", "22023", "the delimiter of COPY must be one ASCII character"))?;
    if format.csv && (format.quote != '"' || format.escape != '"') {
        return Err(DbError::new("LDB-4056", "0A000", "COPY reads only fields quoted with \""));
    }
    Ok(CopyFormat {
        syntax: if format.csv { CopySyntax::Csv } else { CopySyntax::Text },
        delimiter,
        null: format.null.clone(),
        header: if format.header { Header::Present } else { Header::Absent },
    })
}

/// Rows of the whole schema; columns that were not given are NULL.
fn whole_rows(schema: &SchemaRef, columns: &[usize], rows: &RecordBatch) -> Result<RecordBatch, DbError> {
    let missing = schema.fields().iter().enumerate().filter(|(i, _)| !columns.contains(i)).map(|(_, field)| field);
    let nulls = rows.num_rows().saturating_mul(record::row_bits(missing)) / 8;
    record::fits(record::bytes(rows).saturating_add(nulls))?;
    let column = |i: usize| -> ArrayRef {
        match columns.iter().position(|c| *c == i) {
            Some(at) => rows.column(at).clone(),
            None => new_null_array(schema.field(i).data_type(), rows.num_rows()),
        }
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|e| DbError::new("LDB-4057", "23502", format!("a column that is NOT NULL has no value: {e}")))
}
