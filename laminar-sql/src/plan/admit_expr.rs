//! Gate 1 for expressions: the same walk over every kind of expression.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Interval, Subscript, TypedString, WindowSpec,
    WindowType,
};

use super::admit::{Admission, order_list, place, query};
use super::clause::ClauseId;
use crate::error::SqlError;
use crate::parse::Location;

type Admitted = Result<(), SqlError>;

fn refuse(what: &str, at: Location) -> Admitted {
    Err(SqlError::unsupported(what, "").at(at))
}

fn both(a: &mut Admission, left: &Expr, right: &Expr) -> Admitted {
    expr(a, left)?;
    expr(a, right)
}

fn many<'e>(a: &mut Admission, list: impl IntoIterator<Item = &'e Expr>) -> Admitted {
    list.into_iter().try_for_each(|e| expr(a, e))
}

/// Admits an expression or refuses it by name.
pub(super) fn expr(a: &mut Admission, node: &Expr) -> Admitted {
    let at = place(node);
    match node {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => Ok(()),
        Expr::TypedString(TypedString { data_type: _, value: _, uses_odbc_syntax }) => {
            if *uses_odbc_syntax {
                refuse("{ts '…'}", at)
            } else {
                Ok(())
            }
        }
        Expr::IsFalse(e)
        | Expr::IsNotFalse(e)
        | Expr::IsTrue(e)
        | Expr::IsNotTrue(e)
        | Expr::IsNull(e)
        | Expr::IsNotNull(e)
        | Expr::IsUnknown(e)
        | Expr::IsNotUnknown(e)
        | Expr::Nested(e) => expr(a, e),
        Expr::IsDistinctFrom(l, r) | Expr::IsNotDistinctFrom(l, r) => both(a, l, r),
        Expr::InList { expr: e, list, negated: _ } => {
            expr(a, e)?;
            many(a, list)
        }
        Expr::InSubquery { expr: e, subquery, negated: _ } => {
            a.once_only("IN (SELECT …) in a continuous query", "joins of streams come next", at)?;
            expr(a, e)?;
            query(a, subquery)
        }
        Expr::Exists { subquery, negated: _ } => {
            a.once_only("EXISTS in a continuous query", "joins of streams come next", at)?;
            query(a, subquery)
        }
        Expr::Subquery(subquery) => {
            a.once_only("a scalar subquery in a continuous query", "joins of streams come next", at)?;
            query(a, subquery)
        }
        Expr::Between { expr: e, negated: _, low, high } => {
            expr(a, e)?;
            both(a, low, high)
        }
        Expr::BinaryOp { left, op: _, right } => both(a, left, right),
        Expr::UnaryOp { op: _, expr: e } => expr(a, e),
        Expr::Like { negated: _, any, expr: e, pattern, escape_char: _ }
        | Expr::ILike { negated: _, any, expr: e, pattern, escape_char: _ } => {
            if *any {
                return refuse("LIKE ANY", at);
            }
            both(a, e, pattern)
        }
        Expr::SimilarTo { negated: _, expr: e, pattern, escape_char: _ } => {
            a.once_only("SIMILAR TO in a continuous query", "use LIKE or the regular expression operator ~", at)?;
            both(a, e, pattern)
        }
        Expr::AnyOp { left, compare_op: _, right, is_some: _ } | Expr::AllOp { left, compare_op: _, right } => {
            a.once_only("ANY and ALL in a continuous query", "use IN or array_has", at)?;
            both(a, left, right)
        }
        Expr::Cast { kind: _, expr: e, data_type: _, array, format } => {
            if *array || format.is_some() {
                return refuse("CAST … FORMAT", at);
            }
            expr(a, e)
        }
        Expr::AtTimeZone { timestamp, time_zone } => both(a, timestamp, time_zone),
        Expr::Extract { field: _, syntax: _, expr: e }
        | Expr::Ceil { expr: e, field: _ }
        | Expr::Floor { expr: e, field: _ } => expr(a, e),
        Expr::Position { expr: e, r#in } => both(a, e, r#in),
        Expr::Substring { expr: e, substring_from, substring_for, special: _, shorthand: _ } => {
            expr(a, e)?;
            many(a, substring_from.as_deref())?;
            many(a, substring_for.as_deref())
        }
        Expr::Trim { trim_where: _, trim_what, expr: e, trim_characters } => {
            expr(a, e)?;
            many(a, trim_what.as_deref())?;
            many(a, trim_characters.iter().flatten())
        }
        Expr::Overlay { expr: e, overlay_what, overlay_from, overlay_for } => {
            expr(a, e)?;
            both(a, overlay_what, overlay_from)?;
            many(a, overlay_for.as_deref())
        }
        Expr::Collate { expr: e, collation } => {
            if collation.to_string().trim_matches('"').ends_with("default") || collation.to_string().ends_with("\"C\"")
            {
                return expr(a, e);
            }
            refuse("COLLATE", at)
        }
        Expr::Function(f) => function(a, f, at),
        Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
            many(a, operand.as_deref())?;
            for CaseWhen { condition, result } in conditions {
                both(a, condition, result)?;
            }
            many(a, else_result.as_deref())
        }
        Expr::GroupingSets(lists) | Expr::Cube(lists) | Expr::Rollup(lists) => {
            a.once_only("GROUPING SETS, CUBE and ROLLUP in a continuous query", "write one query per grouping", at)?;
            lists.iter().try_for_each(|list| many(a, list))
        }
        Expr::Interval(Interval {
            value,
            leading_field: _,
            leading_precision,
            last_field,
            fractional_seconds_precision,
        }) => {
            if leading_precision.is_some() || last_field.is_some() || fractional_seconds_precision.is_some() {
                return refuse("a precision or range of INTERVAL", at);
            }
            expr(a, value)
        }
        Expr::Array(Array { elem, named: _ }) => many(a, elem),
        Expr::CompoundFieldAccess { root, access_chain } => {
            expr(a, root)?;
            for step in access_chain {
                match step {
                    AccessExpr::Dot(e) => expr(a, e)?,
                    AccessExpr::Subscript(Subscript::Index { index }) => expr(a, index)?,
                    AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                        many(a, lower_bound)?;
                        many(a, upper_bound)?;
                        many(a, stride)?;
                    }
                }
            }
            Ok(())
        }
        Expr::Struct { values, fields: _ } => many(a, values),
        Expr::Tuple(list) => many(a, list),
        Expr::Named { expr: e, name: _ } => expr(a, e),
        Expr::Prefixed { .. } => refuse("a prefixed value", at),
        Expr::Dictionary(_) | Expr::Map(_) => refuse("a map in braces", at),
        Expr::JsonAccess { .. } => refuse("a path with ':'", at),
        Expr::IsNormalized { .. } => refuse("IS NORMALIZED", at),
        Expr::InUnnest { .. } => refuse("IN UNNEST", at),
        Expr::RLike { .. } => refuse("RLIKE", at),
        Expr::Convert { .. } => refuse("CONVERT", at),
        Expr::MatchAgainst { .. } => refuse("MATCH … AGAINST", at),
        Expr::Wildcard(_) | Expr::QualifiedWildcard(_, _) => refuse("* in an expression", at),
        Expr::OuterJoin(_) => refuse("(+)", at),
        Expr::Prior(_) => refuse("PRIOR", at),
        Expr::Lambda(_) => refuse("a lambda", at),
        Expr::MemberOf(_) => refuse("MEMBER OF", at),
    }
}

fn function(a: &mut Admission, node: &Function, at: Location) -> Admitted {
    let Function { name: _, uses_odbc_syntax, parameters, args, filter, null_treatment, over, within_group } = node;
    if *uses_odbc_syntax {
        return refuse("{fn …}", at);
    }
    if !matches!(parameters, FunctionArguments::None) {
        return refuse("parameters of a function", at);
    }
    match args {
        FunctionArguments::None => {}
        FunctionArguments::Subquery(subquery) => {
            a.once_only("a subquery as an argument in a continuous query", "", at)?;
            query(a, subquery)?;
        }
        FunctionArguments::List(FunctionArgumentList { duplicate_treatment, args, clauses }) => {
            if *duplicate_treatment == Some(DuplicateTreatment::Distinct) {
                a.once_only(
                    "DISTINCT inside an aggregate of a continuous query",
                    "count over a SELECT DISTINCT subquery",
                    at,
                )?;
            }
            args.iter().try_for_each(|arg| function_arg(a, arg))?;
            for clause in clauses {
                argument_clause(a, clause, at)?;
            }
        }
    }
    if let Some(e) = filter {
        a.clauses.meet(ClauseId::AggregateFilter, place(e.as_ref()));
        expr(a, e)?;
    }
    if null_treatment.is_some() {
        a.once_only("IGNORE NULLS in a continuous query", "use FILTER (WHERE x IS NOT NULL)", at)?;
    }
    if let Some(window) = over {
        a.once_only("OVER in a continuous query", "group by a window instead", at)?;
        match window {
            WindowType::NamedWindow(_) => {}
            WindowType::WindowSpec(WindowSpec { window_name: _, partition_by, order_by, window_frame: _ }) => {
                many(a, partition_by)?;
                order_list(a, order_by)?;
            }
        }
    }
    if !within_group.is_empty() {
        a.once_only("WITHIN GROUP in a continuous query", "", at)?;
        order_list(a, within_group)?;
    }
    Ok(())
}

fn argument_clause(a: &mut Admission, clause: &FunctionArgumentClause, at: Location) -> Admitted {
    match clause {
        FunctionArgumentClause::OrderBy(list) => {
            a.clauses.meet(ClauseId::AggregateOrder, at);
            order_list(a, list)
        }
        FunctionArgumentClause::IgnoreOrRespectNulls(_) => {
            a.once_only("IGNORE NULLS in a continuous query", "use FILTER (WHERE x IS NOT NULL)", at)
        }
        FunctionArgumentClause::Limit(_) => refuse("LIMIT inside a function", at),
        FunctionArgumentClause::OnOverflow(_) => refuse("ON OVERFLOW", at),
        FunctionArgumentClause::Having(_) => refuse("HAVING inside a function", at),
        FunctionArgumentClause::Separator(_) => refuse("SEPARATOR", at),
        FunctionArgumentClause::JsonNullClause(_) | FunctionArgumentClause::JsonReturningClause(_) => {
            refuse("JSON clauses inside a function", at)
        }
    }
}

pub(super) fn function_arg(a: &mut Admission, arg: &FunctionArg) -> Admitted {
    let value = match arg {
        FunctionArg::Unnamed(value) => value,
        FunctionArg::Named { name: _, arg, operator: _ } => arg,
        FunctionArg::ExprNamed { name: _, arg, operator: _ } => arg,
    };
    match value {
        FunctionArgExpr::Expr(e) => expr(a, e),
        FunctionArgExpr::Wildcard => Ok(()),
        FunctionArgExpr::QualifiedWildcard(name) => {
            refuse("relation.* as an argument", name.0.first().map_or(Location { line: 0, column: 0 }, place))
        }
        FunctionArgExpr::WildcardWithOptions(_) => {
            refuse("* with options as an argument", Location { line: 0, column: 0 })
        }
    }
}
