//! Expressions outside queries: constants, computed columns, watermark delays.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::planner::PlannerContext;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr as SqlExpr};
use laminar_core::expr::{ExprCompiler, ScalarExpr};

use super::admit::{Admission, Purpose};
use super::clause::Clauses;
use super::interval::micros;
use super::provider::{Provider, config};
use super::{Context, admit_expr, logical};
use crate::compile::{Converter, Resolve};
use crate::error::{Kind, SqlError};
use crate::expression::DataFusionCompiler;
use crate::parse::fold;

/// Columns of a schema as they are.
pub(super) struct Plain(pub SchemaRef);

impl Resolve for Plain {
    fn column(&self, index: usize) -> Result<ScalarExpr, SqlError> {
        let field = self.0.field(index);
        Ok(ScalarExpr::column(index, field.name(), field.data_type().clone()))
    }
}

/// An expression over the columns of a schema, cast to a type if one is given; and its type.
pub(super) fn column_expr(
    context: &Context<'_>,
    sql: &SqlExpr,
    input: &Schema,
    wanted: Option<&DataType>,
) -> Result<(ScalarExpr, DataType), SqlError> {
    let mut admission = Admission { purpose: Purpose::Continuous, clauses: Clauses::default() };
    admit_expr::expr(&mut admission, sql)?;
    let config = Arc::new(config(context.settings.time_zone()));
    let provider = Provider { catalog: context.catalog, config };
    let schema = DFSchema::try_from(input.clone())?;
    let expr = logical::planner(&provider).sql_to_expr(sql.clone(), &schema, &mut PlannerContext::new())?;
    immutable(&expr)?;
    let mut expr = simplifier(&schema).coerce(expr, &schema)?;
    if let Some(wanted) = wanted
        && expr.get_type(&schema)? != *wanted
    {
        expr = expr.cast_to(wanted, &schema)?;
    }
    let expr = simplifier(&schema).simplify(expr)?;
    let data_type = expr.get_type(&schema)?;
    let resolve = Plain(Arc::new(input.clone()));
    let made = Converter { schema: &schema, resolve: &resolve }.scalar(&expr)?;
    // What does not compile is refused now, not in a reactor.
    DataFusionCompiler::default()
        .compile(&made, &resolve.0)
        .map_err(|e| SqlError::new(Kind::Unsupported, e.message))?;
    Ok((made, data_type))
}

pub(super) fn simplifier(schema: &DFSchema) -> ExprSimplifier {
    ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build())
}

fn immutable(expr: &Expr) -> Result<(), SqlError> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut found = None;
    expr.apply(|e| {
        if let Expr::ScalarFunction(f) = e
            && !crate::function::is_immutable(&f.func)
        {
            found = Some(f.func.name().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match found {
        None => Ok(()),
        Some(name) => Err(SqlError::new(
            Kind::Unsupported,
            format!("function {name}() is not allowed here: its result changes from call to call"),
        )),
    }
}

/// The value of a constant expression of a type.
pub(super) fn value(context: &Context<'_>, sql: &SqlExpr, wanted: &DataType) -> Result<ArrayRef, SqlError> {
    let schema = Arc::new(Schema::empty());
    let (expr, _) = column_expr(context, sql, &schema, Some(wanted))?;
    let run = DataFusionCompiler::default()
        .compile(&expr, &schema)
        .map_err(|e| SqlError::new(Kind::Unsupported, e.message))?;
    let one = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(schema, Vec::new(), &one)?;
    run.evaluate(&row).map_err(|e| evaluation(&e))
}

/// An evaluation error as an error of the statement.
pub(super) fn evaluation(error: &laminar_core::expr::EvalError) -> SqlError {
    let kind = match error.sqlstate {
        "22012" => Kind::DivisionByZero,
        "22003" => Kind::OutOfRange,
        _ => Kind::InvalidText,
    };
    SqlError::new(kind, error.message.clone())
}

/// The delay in `ts - INTERVAL '5 seconds'`; `ts` alone is none.
pub(super) fn delay_of(expr: &SqlExpr, column: &str) -> Result<i64, SqlError> {
    let wrong = || {
        SqlError::unsupported(
            format!("WATERMARK … AS {expr}"),
            format!("write WATERMARK FOR {column} AS {column} - INTERVAL '5 seconds'"),
        )
    };
    match expr {
        SqlExpr::Nested(inner) => delay_of(inner, column),
        SqlExpr::Identifier(name) if fold(name) == column => Ok(0),
        SqlExpr::BinaryOp { left, op: BinaryOperator::Minus, right } => match left.as_ref() {
            SqlExpr::Identifier(name) if fold(name) == column => micros(right),
            _ => Err(wrong()),
        },
        SqlExpr::Function(f) if f.name.to_string().eq_ignore_ascii_case("proctime") => Err(SqlError::unsupported(
            "processing time (PROCTIME())",
            "add a metadata column with the record's timestamp and declare the watermark on it",
        )),
        _ => Err(wrong()),
    }
}

/// A parameter as a value of a type.
pub(super) fn parameter(param: &super::Param, wanted: &DataType) -> Result<ScalarValue, SqlError> {
    use super::Param;
    let typed = match param {
        Param::Null => return Ok(ScalarValue::try_new_null(wanted)?),
        Param::Text(text) => ScalarValue::Utf8(Some(text.clone())),
        Param::Value(value, data_type) => crate::expression::literal_to_scalar(value, data_type)
            .map_err(|e| SqlError::new(Kind::Parameter, e.message))?,
    };
    if typed.data_type() == *wanted {
        return Ok(typed);
    }
    if let (Param::Text(text), DataType::Boolean) = (param, wanted) {
        return match text.to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "1" | "yes" | "y" => Ok(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "off" | "0" | "no" | "n" => Ok(ScalarValue::Boolean(Some(false))),
            _ => Err(SqlError::new(Kind::InvalidText, format!("'{text}' is not a boolean"))),
        };
    }
    typed.cast_to(wanted).map_err(|_| {
        SqlError::new(Kind::InvalidText, format!("invalid value '{typed}' for type {}", super::sql_type(wanted, None)))
    })
}
