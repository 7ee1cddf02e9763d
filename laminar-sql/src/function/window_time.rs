//! `window_time_of(window_end)`: the last moment inside a window, one unit before its end.
//!
//! It has a name of its own, not `- 1`, so that the planner sees that the result is a time attribute.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// Its name.
pub(crate) const NAME: &str = "window_time_of";

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowTime {
    signature: Signature,
}

/// The function.
pub fn window_time_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(WindowTime { signature: Signature::any(1, Volatility::Immutable) }))
}

impl ScalarUDFImpl for WindowTime {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match &arg_types[0] {
            timestamp @ DataType::Timestamp(_, _) => Ok(timestamp.clone()),
            other => plan_err!("a window is cut over a TIMESTAMP that is a time attribute, not over {other}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ends = args.args[0].to_array(args.number_rows)?;
        let before = match ends.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => one_less::<TimestampSecondType>(&ends)?,
            DataType::Timestamp(TimeUnit::Millisecond, _) => one_less::<TimestampMillisecondType>(&ends)?,
            DataType::Timestamp(TimeUnit::Microsecond, _) => one_less::<TimestampMicrosecondType>(&ends)?,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => one_less::<TimestampNanosecondType>(&ends)?,
            other => return exec_err!("{NAME} takes a timestamp, not {other}"),
        };
        Ok(ColumnarValue::Array(before))
    }
}

fn one_less<T: ArrowTimestampType>(ends: &ArrayRef) -> Result<ArrayRef> {
    let ends: &PrimitiveArray<T> = ends.as_primitive();
    let less: PrimitiveArray<T> = ends.unary(|end| end.saturating_sub(1));
    Ok(Arc::new(less.with_data_type(arrow::array::Array::data_type(ends).clone())))
}
