//! Markers: functions that stand for a window in a plan until `bind` replaces them.
//!
//! Arguments: time column, slide, size, offset (microseconds). Volatile, so that no rule of the
//! optimizer moves, merges or folds them. Invariant: none is left when a plan is compiled or executed.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The window's start, inclusive.
pub(crate) const WINDOW_START: &str = "__window_start";
/// The window's end, exclusive.
pub(crate) const WINDOW_END: &str = "__window_end";
/// The last moment inside the window.
pub(crate) const WINDOW_TIME: &str = "__window_time";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Marker {
    name: &'static str,
    signature: Signature,
}

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [WINDOW_START, WINDOW_END, WINDOW_TIME]
        .into_iter()
        .map(|name| {
            let signature = Signature::any(4, Volatility::Volatile);
            Arc::new(ScalarUDF::new_from_impl(Marker { name, signature }))
        })
        .collect()
}

impl ScalarUDFImpl for Marker {
    fn name(&self) -> &str {
        self.name
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

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} is not bound to a window", self.name)
    }
}
