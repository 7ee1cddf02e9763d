//! Integer `+ − *` that never wrap, for ad-hoc queries.
//!
//! DataFusion's own operators wrap; in streams the expression compiler asks for the checked kernels,
//! in ad-hoc plans the operators are replaced by these functions.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    signature: Signature,
}

fn name(op: Operator) -> &'static str {
    match op {
        Operator::Plus => "checked_add",
        Operator::Minus => "checked_subtract",
        _ => "checked_multiply",
    }
}

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [Operator::Plus, Operator::Minus, Operator::Multiply].into_iter().map(function).collect()
}

fn function(op: Operator) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Checked { op, signature: Signature::any(2, Volatility::Immutable) }))
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        name(self.op)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return exec_err!("{} takes two arguments", self.name());
        };
        match self.op {
            Operator::Plus => apply(left, right, arrow::compute::kernels::numeric::add),
            Operator::Minus => apply(left, right, arrow::compute::kernels::numeric::sub),
            _ => apply(left, right, arrow::compute::kernels::numeric::mul),
        }
    }
}

/// Replaces integer `+ − *` in a coerced plan.
pub(crate) fn checked_arithmetic(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let saved = names.save(&expr);
            let replaced = expr.transform_up(|e| match e {
                Expr::BinaryExpr(BinaryExpr { left, op, right })
                    if matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) =>
                {
                    let integers = left.get_type(&schema).is_ok_and(|t| t.is_integer())
                        && right.get_type(&schema).is_ok_and(|t| t.is_integer());
                    if integers {
                        return Ok(Transformed::yes(function(op).call(vec![*left, *right])));
                    }
                    Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })))
                }
                other => Ok(Transformed::no(other)),
            })?;
            let changed = replaced.transformed;
            let expr = saved.restore(replaced.data);
            Ok(if changed {
                Transformed::yes(expr)
            } else {
                Transformed::new(expr, false, TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(plan.data)
}
