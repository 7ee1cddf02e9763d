//! Gate 1: every field of a query's syntax tree is forwarded, lowered by us, or must be empty.
//!
//! DataFusion's planner drops clauses in silence, so this walk destructures every node it lets
//! through without `..`: a new field of the parser does not compile until someone decides about it.

use datafusion::sql::sqlparser::ast::{
    Cte, Distinct, ExcludeSelectItem, ExprWithAlias, Fetch, GroupByExpr, Join, JoinConstraint, JoinOperator,
    LimitClause, Offset, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Parens, Query, Select, SelectFlavor,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Spanned, TableAlias, TableFactor,
    TableFunctionArgs, TableWithJoins, Values, WildcardAdditionalOptions, With,
};

use super::admit_expr::{expr, function_arg};
use super::clause::{ClauseId, Clauses};
use super::lower::window_kind;
use crate::error::SqlError;
use crate::parse::Location;

/// What the query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A continuous query.
    Continuous,
    /// A query over what is kept, run once.
    AdHoc,
}

/// The state of one walk.
pub(crate) struct Admission {
    pub purpose: Purpose,
    pub clauses: Clauses,
}

/// Walks a query; gives the clauses it holds.
pub(crate) fn admit(body: &Query, purpose: Purpose) -> Result<Clauses, SqlError> {
    let mut admission = Admission { purpose, clauses: Clauses::default() };
    query(&mut admission, body)?;
    Ok(admission.clauses)
}

impl Admission {
    /// Refuses in a continuous query only.
    pub fn once_only(&self, what: &str, hint: &str, at: Location) -> Result<(), SqlError> {
        if self.purpose == Purpose::AdHoc {
            return Ok(());
        }
        let hint = if hint.is_empty() { "it works in a SELECT that reads views and tables" } else { hint };
        Err(SqlError::unsupported(what, hint).at(at))
    }
}

pub(super) fn place(node: &impl Spanned) -> Location {
    node.span().start.into()
}

fn refuse(present: bool, what: &str, at: Location) -> Result<(), SqlError> {
    if present { Err(SqlError::unsupported(what, "").at(at)) } else { Ok(()) }
}

pub(super) fn query(a: &mut Admission, node: &Query) -> Result<(), SqlError> {
    let at = place(node);
    let Query { with, body, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators } =
        node;
    if let Some(w) = with {
        self::with(a, w)?;
    }
    set_expr(a, body)?;
    if let Some(order) = order_by {
        a.once_only(
            "ORDER BY in a continuous query",
            "views have no order: put ORDER BY into the SELECT that reads the view",
            place(order),
        )?;
        let OrderBy { kind, interpolate } = order;
        refuse(interpolate.is_some(), "INTERPOLATE", at)?;
        match kind {
            OrderByKind::Expressions(list) => order_list(a, list)?,
            OrderByKind::All(OrderByOptions { asc: _, nulls_first: _ }) => refuse(true, "ORDER BY ALL", at)?,
        }
    }
    if let Some(limit) = limit_clause {
        a.once_only("LIMIT in a continuous query", "put LIMIT into the SELECT that reads the view", at)?;
        match limit {
            LimitClause::LimitOffset { limit, offset, limit_by } => {
                refuse(!limit_by.is_empty(), "LIMIT BY", at)?;
                if let Some(e) = limit {
                    expr(a, e)?;
                }
                if let Some(Offset { value, rows: _ }) = offset {
                    expr(a, value)?;
                }
            }
            LimitClause::OffsetCommaLimit { offset: _, limit: _ } => refuse(true, "LIMIT offset, count", at)?,
        }
    }
    if let Some(Fetch { with_ties, percent, quantity }) = fetch {
        a.once_only("FETCH FIRST in a continuous query", "put it into the SELECT that reads the view", at)?;
        refuse(*with_ties, "WITH TIES", at)?;
        refuse(*percent, "FETCH … PERCENT", at)?;
        if let Some(e) = quantity {
            expr(a, e)?;
        }
    }
    refuse(!locks.is_empty(), "FOR UPDATE", at)?;
    refuse(for_clause.is_some(), "FOR XML and FOR JSON", at)?;
    refuse(settings.is_some(), "SETTINGS", at)?;
    refuse(format_clause.is_some(), "FORMAT", at)?;
    refuse(!pipe_operators.is_empty(), "|> (pipe operators)", at)
}

pub(super) fn order_list(a: &mut Admission, list: &[OrderByExpr]) -> Result<(), SqlError> {
    for OrderByExpr { expr: e, options: OrderByOptions { asc: _, nulls_first: _ }, with_fill } in list {
        refuse(with_fill.is_some(), "WITH FILL", place(e))?;
        expr(a, e)?;
    }
    Ok(())
}

fn with(a: &mut Admission, node: &With) -> Result<(), SqlError> {
    let With { with_token: _, recursive, cte_tables } = node;
    let at = place(node);
    if *recursive {
        a.once_only("WITH RECURSIVE in a continuous query", "", at)?;
    }
    a.clauses.meet(ClauseId::Cte, at);
    for Cte { alias, query: body, from, materialized: _, closing_paren_token: _ } in cte_tables {
        table_alias(alias)?;
        refuse(from.is_some(), "FROM in a CTE", at)?;
        query(a, body)?;
    }
    Ok(())
}

fn set_expr(a: &mut Admission, node: &SetExpr) -> Result<(), SqlError> {
    match node {
        SetExpr::Select(body) => select(a, body),
        SetExpr::Query(body) => query(a, body),
        SetExpr::SetOperation { left, op, set_quantifier, right } => {
            let at = place(left.as_ref());
            match (op, set_quantifier) {
                (SetOperator::Union, SetQuantifier::All) => a.clauses.meet(ClauseId::UnionAll, at),
                (SetOperator::Union, SetQuantifier::None | SetQuantifier::Distinct) => {
                    a.clauses.meet(ClauseId::Union, at)
                }
                (
                    SetOperator::Union,
                    SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName,
                ) => {
                    refuse(true, "UNION BY NAME", at)?;
                }
                (SetOperator::Except | SetOperator::Minus, _) => {
                    a.once_only("EXCEPT in a continuous query", "", at)?;
                }
                (SetOperator::Intersect, _) => a.once_only("INTERSECT in a continuous query", "", at)?,
            }
            set_expr(a, left)?;
            set_expr(a, right)
        }
        SetExpr::Values(Values { explicit_row: _, value_keyword: _, rows }) => {
            a.once_only("VALUES in a continuous query", "put the rows into a TABLE", place(node))?;
            for Parens { opening_token: _, content, closing_token: _ } in rows {
                for e in content {
                    expr(a, e)?;
                }
            }
            Ok(())
        }
        SetExpr::Table(_) => refuse(true, "TABLE name", place(node)),
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            refuse(true, "a changing statement inside a query", place(node))
        }
    }
}

fn select(a: &mut Admission, node: &Select) -> Result<(), SqlError> {
    let at = place(node);
    let Select {
        select_token: _,
        optimizer_hints,
        distinct,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection,
        exclude,
        into,
        from,
        lateral_views,
        prewhere,
        selection,
        connect_by,
        group_by,
        cluster_by,
        distribute_by,
        sort_by,
        having,
        named_window,
        qualify,
        window_before_qualify: _,
        value_table_mode,
        flavor,
    } = node;
    refuse(!optimizer_hints.is_empty(), "an optimizer hint", at)?;
    refuse(select_modifiers.is_some(), "a modifier of SELECT", at)?;
    refuse(top.is_some(), "TOP", at)?;
    refuse(exclude.is_some(), "EXCLUDE", at)?;
    refuse(into.is_some(), "SELECT INTO", at)?;
    refuse(!lateral_views.is_empty(), "LATERAL VIEW", at)?;
    refuse(prewhere.is_some(), "PREWHERE", at)?;
    refuse(!connect_by.is_empty(), "CONNECT BY", at)?;
    refuse(!cluster_by.is_empty(), "CLUSTER BY", at)?;
    refuse(!distribute_by.is_empty(), "DISTRIBUTE BY", at)?;
    refuse(!sort_by.is_empty(), "SORT BY", at)?;
    refuse(value_table_mode.is_some(), "SELECT AS VALUE", at)?;
    refuse(*flavor != SelectFlavor::Standard, "FROM before SELECT", at)?;
    if !named_window.is_empty() {
        a.once_only("WINDOW … AS in a continuous query", "", at)?;
    }
    if let Some(e) = qualify {
        a.once_only("QUALIFY in a continuous query", "", place(e))?;
        expr(a, e)?;
    }
    a.clauses.meet(ClauseId::Projection, at);
    match distinct {
        None | Some(Distinct::All) => {}
        Some(Distinct::Distinct) => a.clauses.meet(ClauseId::Distinct, at),
        Some(Distinct::On(list)) => {
            a.once_only(
                "DISTINCT ON in a continuous query",
                "group by the columns and use first_value or last_value",
                at,
            )?;
            for e in list {
                expr(a, e)?;
            }
        }
    }
    for item in projection {
        select_item(a, item)?;
    }
    if from.is_empty() {
        a.once_only("a SELECT without FROM in a continuous query", "read a source, stream, table or view", at)?;
    }
    if from.len() > 1 {
        a.once_only("a join (two relations in FROM) in a continuous query", "joins of streams come next", at)?;
    }
    for table in from {
        table_with_joins(a, table)?;
    }
    if let Some(e) = selection {
        a.clauses.meet(ClauseId::Where, place(e));
        expr(a, e)?;
    }
    group(a, group_by, at)?;
    if let Some(e) = having {
        a.clauses.meet(ClauseId::Having, place(e));
        expr(a, e)?;
    }
    Ok(())
}

fn group(a: &mut Admission, node: &GroupByExpr, at: Location) -> Result<(), SqlError> {
    match node {
        GroupByExpr::Expressions(list, modifiers) => {
            refuse(!modifiers.is_empty(), "WITH ROLLUP, WITH CUBE and WITH TOTALS", at)?;
            for e in list {
                a.clauses.meet(ClauseId::GroupBy, place(e));
                expr(a, e)?;
            }
            Ok(())
        }
        GroupByExpr::All(_) => refuse(true, "GROUP BY ALL", at),
    }
}

fn select_item(a: &mut Admission, item: &SelectItem) -> Result<(), SqlError> {
    match item {
        SelectItem::UnnamedExpr(e) => expr(a, e),
        SelectItem::ExprWithAlias { expr: e, alias: _ } => expr(a, e),
        SelectItem::ExprWithAliases { expr: e, aliases: _ } => {
            refuse(true, "several names for one expression", place(e))
        }
        SelectItem::QualifiedWildcard(kind, options) => {
            if let SelectItemQualifiedWildcardKind::Expr(e) = kind {
                refuse(true, "(expression).*", place(e))?;
            }
            wildcard(options, place(item))
        }
        SelectItem::Wildcard(options) => wildcard(options, place(item)),
    }
}

fn wildcard(options: &WildcardAdditionalOptions, at: Location) -> Result<(), SqlError> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    refuse(opt_ilike.is_some(), "* ILIKE", at)?;
    match opt_exclude {
        None | Some(ExcludeSelectItem::Single(_) | ExcludeSelectItem::Multiple(_)) => {}
    }
    let _forwarded = opt_except;
    refuse(opt_replace.is_some(), "* REPLACE", at)?;
    refuse(opt_rename.is_some(), "* RENAME", at)?;
    refuse(opt_alias.is_some(), "* AS", at)
}

fn table_with_joins(a: &mut Admission, node: &TableWithJoins) -> Result<(), SqlError> {
    let TableWithJoins { relation, joins } = node;
    table(a, relation)?;
    for Join { relation, global, join_operator } in joins {
        let at = place(relation);
        a.once_only("JOIN in a continuous query", "joins of streams come next", at)?;
        refuse(*global, "GLOBAL JOIN", at)?;
        table(a, relation)?;
        let constraint = match join_operator {
            JoinOperator::Join(c)
            | JoinOperator::Inner(c)
            | JoinOperator::Left(c)
            | JoinOperator::LeftOuter(c)
            | JoinOperator::Right(c)
            | JoinOperator::RightOuter(c)
            | JoinOperator::FullOuter(c)
            | JoinOperator::CrossJoin(c)
            | JoinOperator::LeftSemi(c)
            | JoinOperator::RightSemi(c)
            | JoinOperator::LeftAnti(c)
            | JoinOperator::RightAnti(c) => c,
            JoinOperator::Semi(_) => {
                return Err(SqlError::unsupported("SEMI JOIN", "write LEFT SEMI JOIN").at(at));
            }
            JoinOperator::Anti(_) => {
                return Err(SqlError::unsupported("ANTI JOIN", "write LEFT ANTI JOIN").at(at));
            }
            JoinOperator::CrossApply | JoinOperator::OuterApply => return refuse(true, "APPLY", at),
            JoinOperator::AsOf { match_condition: _, constraint: _ } => return refuse(true, "ASOF JOIN", at),
            JoinOperator::StraightJoin(_) => return refuse(true, "STRAIGHT_JOIN", at),
            JoinOperator::ArrayJoin | JoinOperator::LeftArrayJoin | JoinOperator::InnerArrayJoin => {
                return refuse(true, "ARRAY JOIN", at);
            }
        };
        match constraint {
            JoinConstraint::On(e) => expr(a, e)?,
            JoinConstraint::Using(_) | JoinConstraint::Natural | JoinConstraint::None => {}
        }
    }
    Ok(())
}

fn table_alias(alias: &TableAlias) -> Result<(), SqlError> {
    let TableAlias { explicit: _, name, columns: _, at } = alias;
    refuse(at.is_some(), "AT in an alias", name.span.start.into())
}

fn table(a: &mut Admission, node: &TableFactor) -> Result<(), SqlError> {
    let at = place(node);
    match node {
        TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => {
            alias.iter().try_for_each(table_alias)?;
            a.clauses.meet(ClauseId::From, at);
            refuse(!with_hints.is_empty(), "a table hint", at)?;
            refuse(version.is_some(), "FOR SYSTEM_TIME AS OF", at)?;
            refuse(*with_ordinality, "WITH ORDINALITY", at)?;
            refuse(!partitions.is_empty(), "PARTITION in FROM", at)?;
            refuse(json_path.is_some(), "a path behind a relation", at)?;
            refuse(sample.is_some(), "TABLESAMPLE", at)?;
            refuse(!index_hints.is_empty(), "an index hint", at)?;
            if let Some(TableFunctionArgs { args, settings }) = args {
                refuse(settings.is_some(), "SETTINGS", at)?;
                if window_kind(name).is_none() {
                    let hint = "TUMBLE and HOP exist; constant rows are written with VALUES";
                    return Err(SqlError::unsupported(format!("the table function {name}"), hint).at(at));
                }
                for arg in args {
                    function_arg(a, arg)?;
                }
            }
            Ok(())
        }
        TableFactor::Derived { lateral, subquery, alias, sample } => {
            alias.iter().try_for_each(table_alias)?;
            if *lateral {
                a.once_only("LATERAL in a continuous query", "", at)?;
            }
            refuse(sample.is_some(), "TABLESAMPLE", at)?;
            a.clauses.meet(ClauseId::Subquery, at);
            query(a, subquery)
        }
        TableFactor::TableFunction { expr: e, alias } => {
            alias.iter().try_for_each(table_alias)?;
            expr(a, e)
        }
        TableFactor::NestedJoin { table_with_joins: inner, alias } => {
            alias.iter().try_for_each(table_alias)?;
            table_with_joins(a, inner)
        }
        TableFactor::Function { lateral: _, name: _, args, with_ordinality, alias } => {
            alias.iter().try_for_each(table_alias)?;
            refuse(*with_ordinality, "WITH ORDINALITY", at)?;
            a.once_only("a table function in a continuous query", "TUMBLE and HOP exist", at)?;
            args.iter().try_for_each(|arg| function_arg(a, arg))
        }
        TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, with_ordinality } => {
            alias.iter().try_for_each(table_alias)?;
            a.once_only("UNNEST in a continuous query", "", at)?;
            refuse(*with_offset || with_offset_alias.is_some(), "WITH OFFSET", at)?;
            refuse(*with_ordinality, "WITH ORDINALITY", at)?;
            array_exprs.iter().try_for_each(|e| expr(a, e))
        }
        TableFactor::Pivot { aggregate_functions, .. } => {
            let _refused: &Vec<ExprWithAlias> = aggregate_functions;
            refuse(true, "PIVOT", at)
        }
        TableFactor::Unpivot { .. } => refuse(true, "UNPIVOT", at),
        TableFactor::MatchRecognize { .. } => refuse(true, "MATCH_RECOGNIZE", at),
        TableFactor::JsonTable { .. } => refuse(true, "JSON_TABLE", at),
        TableFactor::OpenJsonTable { .. } => refuse(true, "OPENJSON", at),
        TableFactor::XmlTable { .. } => refuse(true, "XMLTABLE", at),
        TableFactor::SemanticView { .. } => refuse(true, "SEMANTIC_VIEW", at),
    }
}
