//! Lengths of time in SQL, as microseconds.

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use datafusion::sql::sqlparser::ast::{Expr, Interval, Spanned, UnaryOperator, Value, ValueWithSpan};

use crate::error::{Kind, SqlError};
use crate::parse::Location;

/// Microseconds of `INTERVAL '5' SECOND`, `INTERVAL '5 seconds'`, `INTERVAL 5 SECONDS`, `'5 seconds'`.
/// Days count as 24 hours.
pub(crate) fn micros(expr: &Expr) -> Result<i64, SqlError> {
    let at: Location = expr.span().start.into();
    let text = match expr {
        Expr::Nested(inner) => return micros(inner),
        Expr::Interval(Interval {
            value,
            leading_field,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        }) => {
            let number = constant(value)
                .ok_or_else(|| SqlError::new(Kind::Syntax, format!("{expr} is not a constant interval")).at(at))?;
            match leading_field {
                Some(unit) => format!("{number} {unit}"),
                None => number,
            }
        }
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span: _ }) => text.clone(),
        other => {
            return Err(SqlError::new(Kind::Syntax, format!("{other} is not an interval"))
                .hint("write INTERVAL '5 seconds'")
                .at(at));
        }
    };
    text_micros(&text).map_err(|e| e.at(at))
}

fn constant(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text) | Value::Number(text, _), span: _ }) => {
            Some(text.clone())
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => constant(expr).map(|text| format!("-{text}")),
        _ => None,
    }
}

/// Microseconds of `5 seconds`.
pub(crate) fn text_micros(text: &str) -> Result<i64, SqlError> {
    let wrong =
        || SqlError::new(Kind::InvalidText, format!("'{text}' is not an interval")).hint("write INTERVAL '5 seconds'");
    let config = IntervalParseConfig::new(IntervalUnit::Second);
    let parsed = parse_interval_month_day_nano_config(text, config).map_err(|_| wrong())?;
    if parsed.months != 0 {
        return Err(SqlError::unsupported(
            format!("a length of '{text}' here"),
            "months and years have no fixed length: use days",
        ));
    }
    if parsed.nanoseconds % 1000 != 0 {
        return Err(SqlError::unsupported(format!("a length of '{text}' here"), "event time counts microseconds"));
    }
    i64::from(parsed.days)
        .checked_mul(86_400_000_000)
        .and_then(|days| days.checked_add(parsed.nanoseconds / 1000))
        .ok_or_else(wrong)
}

/// `5 s` from microseconds, for EXPLAIN.
pub(crate) fn show_micros(micros: i64) -> String {
    for (unit, size) in
        [("day", 86_400_000_000), ("hour", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1000)]
    {
        if micros != 0 && micros % size == 0 {
            return format!("{} {unit}", micros / size);
        }
    }
    format!("{micros} µs")
}

#[cfg(test)]
mod tests {
    use super::{show_micros, text_micros};

    #[test]
    fn lengths_of_fixed_units_are_microseconds_and_months_are_refused() {
        assert_eq!(text_micros("5 seconds").unwrap(), 5_000_000);
        assert_eq!(text_micros("5").unwrap(), 5_000_000);
        assert_eq!(text_micros("1 minute 30 seconds").unwrap(), 90_000_000);
        assert_eq!(text_micros("100 milliseconds").unwrap(), 100_000);
        assert_eq!(text_micros("1 day").unwrap(), 86_400_000_000);
        assert!(text_micros("1 month").unwrap_err().hint.unwrap().contains("days"));
        assert!(text_micros("soon").is_err());
        assert_eq!(show_micros(90_000_000), "90 s");
        assert_eq!(show_micros(0), "0 µs");
    }
}
