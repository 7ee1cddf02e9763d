//! From a syntax tree to an optimised logical plan.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::filter_null_join_keys::FilterNullJoinKeys;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, Query, Spanned, Statement, visit_expressions, visit_relations};

use super::provider::Provider;
use crate::error::{Kind, SqlError};
use crate::function::is_immutable;
use crate::parse::{Location, fold};

/// Plans a query and coerces its types.
pub(crate) fn coerced(query: &Query, provider: &Provider<'_>) -> Result<LogicalPlan, SqlError> {
    let plan = planner(provider)
        .sql_statement_to_plan(Statement::Query(Box::new(query.clone())))
        .map_err(|e| at_name(query, provider, e.into()))?;
    analyse(plan, &provider.config)
}

/// Points an error at the name it speaks of, where DataFusion gives no place.
fn at_name(query: &Query, provider: &Provider<'_>, error: SqlError) -> SqlError {
    let place = match error.kind {
        Kind::UndefinedObject | Kind::WrongObjectKind | Kind::Unsupported => relation_place(query, provider, &error),
        Kind::UndefinedColumn => column_place(query, &error),
        _ => None,
    };
    match place {
        Some(place) => error.at(place),
        None => error,
    }
}

fn relation_place(query: &Query, provider: &Provider<'_>, error: &SqlError) -> Option<Location> {
    let found = visit_relations(query, |name| {
        let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(fold).collect();
        let reference = match parts.as_slice() {
            [table] => TableReference::bare(table.as_str()),
            [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
            _ => return ControlFlow::Continue(()),
        };
        match provider.find(&reference) {
            Err(e) if e.message == error.message => ControlFlow::Break(name.span().start.into()),
            _ => ControlFlow::Continue(()),
        }
    });
    found.break_value()
}

fn column_place(query: &Query, error: &SqlError) -> Option<Location> {
    let found = visit_expressions(query, |e| {
        let name = match e {
            ast::Expr::Identifier(name) => fold(name),
            ast::Expr::CompoundIdentifier(parts) => parts.iter().map(fold).collect::<Vec<_>>().join("."),
            _ => return ControlFlow::Continue(()),
        };
        if error.message == format!("column {name} does not exist") {
            return ControlFlow::Break(e.span().start.into());
        }
        ControlFlow::Continue(())
    });
    found.break_value()
}

/// DataFusion's planner with our options.
pub(crate) fn planner<'a>(provider: &'a Provider<'a>) -> SqlToRel<'a, Provider<'a>> {
    let options = ParserOptions::new()
        .with_map_string_types_to_utf8view(false)
        .with_support_varchar_with_length(true)
        .with_collect_spans(true);
    SqlToRel::new_with_options(provider, options)
}

/// Coerces the types of a plan.
pub(crate) fn analyse(plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan, SqlError> {
    let analyzer = Analyzer::with_rules(vec![Arc::new(ResolveGroupingFunction::new()), Arc::new(TypeCoercion::new())]);
    Ok(analyzer.execute_and_check(plan, config, |_, _| {})?)
}

/// The rules that may touch a stream's plan, in order. Absent on purpose: limit rules,
/// SingleDistinctToGroupBy, UnionsToFilter, PropagateEmptyRelation, EliminateFilter,
/// EliminateGroupByConstant, EliminateJoin, CommonSubexprEliminate, leaf extraction.
pub(crate) fn stream_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(FilterNullJoinKeys::default()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// Optimises a bound plan of a continuous query.
pub(crate) fn optimise(plan: LogicalPlan, config: &Arc<ConfigOptions>) -> Result<LogicalPlan, SqlError> {
    let context = OptimizerContext::new_with_config_options(config.clone())
        .without_query_execution_start_time()
        .with_skip_failing_rules(false);
    Ok(Optimizer::with_rules(stream_rules()).optimize(plan, &context, |_, _| {})?)
}

/// Refuses functions whose result is not determined by their arguments.
pub(crate) fn only_immutable(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let Expr::ScalarFunction(f) = e
                    && !is_immutable(&f.func)
                    && !f.func.name().starts_with("__")
                {
                    found = Some(f.func.name().to_owned());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match found {
        None => Ok(()),
        Some(name) => Err(SqlError::new(
            Kind::Unsupported,
            format!("function {name}() is not allowed in a continuous query: its result changes from call to call"),
        )
        .hint("use event time (the watermark column), or call it in the SELECT that reads the view")),
    }
}

/// A parameter in a continuous query.
pub(crate) fn no_parameters(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                found |= matches!(e, Expr::Placeholder(_));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if found {
        return Err(SqlError::new(Kind::Parameter, "a continuous query cannot have parameters")
            .hint("write the value into the SQL"));
    }
    Ok(())
}
