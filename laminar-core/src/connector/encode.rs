//! The port of encoders: Arrow columns to bytes of records.

use arrow::datatypes::SchemaRef;

use super::ConnectorError;
use crate::connector::options::{OptionSpec, Options};
use crate::data::Batch;
use crate::graph::Envelope;
use crate::ids::Epoch;

/// One encoded record, borrowed from the encoder's buffer.
#[derive(Clone, Copy, Debug)]
pub struct EncodedRecord<'a> {
    /// Message key.
    pub key: Option<&'a [u8]>,
    /// Body; none = delete.
    pub value: Option<&'a [u8]>,
    /// Row of the batch that it came from.
    pub row: usize,
}

/// Encodes batches. Lives on one reactor.
pub trait Encoder: Send {
    /// Encodes each row in order; a row of weight ±n comes out n times where the envelope has no key.
    ///
    /// # Errors
    /// A value that the format cannot hold.
    fn encode(
        &mut self,
        batch: &Batch,
        epoch: Epoch,
        into: &mut dyn FnMut(EncodedRecord<'_>),
    ) -> Result<(), ConnectorError>;
}

/// Makes encoders of one format.
pub trait EncoderFactory: Send + Sync {
    /// The format's name in SQL and TOML.
    fn name(&self) -> &'static str;

    /// The options it takes.
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    /// An encoder for a stream.
    ///
    /// # Errors
    /// A column type that the format cannot hold, an envelope it does not know, or a wrong option.
    fn create(
        &self,
        schema: SchemaRef,
        envelope: Envelope,
        key: Option<&[usize]>,
        options: &Options,
    ) -> Result<Box<dyn Encoder>, ConnectorError>;
}
