//! Gate 2 for expressions: coerced DataFusion expressions to the engine's [`ScalarExpr`], and back.
//!
//! Both directions are one exhaustive match; what the engine's tree cannot say is refused by name.

use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{Between, Case, Cast, InList, Like, ScalarFunction, TryCast};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use laminar_core::expr::{BinaryOp, CastFailure, LetterCase, ScalarExpr, Test};

use crate::error::{Kind, SqlError};
use crate::expression::{FUNCTION_VERSION, literal_from_scalar, scalar_function};

/// What a column of a plan is, over the columns of an operator.
pub(crate) trait Resolve {
    /// The expression of a column by its index in the plan's schema.
    fn column(&self, index: usize) -> Result<ScalarExpr, SqlError>;
}

/// Converts expressions over one schema.
pub(crate) struct Converter<'a, R> {
    pub schema: &'a DFSchema,
    pub resolve: &'a R,
}

impl<R: Resolve> Converter<'_, R> {
    /// The engine's form of an expression.
    pub fn scalar(&self, expr: &Expr) -> Result<ScalarExpr, SqlError> {
        let is = |test, operand: &Expr| Ok(ScalarExpr::Is { test, operand: self.boxed(operand)? });
        match expr {
            Expr::Alias(alias) => self.scalar(&alias.expr),
            Expr::Column(column) => self.resolve.column(self.index(column)?),
            Expr::Literal(value, _) => {
                let (value, data_type) =
                    literal_from_scalar(value).map_err(|e| SqlError::new(Kind::Unsupported, e.message))?;
                Ok(ScalarExpr::Literal { value, data_type })
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                Ok(ScalarExpr::Binary { op: binary_op(*op)?, left: self.boxed(left)?, right: self.boxed(right)? })
            }
            Expr::Like(like) => self.like(like),
            Expr::SimilarTo(_) => refuse("SIMILAR TO"),
            Expr::Not(operand) => Ok(ScalarExpr::Not(self.boxed(operand)?)),
            Expr::Negative(operand) => Ok(ScalarExpr::Negate(self.boxed(operand)?)),
            Expr::IsNull(operand) => is(Test::Null, operand),
            Expr::IsNotNull(operand) => is(Test::NotNull, operand),
            Expr::IsTrue(operand) => is(Test::True, operand),
            Expr::IsNotTrue(operand) => is(Test::NotTrue, operand),
            Expr::IsFalse(operand) => is(Test::False, operand),
            Expr::IsNotFalse(operand) => is(Test::NotFalse, operand),
            Expr::IsUnknown(operand) => is(Test::Unknown, operand),
            Expr::IsNotUnknown(operand) => is(Test::NotUnknown, operand),
            Expr::Between(between) => self.between(between),
            Expr::Case(case) => self.case(case),
            Expr::Cast(Cast { expr, field }) => self.cast(expr, field.data_type(), CastFailure::Error),
            Expr::TryCast(TryCast { expr, field }) => self.cast(expr, field.data_type(), CastFailure::Null),
            Expr::ScalarFunction(call) => self.call(call, expr),
            Expr::InList(InList { expr, list, negated }) => {
                let list = list.iter().map(|e| self.scalar(e)).collect::<Result<_, _>>()?;
                Ok(negate(*negated, ScalarExpr::InList { operand: self.boxed(expr)?, list }))
            }
            Expr::AggregateFunction(f) => {
                Err(SqlError::new(Kind::Grouping, format!("aggregate {} is not allowed here", f.func.name())))
            }
            Expr::WindowFunction(_) => refuse("OVER"),
            Expr::Exists(_) => refuse("EXISTS"),
            Expr::InSubquery(_) => refuse("IN (SELECT …)"),
            Expr::SetComparison(_) => refuse("ANY and ALL over a subquery"),
            Expr::ScalarSubquery(_) => refuse("a scalar subquery"),
            Expr::GroupingSet(_) => refuse("GROUPING SETS"),
            Expr::Placeholder(p) => {
                Err(SqlError::new(Kind::Parameter, format!("parameter {} is not allowed here", p.id)))
            }
            Expr::OuterReferenceColumn(_, column) => refuse(&format!("the outer column {column} in a subquery")),
            Expr::Unnest(_) => refuse("UNNEST"),
            Expr::ScalarVariable(_, names) => refuse(&format!("the variable {}", names.join("."))),
            Expr::HigherOrderFunction(_) | Expr::Lambda(_) | Expr::LambdaVariable(_) => refuse("a lambda"),
            #[expect(deprecated)]
            Expr::Wildcard { .. } => refuse("* in an expression"),
        }
    }

    /// Index of a column in the schema.
    pub fn index(&self, column: &Column) -> Result<usize, SqlError> {
        Ok(self.schema.index_of_column(column)?)
    }

    fn boxed(&self, expr: &Expr) -> Result<Box<ScalarExpr>, SqlError> {
        self.scalar(expr).map(Box::new)
    }

    fn cast(&self, operand: &Expr, to: &DataType, failure: CastFailure) -> Result<ScalarExpr, SqlError> {
        Ok(ScalarExpr::Cast { operand: self.boxed(operand)?, to: to.clone(), failure })
    }

    fn like(&self, like: &Like) -> Result<ScalarExpr, SqlError> {
        let Like { negated, expr, pattern, escape_char, case_insensitive } = like;
        if escape_char.is_some_and(|c| c != '\\') {
            return refuse("LIKE with another ESCAPE than a backslash");
        }
        let case = if *case_insensitive { LetterCase::Insensitive } else { LetterCase::Sensitive };
        let made =
            ScalarExpr::Like { operand: self.boxed(expr)?, pattern: self.boxed(pattern)?, escape: *escape_char, case };
        Ok(negate(*negated, made))
    }

    fn between(&self, between: &Between) -> Result<ScalarExpr, SqlError> {
        let Between { expr, negated, low, high } = between;
        let operand = self.boxed(expr)?;
        let above = ScalarExpr::Binary { op: BinaryOp::GtEq, left: operand.clone(), right: self.boxed(low)? };
        let below = ScalarExpr::Binary { op: BinaryOp::LtEq, left: operand, right: self.boxed(high)? };
        let made = ScalarExpr::Binary { op: BinaryOp::And, left: Box::new(above), right: Box::new(below) };
        Ok(negate(*negated, made))
    }

    fn case(&self, case: &Case) -> Result<ScalarExpr, SqlError> {
        let Case { expr, when_then_expr, else_expr } = case;
        Ok(ScalarExpr::Case {
            base: expr.as_deref().map(|e| self.boxed(e)).transpose()?,
            branches: when_then_expr
                .iter()
                .map(|(when, then)| Ok((self.scalar(when)?, self.scalar(then)?)))
                .collect::<Result<_, SqlError>>()?,
            otherwise: else_expr.as_deref().map(|e| self.boxed(e)).transpose()?,
        })
    }

    fn call(&self, call: &ScalarFunction, whole: &Expr) -> Result<ScalarExpr, SqlError> {
        let name = call.func.name();
        if scalar_function(name).is_none() {
            return refuse(&format!("function {name} in a continuous query"));
        }
        Ok(ScalarExpr::Call {
            function: name.to_owned(),
            version: FUNCTION_VERSION,
            args: call.args.iter().map(|e| self.scalar(e)).collect::<Result<_, _>>()?,
            returns: whole.get_type(self.schema)?,
        })
    }
}

fn refuse<T>(what: &str) -> Result<T, SqlError> {
    Err(SqlError::unsupported(what, ""))
}

fn negate(negated: bool, expr: ScalarExpr) -> ScalarExpr {
    if negated { ScalarExpr::Not(Box::new(expr)) } else { expr }
}

fn binary_op(op: Operator) -> Result<BinaryOp, SqlError> {
    Ok(match op {
        Operator::Plus => BinaryOp::Add,
        Operator::Minus => BinaryOp::Subtract,
        Operator::Multiply => BinaryOp::Multiply,
        Operator::Divide => BinaryOp::Divide,
        Operator::Modulo => BinaryOp::Modulo,
        Operator::Eq => BinaryOp::Eq,
        Operator::NotEq => BinaryOp::NotEq,
        Operator::Lt => BinaryOp::Lt,
        Operator::LtEq => BinaryOp::LtEq,
        Operator::Gt => BinaryOp::Gt,
        Operator::GtEq => BinaryOp::GtEq,
        Operator::And => BinaryOp::And,
        Operator::Or => BinaryOp::Or,
        Operator::IsDistinctFrom => BinaryOp::IsDistinctFrom,
        Operator::IsNotDistinctFrom => BinaryOp::IsNotDistinctFrom,
        Operator::StringConcat => BinaryOp::Concat,
        Operator::BitwiseAnd => BinaryOp::BitAnd,
        Operator::BitwiseOr => BinaryOp::BitOr,
        Operator::BitwiseXor => BinaryOp::BitXor,
        Operator::BitwiseShiftLeft => BinaryOp::ShiftLeft,
        Operator::BitwiseShiftRight => BinaryOp::ShiftRight,
        Operator::RegexMatch => BinaryOp::RegexMatch,
        Operator::RegexIMatch => BinaryOp::RegexIMatch,
        Operator::RegexNotMatch => BinaryOp::RegexNotMatch,
        Operator::RegexNotIMatch => BinaryOp::RegexNotIMatch,
        other => return refuse(&format!("operator {other}")),
    })
}

/// The functions that an expression calls, with their versions.
pub(crate) fn functions_of(expr: &ScalarExpr, into: &mut std::collections::BTreeMap<String, u16>) {
    match expr {
        ScalarExpr::Column { .. } | ScalarExpr::Literal { .. } => {}
        ScalarExpr::Binary { left, right, .. } => {
            functions_of(left, into);
            functions_of(right, into);
        }
        ScalarExpr::Not(e) | ScalarExpr::Negate(e) => functions_of(e, into),
        ScalarExpr::Is { operand, .. } | ScalarExpr::Cast { operand, .. } => functions_of(operand, into),
        ScalarExpr::Like { operand, pattern, .. } => {
            functions_of(operand, into);
            functions_of(pattern, into);
        }
        ScalarExpr::Case { base, branches, otherwise } => {
            base.iter().for_each(|e| functions_of(e, into));
            for (when, then) in branches {
                functions_of(when, into);
                functions_of(then, into);
            }
            otherwise.iter().for_each(|e| functions_of(e, into));
        }
        ScalarExpr::InList { operand, list } => {
            functions_of(operand, into);
            list.iter().for_each(|e| functions_of(e, into));
        }
        ScalarExpr::Call { function, version, args, .. } => {
            into.insert(function.clone(), *version);
            args.iter().for_each(|e| functions_of(e, into));
        }
    }
}
