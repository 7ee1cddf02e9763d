//! `avg`: DataFusion's, but an average of decimals is rounded half away from zero, as PostgreSQL and our
//! continuous aggregates do; DataFusion cuts digits off.
//!
//! Invariant: the inner function computes one digit more than is returned; cutting there and rounding
//! once gives the same digits as rounding the exact quotient.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    inner: Arc<AggregateUDF>,
}

/// The function.
pub(super) fn average() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Average { inner: avg_udaf() }))
}

/// The type with one digit more, if a decimal has room for it.
fn one_digit_more(returns: &DataType) -> Option<DataType> {
    match returns {
        DataType::Decimal128(precision, scale) if *scale < 38 => {
            Some(DataType::Decimal128((precision + 1).min(38), scale + 1))
        }
        _ => None,
    }
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let returns = args.return_field.data_type().clone();
        let Some(wider) = one_digit_more(&returns) else { return self.inner.accumulator(args) };
        let return_field = Arc::new(Field::new("avg", wider, true));
        let inner = self.inner.accumulator(AccumulatorArgs { return_field, ..args })?;
        Ok(Box::new(Rounded { inner, returns }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        // Decimals go through `Rounded`, group by group.
        one_digit_more(args.return_field.data_type()).is_none() && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// Rounds the last digit of what the inner accumulator gives away.
#[derive(Debug)]
struct Rounded {
    inner: Box<dyn Accumulator>,
    returns: DataType,
}

impl Accumulator for Rounded {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let DataType::Decimal128(precision, scale) = self.returns else { return self.inner.evaluate() };
        Ok(match self.inner.evaluate()? {
            ScalarValue::Decimal128(value, _, _) => ScalarValue::Decimal128(value.map(half_away), precision, scale),
            other => other,
        })
    }

    fn size(&self) -> usize {
        self.inner.size() + size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

fn half_away(value: i128) -> i128 {
    (value + if value < 0 { -5 } else { 5 }) / 10
}

#[cfg(test)]
mod tests {
    use super::half_away;

    #[test]
    fn the_last_digit_is_rounded_half_away_from_zero() {
        let rounded: Vec<i128> = [14, 15, 19, 20, -14, -15, -19, 0, 4, -4].map(half_away).to_vec();
        assert_eq!(rounded, [1, 2, 2, 2, -1, -2, -2, 0, 0, 0]);
    }
}
