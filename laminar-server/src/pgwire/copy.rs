//! COPY: bytes from the client into a session, rows from a session as text lines.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use laminar_db::DbError;
use laminar_db::copy::CopyIn;
use pgwire::messages::copy::{CopyData, CopyDone, CopyInResponse, CopyOutResponse};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::fault::Fault;
use super::frontend::{Frontend, decode};
use super::row::{RowEncoder, cancelled, cells};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes COPY data until the client ends it; nothing of it stays if it fails.
    pub async fn copy_in(&mut self, mut copy: CopyIn) -> Result<(), Fault> {
        let columns = copy.columns().fields().len();
        self.wire.put(&CopyInResponse::new(0, columns as i16, vec![0; columns]));
        self.wire.flush().await?;
        // A COPY that is dropped has written nothing.
        loop {
            let (tag, body) = tokio::select! {
                message = copy.wait(self.wire.message()) => message??,
                _ = self.cancelled.changed() => return Err(cancelled()),
                () = self.gate.stop().cancelled() => {
                    return Err(Fault::fatal("57P01", "terminating connection due to administrator command"));
                }
            };
            match decode(tag, body)? {
                Frontend::CopyData(data) => copy.push(&data)?,
                Frontend::CopyDone => {
                    let count = tokio::select! {
                        biased;
                        count = copy.finish() => count?,
                        _ = self.cancelled.changed() => return Err(cancelled()),
                        () = self.wire.closed() => return Err(Fault::Gone),
                    };
                    self.complete(&format!("COPY {count}"));
                    return Ok(());
                }
                Frontend::CopyFail(reason) => {
                    return Err(Fault::sql("57014", format!("COPY from stdin failed: {reason}")));
                }
                // Flush and Sync are allowed here and mean nothing.
                Frontend::Flush | Frontend::Sync => {}
                _ => return Err(Fault::fatal("08P01", "unexpected message type during COPY from stdin")),
            }
        }
    }

    /// Sends rows as COPY text lines, each batch at once.
    pub async fn copy_out(
        &mut self,
        schema: &SchemaRef,
        mut batches: BoxStream<'static, Result<RecordBatch, DbError>>,
    ) -> Result<(), Fault> {
        let mut encoder = RowEncoder::new(schema, &[])?;
        let columns = schema.fields().len();
        self.wire.put(&CopyOutResponse::new(0, columns as i16, vec![0; columns]));
        let mut count = 0;
        while let Some(batch) = self.next_batch(&mut batches).await? {
            let batch = encoder.prepare(&batch)?;
            for row in 0..batch.num_rows() {
                let row = encoder.row(&batch, row)?;
                self.wire.put(&CopyData::new(line(&cells(&row))));
                self.relieve().await?;
            }
            count += batch.num_rows();
        }
        self.wire.put(&CopyDone::new());
        self.complete(&format!("COPY {count}"));
        Ok(())
    }
}

/// A row in COPY's text format.
fn line(cells: &[Option<&[u8]>]) -> Bytes {
    let mut out = BytesMut::new();
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\t");
        }
        match cell {
            None => out.extend_from_slice(b"\\N"),
            Some(bytes) => bytes.iter().for_each(|byte| match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                other => out.extend_from_slice(&[*other]),
            }),
        }
    }
    out.extend_from_slice(b"\n");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_inside_values_are_escaped_and_null_is_distinct_from_empty() {
        assert_eq!(&line(&[Some(b"a\tb\\"), None, Some(b"")])[..], b"a\\tb\\\\\t\\N\t\n");
    }
}
