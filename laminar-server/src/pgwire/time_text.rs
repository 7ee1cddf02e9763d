//! Times of day and timestamps as PostgreSQL writes them: no trailing zeros, short offsets.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The text of a time or timestamp; none for other types and for values no calendar holds.
pub fn text(column: &ArrayRef, row: usize) -> Option<String> {
    let zoned = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.is_some(),
        DataType::Time32(_) | DataType::Time64(_) => false,
        _ => return None,
    };
    let options = FormatOptions::default()
        .with_display_error(false)
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
        .with_time_format(Some("%H:%M:%S%.f"));
    // One value at a time: a formatter of the whole column would show the same rows.
    let value = column.slice(row, 1);
    let written = ArrayFormatter::try_new(&value, &options).ok()?.value(0).try_to_string().ok()?;
    if !zoned {
        return Some(trimmed(&written).to_owned());
    }
    let (moment, offset) = written.split_at(written.len().checked_sub(6)?);
    Some(format!("{}{}", trimmed(moment), offset.strip_suffix(":00").unwrap_or(offset)))
}

fn trimmed(moment: &str) -> &str {
    if moment.contains('.') { moment.trim_end_matches('0').trim_end_matches('.') } else { moment }
}
