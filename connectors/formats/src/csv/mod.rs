//! CSV (RFC 4180), one row a record.

mod decoder;
mod encoder;
mod fields;
mod options;
mod value;

pub use decoder::{CsvDecoder, CsvDecoderFactory};
pub use encoder::{CsvEncoder, CsvEncoderFactory};
pub use options::CsvOptions;
