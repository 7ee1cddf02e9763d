//! `ScalarExpr` to a tree of DataFusion's physical expressions.
//!
//! Built directly, not through DataFusion's logical expressions: the tree was coerced when it was
//! planned, so nothing may be coerced, folded or renamed again.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr,
    Literal as PhysicalLiteral, NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use laminar_core::expr::{
    BinaryOp, CastFailure, CompileError, EvalError, Evaluate, ExprCompiler, LetterCase, ScalarExpr, Test,
};

use super::functions::{FUNCTION_VERSION, scalar_function};
use super::literal::literal_to_scalar;

type Physical = Arc<dyn PhysicalExpr>;

/// Compiles expressions to DataFusion's kernels.
#[derive(Clone, Debug, Default)]
pub struct DataFusionCompiler {
    options: Arc<ConfigOptions>,
}

impl ExprCompiler for DataFusionCompiler {
    fn compile(&self, expr: &ScalarExpr, input: &SchemaRef) -> Result<Box<dyn Evaluate>, CompileError> {
        let physical = self.physical(expr, input)?;
        Ok(Box::new(Compiled { physical }))
    }
}

struct Compiled {
    physical: Physical,
}

impl Evaluate for Compiled {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, EvalError> {
        let value = self.physical.evaluate(rows).map_err(|e| eval_error(&e))?;
        value.into_array(rows.num_rows()).map_err(|e| eval_error(&e))
    }
}

impl DataFusionCompiler {
    fn physical(&self, expr: &ScalarExpr, input: &SchemaRef) -> Result<Physical, CompileError> {
        match expr {
            ScalarExpr::Column { index, name, data_type } => column(*index, name, data_type, input),
            ScalarExpr::Literal { value, data_type } => {
                Ok(Arc::new(PhysicalLiteral::new(literal_to_scalar(value, data_type)?)))
            }
            ScalarExpr::Binary { op, left, right } => {
                Ok(binary(self.physical(left, input)?, operator(*op), self.physical(right, input)?))
            }
            ScalarExpr::Not(operand) => Ok(Arc::new(NotExpr::new(self.physical(operand, input)?))),
            ScalarExpr::Negate(operand) => negate(self.physical(operand, input)?, input),
            ScalarExpr::Is { test, operand } => Ok(is(*test, self.physical(operand, input)?)),
            ScalarExpr::Cast { operand, to, failure } => {
                let operand = self.physical(operand, input)?;
                Ok(match failure {
                    CastFailure::Error => Arc::new(CastExpr::new(operand, to.clone(), None)),
                    CastFailure::Null => Arc::new(TryCastExpr::new(operand, to.clone())),
                })
            }
            ScalarExpr::Case { base, branches, otherwise } => {
                let base = base.as_deref().map(|b| self.physical(b, input)).transpose()?;
                let branches = branches
                    .iter()
                    .map(|(when, then)| Ok((self.physical(when, input)?, self.physical(then, input)?)))
                    .collect::<Result<Vec<_>, CompileError>>()?;
                let otherwise = otherwise.as_deref().map(|o| self.physical(o, input)).transpose()?;
                Ok(Arc::new(CaseExpr::try_new(base, branches, otherwise).map_err(|e| defect(&e))?))
            }
            ScalarExpr::InList { operand, list } => {
                let operand = self.physical(operand, input)?;
                let list = self.physical_list(list, input)?;
                Ok(Arc::new(InListExpr::try_new(operand, list, false, input).map_err(|e| defect(&e))?))
            }
            ScalarExpr::Like { operand, pattern, escape, case } => {
                if let Some(escape) = escape.filter(|c| *c != '\\') {
                    let message = format!("LIKE with ESCAPE '{escape}' is not supported, only a backslash escapes");
                    return Err(CompileError { message });
                }
                let (operand, pattern) = (self.physical(operand, input)?, self.physical(pattern, input)?);
                Ok(Arc::new(LikeExpr::new(false, *case == LetterCase::Insensitive, operand, pattern)))
            }
            ScalarExpr::Call { function, version, args, returns } => {
                let args = self.physical_list(args, input)?;
                self.call(function, *version, args, returns, input)
            }
        }
    }

    fn physical_list(&self, list: &[ScalarExpr], input: &SchemaRef) -> Result<Vec<Physical>, CompileError> {
        list.iter().map(|e| self.physical(e, input)).collect()
    }

    fn call(
        &self,
        name: &str,
        version: u16,
        args: Vec<Physical>,
        returns: &DataType,
        input: &SchemaRef,
    ) -> Result<Physical, CompileError> {
        let Some(function) = scalar_function(name) else {
            return Err(CompileError { message: format!("function {name} does not exist in this build") });
        };
        if version != FUNCTION_VERSION {
            let message =
                format!("function {name} was planned in version {version}, this build has {FUNCTION_VERSION}");
            return Err(CompileError { message });
        }
        let call = ScalarFunctionExpr::try_new(function, args, input, self.options.clone()).map_err(|e| defect(&e))?;
        if call.return_type() != returns {
            let message =
                format!("function {name} returns {} in this build, was planned as {returns}", call.return_type());
            return Err(CompileError { message });
        }
        Ok(Arc::new(call))
    }
}

fn column(index: usize, name: &str, data_type: &DataType, input: &SchemaRef) -> Result<Physical, CompileError> {
    match input.fields().get(index) {
        Some(field) if field.data_type() == data_type => Ok(Arc::new(Column::new(field.name(), index))),
        Some(field) => {
            let message = format!("column {name} (#{index}) is {}, was planned as {data_type}", field.data_type());
            Err(CompileError { message })
        }
        None => Err(CompileError { message: format!("column {name} (#{index}) does not exist in the input") }),
    }
}

fn binary(left: Physical, op: Operator, right: Physical) -> Physical {
    Arc::new(BinaryExpr::new(left, op, right).with_fail_on_overflow(true))
}

/// `-x`; for integers `0 - x`, because the negation kernel wraps at the smallest integer.
fn negate(operand: Physical, input: &SchemaRef) -> Result<Physical, CompileError> {
    let data_type = operand.data_type(input).map_err(|e| defect(&e))?;
    if data_type.is_integer() {
        let zero = ScalarValue::new_zero(&data_type).map_err(|e| defect(&e))?;
        return Ok(binary(Arc::new(PhysicalLiteral::new(zero)), Operator::Minus, operand));
    }
    Ok(Arc::new(NegativeExpr::new(operand)))
}

fn is(test: Test, operand: Physical) -> Physical {
    let against = |value: bool, op: Operator| {
        binary(operand.clone(), op, Arc::new(PhysicalLiteral::new(ScalarValue::Boolean(Some(value)))))
    };
    match test {
        Test::Null | Test::Unknown => Arc::new(IsNullExpr::new(operand)),
        Test::NotNull | Test::NotUnknown => Arc::new(IsNotNullExpr::new(operand)),
        Test::True => against(true, Operator::IsNotDistinctFrom),
        Test::NotTrue => against(true, Operator::IsDistinctFrom),
        Test::False => against(false, Operator::IsNotDistinctFrom),
        Test::NotFalse => against(false, Operator::IsDistinctFrom),
    }
}

fn operator(op: BinaryOp) -> Operator {
    match op {
        BinaryOp::Add => Operator::Plus,
        BinaryOp::Subtract => Operator::Minus,
        BinaryOp::Multiply => Operator::Multiply,
        BinaryOp::Divide => Operator::Divide,
        BinaryOp::Modulo => Operator::Modulo,
        BinaryOp::Eq => Operator::Eq,
        BinaryOp::NotEq => Operator::NotEq,
        BinaryOp::Lt => Operator::Lt,
        BinaryOp::LtEq => Operator::LtEq,
        BinaryOp::Gt => Operator::Gt,
        BinaryOp::GtEq => Operator::GtEq,
        BinaryOp::And => Operator::And,
        BinaryOp::Or => Operator::Or,
        BinaryOp::IsDistinctFrom => Operator::IsDistinctFrom,
        BinaryOp::IsNotDistinctFrom => Operator::IsNotDistinctFrom,
        BinaryOp::Concat => Operator::StringConcat,
        BinaryOp::BitAnd => Operator::BitwiseAnd,
        BinaryOp::BitOr => Operator::BitwiseOr,
        BinaryOp::BitXor => Operator::BitwiseXor,
        BinaryOp::ShiftLeft => Operator::BitwiseShiftLeft,
        BinaryOp::ShiftRight => Operator::BitwiseShiftRight,
        BinaryOp::RegexMatch => Operator::RegexMatch,
        BinaryOp::RegexIMatch => Operator::RegexIMatch,
        BinaryOp::RegexNotMatch => Operator::RegexNotMatch,
        BinaryOp::RegexNotIMatch => Operator::RegexNotIMatch,
    }
}

fn defect(error: &DataFusionError) -> CompileError {
    CompileError { message: format!("expression does not compile: {}", error.strip_backtrace()) }
}

/// The SQLSTATE and message of a failed evaluation.
fn eval_error(error: &DataFusionError) -> EvalError {
    let DataFusionError::ArrowError(arrow, _) = error.find_root() else {
        return EvalError { sqlstate: "22000", message: error.find_root().strip_backtrace() };
    };
    match arrow.as_ref() {
        ArrowError::DivideByZero => EvalError { sqlstate: "22012", message: "division by zero".to_owned() },
        ArrowError::ArithmeticOverflow(message) => {
            EvalError { sqlstate: "22003", message: format!("value out of range: {message}") }
        }
        ArrowError::CastError(message) => EvalError { sqlstate: "22P02", message: message.clone() },
        other => EvalError { sqlstate: "22000", message: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, BooleanArray, Int64Array, StringArray};
    use arrow::datatypes::{Field, Int64Type, Schema};
    use laminar_core::expr::Literal;

    fn rows() -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("s", DataType::Utf8, true),
            Field::new("b", DataType::Boolean, true),
        ]));
        let a = Int64Array::from(vec![Some(1), Some(i64::MAX), Some(i64::MIN), None]);
        let s = StringArray::from(vec![Some("x"), Some("7"), None, Some("Ä")]);
        let b = BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]);
        RecordBatch::try_new(schema, vec![Arc::new(a), Arc::new(s), Arc::new(b)]).unwrap()
    }

    fn a() -> Box<ScalarExpr> {
        Box::new(ScalarExpr::column(0, "a", DataType::Int64))
    }

    fn run(expr: &ScalarExpr, rows: &RecordBatch) -> Result<ArrayRef, EvalError> {
        DataFusionCompiler::default().compile(expr, &rows.schema()).unwrap().evaluate(rows)
    }

    #[test]
    fn integer_arithmetic_is_an_error_where_it_would_wrap() {
        let one = || Box::new(ScalarExpr::int64(1));
        let plus = ScalarExpr::Binary { op: BinaryOp::Add, left: a(), right: one() };
        assert_eq!(run(&plus, &rows()).unwrap_err().sqlstate, "22003");
        assert_eq!(run(&ScalarExpr::Negate(a()), &rows()).unwrap_err().sqlstate, "22003");
        let first = run(&plus, &rows().slice(0, 1)).unwrap();
        assert_eq!(first.as_primitive::<Int64Type>().value(0), 2);
    }

    #[test]
    fn division_by_zero_is_22012() {
        let zero = Box::new(ScalarExpr::int64(0));
        let divide = ScalarExpr::Binary { op: BinaryOp::Divide, left: a(), right: zero };
        assert_eq!(run(&divide, &rows()).unwrap_err().sqlstate, "22012");
    }

    #[test]
    fn a_failed_cast_is_an_error_and_try_cast_is_null() {
        let text = || Box::new(ScalarExpr::column(1, "s", DataType::Utf8));
        let cast = |failure| ScalarExpr::Cast { operand: text(), to: DataType::Int64, failure };
        assert_eq!(run(&cast(CastFailure::Error), &rows()).unwrap_err().sqlstate, "22P02");
        let tried = run(&cast(CastFailure::Null), &rows()).unwrap();
        assert_eq!(tried.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), vec![None, Some(7), None, None]);
    }

    #[test]
    fn tests_of_truth_are_never_null() {
        let operand = || Box::new(ScalarExpr::column(2, "b", DataType::Boolean));
        let truth = |test| {
            let array = run(&ScalarExpr::Is { test, operand: operand() }, &rows()).unwrap();
            array.as_boolean().iter().map(|b| b.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(truth(Test::True), vec![true, false, false, true]);
        assert_eq!(truth(Test::NotTrue), vec![false, true, true, false]);
        assert_eq!(truth(Test::Unknown), vec![false, false, true, false]);
        assert_eq!(truth(Test::NotFalse), vec![true, false, true, true]);
    }

    #[test]
    fn a_function_runs_only_in_the_version_and_type_it_was_planned_in() {
        let call = |version, returns| ScalarExpr::Call {
            function: "lower".to_owned(),
            version,
            args: vec![ScalarExpr::column(1, "s", DataType::Utf8)],
            returns,
        };
        let lowered = run(&call(FUNCTION_VERSION, DataType::Utf8), &rows()).unwrap();
        assert_eq!(lowered.as_string::<i32>().value(3), "ä");
        let compiler = DataFusionCompiler::default();
        let schema = rows().schema();
        assert!(compiler.compile(&call(FUNCTION_VERSION + 1, DataType::Utf8), &schema).is_err());
        assert!(compiler.compile(&call(FUNCTION_VERSION, DataType::Int64), &schema).is_err());
        assert!(scalar_function("now").is_none() && scalar_function("random").is_none());
    }

    #[test]
    fn case_in_and_like_follow_three_valued_logic() {
        let is_x = ScalarExpr::Like {
            operand: Box::new(ScalarExpr::column(1, "s", DataType::Utf8)),
            pattern: Box::new(ScalarExpr::Literal { value: Literal::Text("x%".to_owned()), data_type: DataType::Utf8 }),
            escape: None,
            case: LetterCase::Sensitive,
        };
        let case = ScalarExpr::Case {
            base: None,
            branches: vec![(is_x, ScalarExpr::int64(1))],
            otherwise: Some(Box::new(ScalarExpr::int64(0))),
        };
        let values = run(&case, &rows()).unwrap();
        assert_eq!(values.as_primitive::<Int64Type>().values(), &[1, 0, 0, 0]);
        let one_of = ScalarExpr::InList { operand: a(), list: vec![ScalarExpr::int64(1), ScalarExpr::int64(5)] };
        let found = run(&one_of, &rows()).unwrap();
        assert_eq!(found.as_boolean().iter().collect::<Vec<_>>(), vec![Some(true), Some(false), Some(false), None]);
    }
}
