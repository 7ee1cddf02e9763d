//! Rows as Arrow columns of the types that the user declared.
//!
//! Invariant: column names and types were checked by [`Columns::new`]; building cannot fail on them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use laminar_connector_kit::{ConnectorError, nearest};
use laminar_core::connector::Fault;
use laminar_core::graph::{ColumnSource, SourceSpec};

use crate::rows::{Kind, Rows, Sample, Trade};

/// Columns of a kind and what they are, for messages.
const TRADES: [(&str, &str); 7] = [
    ("id", "BIGINT"),
    ("symbol", "TEXT"),
    ("price", "DOUBLE PRECISION or DECIMAL"),
    ("qty", "BIGINT, INTEGER or DOUBLE PRECISION"),
    ("side", "TEXT"),
    ("venue", "TEXT"),
    ("ts", "TIMESTAMP"),
];
const SEQUENCE: [(&str, &str); 3] =
    [("ts", "TIMESTAMP"), ("k", "BIGINT or INTEGER"), ("v", "BIGINT or DOUBLE PRECISION")];

/// The declared columns.
#[derive(Clone, Debug)]
pub struct Columns {
    schema: SchemaRef,
    names: Vec<&'static str>,
}

impl Columns {
    /// The field columns of a source.
    ///
    /// # Errors
    /// `LDB-6302` a name that the kind does not have, `LDB-6303` a type it does not have.
    pub fn new(kind: Kind, spec: &SourceSpec) -> Result<Self, ConnectorError> {
        let known: &'static [(&str, &str)] = if kind == Kind::Trades { &TRADES } else { &SEQUENCE };
        let mut names = Vec::new();
        let mut fields = Vec::new();
        for (column, field) in spec.columns.iter().zip(spec.schema.columns.fields()) {
            let ColumnSource::Field(name) = &column.from else { continue };
            let Some((name, types)) = known.iter().find(|(known, _)| known == name) else {
                return Err(unknown(name, known));
            };
            if !fits(name, field.data_type()) {
                let message = format!("column \"{name}\" of the generator is {types}, not {}", field.data_type());
                return Err(ConnectorError::user("LDB-6303", message));
            }
            names.push(*name);
            fields.push(Field::clone(field));
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)), names })
    }

    /// `count` rows from `first` on.
    ///
    /// # Errors
    /// `LDB-6304`: a defect (the columns were checked before).
    pub fn build(&self, rows: &Rows, split: u64, first: u64, count: usize) -> Result<RecordBatch, ConnectorError> {
        let numbers = first..first + count as u64;
        let arrays: Vec<ArrayRef> = match rows.kind() {
            Kind::Trades => {
                let trades: Vec<Trade> = numbers.map(|row| rows.trade(split, row)).collect();
                self.pairs().map(|(name, ty)| trade_column(rows, &trades, name, ty)).collect()
            }
            Kind::Sequence => {
                let samples: Vec<Sample> = numbers.map(|row| rows.sample(split, row)).collect();
                self.pairs().map(|(name, ty)| sample_column(&samples, name, ty)).collect()
            }
        };
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(|error| ConnectorError {
            code: "LDB-6304",
            fault: Fault::Internal,
            message: format!("generated columns do not make a batch: {error}"),
        })
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, &DataType)> {
        self.names.iter().copied().zip(self.schema.fields().iter().map(|field| field.data_type()))
    }
}

fn unknown(name: &str, known: &[(&str, &str)]) -> ConnectorError {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let hint = nearest(name, names.iter().copied()).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    let list = names.join(", ");
    ConnectorError::user("LDB-6302", format!("the generator has no column \"{name}\"{hint} (it has {list})"))
}

fn fits(name: &str, ty: &DataType) -> bool {
    match (name, ty) {
        ("id" | "qty" | "k" | "v", DataType::Int64)
        | ("qty" | "k", DataType::Int32)
        | ("qty" | "v" | "price", DataType::Float64)
        | ("symbol" | "side" | "venue", DataType::Utf8 | DataType::Utf8View)
        | ("ts", DataType::Timestamp(_, _)) => true,
        // Prices go up to 7 digits before the point.
        ("price", DataType::Decimal128(precision, scale)) => {
            *scale >= 2 && i16::from(*precision) >= i16::from(*scale) + 7
        }
        _ => false,
    }
}

fn trade_column(rows: &Rows, trades: &[Trade], name: &str, ty: &DataType) -> ArrayRef {
    match name {
        "id" => integers(ty, trades.iter().map(|trade| trade.id as i64)),
        "symbol" => texts(ty, trades.iter().map(|trade| rows.symbol(trade.symbol))),
        "price" => match ty {
            DataType::Decimal128(_, scale) => {
                let factor = 10i128.pow(u32::from(scale.unsigned_abs()) - 2);
                let values = trades.iter().map(|trade| i128::from(trade.price_cents) * factor);
                Arc::new(Decimal128Array::from_iter_values(values).with_data_type(ty.clone()))
            }
            _ => Arc::new(Float64Array::from_iter_values(trades.iter().map(|trade| trade.price_cents as f64 / 100.0))),
        },
        "qty" => integers(ty, trades.iter().map(|trade| trade.qty)),
        "side" => texts(ty, trades.iter().map(|trade| trade.side.as_str())),
        "venue" => texts(ty, trades.iter().map(|trade| Rows::venue(trade.venue))),
        _ => times(ty, trades.iter().map(|trade| trade.ts_us)),
    }
}

fn sample_column(samples: &[Sample], name: &str, ty: &DataType) -> ArrayRef {
    match name {
        "k" => integers(ty, samples.iter().map(|sample| sample.k)),
        "v" => integers(ty, samples.iter().map(|sample| sample.v)),
        _ => times(ty, samples.iter().map(|sample| sample.ts_us)),
    }
}

fn integers(ty: &DataType, values: impl Iterator<Item = i64>) -> ArrayRef {
    match ty {
        // Sizes are at most 1000; keys beyond the type wrap, which the number of keys decides.
        DataType::Int32 => Arc::new(Int32Array::from_iter_values(values.map(|value| value as i32))),
        DataType::Float64 => Arc::new(Float64Array::from_iter_values(values.map(|value| value as f64))),
        _ => Arc::new(Int64Array::from_iter_values(values)),
    }
}

fn texts(ty: &DataType, values: impl Iterator<Item = impl AsRef<str>>) -> ArrayRef {
    match ty {
        DataType::Utf8View => Arc::new(StringViewArray::from_iter_values(values)),
        _ => Arc::new(StringArray::from_iter_values(values)),
    }
}

fn times(ty: &DataType, micros: impl Iterator<Item = i64>) -> ArrayRef {
    let DataType::Timestamp(unit, zone) = ty else {
        return Arc::new(TimestampMicrosecondArray::from_iter_values(micros));
    };
    let zone = zone.clone();
    match unit {
        TimeUnit::Second => {
            let values = micros.map(|us| us.div_euclid(1_000_000));
            Arc::new(TimestampSecondArray::from_iter_values(values).with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => {
            let values = micros.map(|us| us.div_euclid(1000));
            Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone_opt(zone))
        }
        TimeUnit::Microsecond => Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone_opt(zone)),
        TimeUnit::Nanosecond => {
            let values = micros.map(|us| us.saturating_mul(1000));
            Arc::new(TimestampNanosecondArray::from_iter_values(values).with_timezone_opt(zone))
        }
    }
}
