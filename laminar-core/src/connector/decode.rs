//! The port of decoders: bytes of a record to Arrow columns.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{ConnectorError, RawRecord};
use crate::connector::options::Options;

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, with the field and the value.
    pub reason: String,
}

/// Decodes records into columns. Lives on one reactor; runs inside the poll of a split.
pub trait Decoder: Send {
    /// Appends the record's rows (mostly one), or refuses it whole and leaves the columns as they were.
    ///
    /// # Errors
    /// The record does not fit the schema.
    fn push(&mut self, record: &RawRecord<'_>) -> Result<usize, Malformed>;

    /// Rows appended since the last [`Decoder::finish`].
    fn rows(&self) -> usize;

    /// Takes the rows as one batch of the decoder's schema.
    ///
    /// # Errors
    /// A defect of the decoder (columns of unequal length).
    fn finish(&mut self) -> Result<RecordBatch, ConnectorError>;
}

/// Makes decoders of one format.
pub trait DecoderFactory: Send + Sync {
    /// The format's name in SQL and TOML.
    fn name(&self) -> &'static str;

    /// The options it takes.
    fn options(&self) -> &'static [super::options::OptionSpec] {
        &[]
    }

    /// A decoder to the field columns of a source; `fields` are the record's names for them, in order.
    ///
    /// # Errors
    /// A column type that the format cannot hold, or a wrong option.
    fn create(
        &self,
        fields: &[String],
        schema: SchemaRef,
        options: &Options,
    ) -> Result<Box<dyn Decoder>, ConnectorError>;
}
