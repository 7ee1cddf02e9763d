//! `date_bin` and `date_trunc` over a time attribute in GROUP BY: windows in other words.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use laminar_core::expr::ScalarExpr;
use laminar_core::graph::{WindowKind, WindowSpec};

use super::flow::{Computed, Flow, unaliased};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 1970-01-01 was a Thursday, weeks begin on Monday.
const MONDAY: i64 = 4 * DAY;

/// The window that a group expression means; none = a plain key.
pub(super) fn window_of(expr: &Expr, flow: &Flow, schema: &DFSchema, attributes: &[usize]) -> Option<WindowSpec> {
    let expr = match unaliased(expr) {
        Expr::Column(column) => {
            // A computed column of the input may be the call.
            let index = schema.maybe_index_of_column(column)?;
            return match &flow.columns[index] {
                Computed::Expr(ScalarExpr::Call { function, args, .. }) => of_call(function, args, attributes),
                _ => None,
            };
        }
        Expr::ScalarFunction(f) => f,
        _ => return None,
    };
    let [length, Expr::Column(column)] = expr.args.as_slice() else { return None };
    let index = schema.maybe_index_of_column(column)?;
    let time = match &flow.columns[index] {
        Computed::Expr(ScalarExpr::Column { index, .. }) if attributes.contains(index) => *index,
        _ => return None,
    };
    let Expr::Literal(length, _) = length else { return None };
    let (size, offset) = match expr.func.name() {
        "date_bin" => (bin_size(length)?, 0),
        "date_trunc" => trunc_size(length)?,
        _ => return None,
    };
    Some(WindowSpec { kind: WindowKind::Tumble { size, offset }, time })
}

fn of_call(function: &str, args: &[ScalarExpr], attributes: &[usize]) -> Option<WindowSpec> {
    let [ScalarExpr::Literal { value, .. }, ScalarExpr::Column { index, .. }] = args else { return None };
    if !attributes.contains(index) {
        return None;
    }
    let (size, offset) = match (function, value) {
        ("date_bin", laminar_core::expr::Literal::Interval(0, days, nanos)) => (fixed(*days, *nanos)?, 0),
        ("date_trunc", laminar_core::expr::Literal::Text(unit)) => unit_size(unit)?,
        _ => return None,
    };
    Some(WindowSpec { kind: WindowKind::Tumble { size, offset }, time: *index })
}

fn fixed(days: i32, nanos: i64) -> Option<i64> {
    let micros = i64::from(days) * DAY + nanos / 1000;
    (nanos % 1000 == 0 && micros > 0).then_some(micros)
}

fn bin_size(length: &ScalarValue) -> Option<i64> {
    match length {
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 => fixed(i.days, i.nanoseconds),
        ScalarValue::IntervalDayTime(Some(i)) => fixed(i.days, i64::from(i.milliseconds) * 1_000_000),
        _ => None,
    }
}

fn trunc_size(unit: &ScalarValue) -> Option<(i64, i64)> {
    match unit {
        ScalarValue::Utf8(Some(unit)) | ScalarValue::Utf8View(Some(unit)) | ScalarValue::LargeUtf8(Some(unit)) => {
            unit_size(unit)
        }
        _ => None,
    }
}

fn unit_size(unit: &str) -> Option<(i64, i64)> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "millisecond" => (1000, 0),
        "second" => (SECOND, 0),
        "minute" => (60 * SECOND, 0),
        "hour" => (3600 * SECOND, 0),
        "day" => (DAY, 0),
        "week" => (7 * DAY, MONDAY),
        _ => return None,
    })
}
