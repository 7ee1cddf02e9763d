//! Aggregates as plain data.
//!
//! Invariant: functions are named by what they mean, not by who runs them; the operator family
//! `operator::aggregate` runs these natively, further ones come through a bridge.

use std::fmt;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::data::schema_serde::data_type;

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AggregateFunction {
    /// `count(*)` (no argument) and `count(x)`: BIGINT.
    Count,
    /// `sum(x)`: DECIMAL(38,0) for integers, DECIMAL(38,s) for decimals, DOUBLE for floats.
    Sum,
    /// `avg(x)`: DOUBLE for integers and floats, DECIMAL for decimals.
    Avg,
    /// `min(x)`
    Min,
    /// `max(x)`
    Max,
    /// `first_value(x)`: of the row with the smallest order column, else of the first that arrived.
    First,
    /// `last_value(x)`: of the row with the greatest order column, else of the last that arrived.
    Last,
}

impl AggregateFunction {
    /// The SQL name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first_value",
            Self::Last => "last_value",
        }
    }

    /// Whether it can take rows back without keeping all of them.
    pub const fn retracts(self) -> bool {
        matches!(self, Self::Count | Self::Sum | Self::Avg)
    }
}

/// One aggregate of a group. Columns are indices of the operator's input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AggregateSpec {
    /// Which function.
    pub function: AggregateFunction,
    /// The argument; none = `count(*)`.
    pub argument: Option<usize>,
    /// `FILTER (WHERE …)`: a BOOLEAN column; rows where it is not true do not count.
    pub filter: Option<usize>,
    /// `ORDER BY` inside first/last, ascending: an input column (by default the time attribute is used if there is one).
    pub order: Option<usize>,
    /// The result's name.
    pub name: String,
    /// The result's type.
    #[serde(with = "data_type")]
    pub returns: DataType,
}

impl fmt::Display for AggregateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.argument {
            Some(column) => write!(f, "{}(#{column})", self.function.name())?,
            None => write!(f, "{}(*)", self.function.name())?,
        }
        if let Some(filter) = self.filter {
            write!(f, " FILTER (#{filter})")?;
        }
        Ok(())
    }
}
