//! Binding: markers in a coerced plan become [`WindowNode`]s. None may remain.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use datafusion::sql::unparser::expr_to_sql;
use std::sync::Arc;

use super::window_node::{END, START, WindowNode};
use crate::error::{Kind, SqlError};
use crate::function::{WINDOW_END, WINDOW_START, WINDOW_TIME};

/// Binds all windows of a plan.
pub(crate) fn bind(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    let mut count = 0;
    let bound = plan.transform_up_with_subqueries(|node| {
        let Some(found) = window_of(&node)? else { return Ok(Transformed::no(node)) };
        if !matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_)) {
            return external(
                SqlError::new(Kind::Grouping, "a window function stands outside SELECT and GROUP BY")
                    .hint("group by the window and filter with HAVING"),
            );
        }
        count += 1;
        bind_node(node, found, format!("__window_{count}")).map(Transformed::yes)
    })?;
    Ok(bound.data)
}

fn external<T>(error: SqlError) -> DfResult<T> {
    Err(datafusion::common::DataFusionError::External(Box::new(error)))
}

type Found = (Column, (i64, i64, i64));

/// The window whose markers a node's own expressions hold.
fn window_of(node: &LogicalPlan) -> DfResult<Option<Found>> {
    let mut found: Option<Found> = None;
    let mut error = None;
    node.apply_expressions(|expr| {
        expr.apply(|e| {
            if let Expr::ScalarFunction(f) = e {
                match marker_args(f) {
                    Ok(None) => {}
                    Ok(Some(window)) if found.as_ref().is_none_or(|w| *w == window) => found = Some(window),
                    Ok(Some(_)) => {
                        error = Some(SqlError::unsupported(
                            "two windows in one SELECT",
                            "use one window, and a second query over its result",
                        ));
                    }
                    Err(e) => error = Some(e),
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match error {
        Some(error) => external(error),
        None => Ok(found),
    }
}

fn is_marker(name: &str) -> bool {
    [WINDOW_START, WINDOW_END, WINDOW_TIME].contains(&name)
}

fn marker_args(f: &ScalarFunction) -> Result<Option<Found>, SqlError> {
    if !is_marker(f.func.name()) {
        return Ok(None);
    }
    let time = match f.args.first() {
        Some(Expr::Column(column)) => column.clone(),
        Some(other) => {
            let text = expr_to_sql(other).map_or_else(|_| other.to_string(), |e| e.to_string());
            return Err(SqlError::new(
                Kind::InvalidDefinition,
                format!("a window needs a time attribute, {text} is an expression"),
            )
            .hint("compute the column in the source (GENERATED ALWAYS AS) and declare WATERMARK FOR it"));
        }
        None => return Err(SqlError::internal("a marker without arguments")),
    };
    let number = |i: usize| match f.args.get(i) {
        Some(Expr::Literal(ScalarValue::Int64(Some(v)), _)) => Ok(*v),
        other => Err(SqlError::internal(format!("a marker with the argument {other:?}"))),
    };
    Ok(Some((time, (number(1)?, number(2)?, number(3)?))))
}

fn bind_node(node: LogicalPlan, (time, lengths): Found, qualifier: String) -> DfResult<LogicalPlan> {
    let input = node.inputs()[0].clone();
    let window = WindowNode::new(input, time, lengths, qualifier)?;
    let names = NamePreserver::new(&node);
    let rewrite = |expr: Expr| -> DfResult<Expr> {
        let saved = names.save(&expr);
        let rewritten = expr.transform_up(|e| match &e {
            Expr::ScalarFunction(f) if f.func.name() == WINDOW_START => Ok(Transformed::yes(window.column(START))),
            Expr::ScalarFunction(f) if f.func.name() == WINDOW_END => Ok(Transformed::yes(window.column(END))),
            Expr::ScalarFunction(f) if f.func.name() == WINDOW_TIME => {
                Ok(Transformed::yes(crate::function::window_time_function().call(vec![window.column(END)])))
            }
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(saved.restore(rewritten.data))
    };
    let exprs = node.expressions().into_iter().map(rewrite).collect::<DfResult<Vec<_>>>()?;
    let input = LogicalPlan::Extension(Extension { node: Arc::new(window.clone()) });
    node.with_new_exprs(exprs, vec![input])
}
