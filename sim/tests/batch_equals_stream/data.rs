//! Random rows of the base relations: few keys, NULLs, sums that are exact in every type.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;

pub const SECOND: i64 = 1_000_000;

/// The columns of every base relation but the time column's precision.
pub const COLUMNS: &str =
    "id BIGINT NOT NULL, k VARCHAR, g BIGINT, v BIGINT, p DOUBLE PRECISION, d DECIMAL(10,2), b BOOLEAN";

/// One row; `id` is unique over all relations and ascends in the order of arrival.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: i64,
    pub k: Option<&'static str>,
    pub g: Option<i64>,
    pub v: Option<i64>,
    pub p: Option<f64>,
    pub d: Option<i128>,
    pub b: Option<bool>,
    /// Microseconds, whole milliseconds.
    pub ts: Option<i64>,
}

/// Where event time is and how far rows stray behind it.
#[derive(Clone, Debug)]
pub struct Clock {
    pub now: i64,
    /// Greatest distance of a row behind `now`.
    pub stray: i64,
    /// Greatest step between two rows.
    pub step: i64,
}

fn sometimes<T>(random: &mut fastrand::Rng, value: T) -> Option<T> {
    (random.u8(0..8) > 0).then_some(value)
}

/// One random row with event time; one in fifty has none.
pub fn row(random: &mut fastrand::Rng, clock: &mut Clock, id: i64) -> Row {
    clock.now += random.i64(0..=clock.step) / 1000 * 1000;
    let ts = clock.now - random.i64(0..=clock.stray) / 1000 * 1000;
    let k = ["a", "b", "c", "delta", "", "über"][random.usize(0..6)];
    let (g, v) = (random.i64(0..4), random.i64(-20..100));
    let (p, d) = (random.i32(-40..80), random.i64(-5000..9000));
    let b = random.bool();
    Row {
        id,
        k: sometimes(random, k),
        g: sometimes(random, g),
        v: sometimes(random, v),
        // A multiple of a quarter: sums do not depend on the order of rows.
        p: sometimes(random, f64::from(p) / 4.0),
        d: sometimes(random, i128::from(d)),
        b: sometimes(random, b),
        ts: (random.u8(0..50) > 0).then_some(ts),
    }
}

/// Rows in a relation's schema.
pub fn batch(schema: &SchemaRef, rows: &[Row]) -> RecordBatch {
    let decimals = rows.iter().map(|r| r.d).collect::<Decimal128Array>().with_precision_and_scale(10, 2).unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| Some(r.id)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.k).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.g).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.v).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.p).collect::<Float64Array>()),
        Arc::new(decimals),
        Arc::new(rows.iter().map(|r| r.b).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.ts).collect::<TimestampMicrosecondArray>()),
    ];
    let columns = columns.iter().zip(schema.fields()).map(|(c, f)| cast(c, f.data_type()).unwrap()).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}
