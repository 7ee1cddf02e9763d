//! Idioms of PostgreSQL's tools, as SQL that DataFusion plans.
//!
//! Four kinds: names (`pg_catalog.f()`, bare `pg_class`, column headers), casts to `regclass` and its
//! kin, operators and collations that are spelled out, and subqueries that DataFusion cannot
//! decorrelate. The last kind leans on what is known here: many relations are always empty, and a
//! SELECT that joins one of them has no rows, whatever it computes. Queries over users' objects only
//! get the first three.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SetExpr, TableFactor, TableWithJoins, Value, Visit, VisitMut, Visitor, VisitorMut, visit_relations,
};

use super::output_name::name_columns;
use super::{empty, information_schema, relation};

/// Aggregates: a SELECT with one of them has a row even over nothing.
const AGGREGATES: [&str; 10] =
    ["count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_and", "bool_or", "json_agg"];

/// Rewrites a query in place; returns whether it reads system relations.
pub fn rewrite(query: &mut Query) -> bool {
    let mut rewriter = Rewriter { system: reads_system(query) };
    // The visitor never breaks.
    let _ = query.visit(&mut rewriter);
    rewriter.system
}

/// Whether a query reads a system relation anywhere.
pub fn reads_system(query: &Query) -> bool {
    let mut found = false;
    let _ = visit_relations(query, |name| {
        found |= is_system(name);
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Whether a query reads any relation.
pub fn has_relations(query: &Query) -> bool {
    visit_relations(query, |_| ControlFlow::Break(())).is_break()
}

/// The lower-case parts of a name.
fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(ObjectNamePart::as_ident).map(|i| i.value.to_lowercase()).collect()
}

fn is_system(name: &ObjectName) -> bool {
    match parts(name).as_slice() {
        [one] => relation::exists(one),
        [.., schema, one] => match schema.as_str() {
            "pg_catalog" => relation::exists(one),
            "information_schema" => information_schema::exists(one),
            _ => false,
        },
        [] => false,
    }
}

struct Rewriter {
    system: bool,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_ref()
            && self.system
            && has_no_rows(select)
        {
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        name_columns(select);
        if self.system && has_no_rows(select) {
            empty_select(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        if let [ObjectNamePart::Identifier(ident)] = name.0.as_slice()
            && relation::exists(&ident.value)
        {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new("pg_catalog")));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.system
            && let Expr::Subquery(query) = expr
            && let SetExpr::Select(select) = query.body.as_mut()
        {
            if has_no_rows(select) {
                *expr = null();
            } else if !aggregates(select) {
                at_most_one(select);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let taken = std::mem::replace(expr, null());
        *expr = self.rewritten(taken);
        ControlFlow::Continue(())
    }
}

impl Rewriter {
    fn rewritten(&self, expr: Expr) -> Expr {
        match expr {
            Expr::Collate { expr, .. } => *expr,
            Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right }
                if self.system && (is_null(&left) || is_null(&right)) =>
            {
                null()
            }
            Expr::BinaryOp { left, op: BinaryOperator::PGCustomBinaryOperator(spelled), right } => {
                let op = spelled.last().map(String::as_str).and_then(operator);
                let op = op.unwrap_or(BinaryOperator::PGCustomBinaryOperator(spelled));
                Expr::BinaryOp { left, op, right }
            }
            Expr::Cast { kind, expr, data_type, array, format } => match cast(&kind, *expr, &data_type) {
                Ok(replaced) => replaced,
                Err(expr) => Expr::Cast { kind, expr: Box::new(expr), data_type, array, format },
            },
            Expr::Like { negated, any, expr, pattern, escape_char: Some(escape) } => {
                let (pattern, escape_char) = match escaped(&pattern, &escape.value) {
                    Some(text) => (Box::new(Expr::Value(Value::SingleQuotedString(text).into())), None),
                    None => (pattern, Some(escape)),
                };
                Expr::Like { negated, any, expr, pattern, escape_char }
            }
            Expr::Function(function) => self.function(function),
            other => other,
        }
    }

    fn function(&self, mut function: Function) -> Expr {
        if function.name.0.len() == 2 && parts(&function.name)[..1] == ["pg_catalog"] {
            function.name.0.remove(0);
        }
        let name = parts(&function.name).join(".");
        if matches!(function.args, FunctionArguments::None) && super::function::exists(&name) {
            function.args = list(Vec::new());
        }
        let first = || match &function.args {
            FunctionArguments::List(list) => match list.args.first() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) => Some(first.clone()),
                _ => None,
            },
            FunctionArguments::None | FunctionArguments::Subquery(_) => None,
        };
        match name.as_str() {
            // Options, access lists and memberships: there are none.
            "array" if self.system && matches!(function.args, FunctionArguments::Subquery(_)) => null(),
            "array_to_string" if self.system && first().as_ref().is_some_and(is_null) => null(),
            "generate_subscripts" => match first() {
                Some(lists) => call("unnest", call("laminar_subscripts", lists)),
                None => Expr::Function(function),
            },
            _ => Expr::Function(function),
        }
    }
}

/// A constant LIKE pattern with its own escape character, as one with a backslash.
fn escaped(pattern: &Expr, escape: &Value) -> Option<String> {
    let Value::SingleQuotedString(escape) = escape else { return None };
    let escape = escape.chars().next()?;
    let mut out = String::new();
    for c in constant(pattern)?.chars() {
        match c {
            '\\' if escape != '\\' => out.push_str("\\\\"),
            c if c == escape => out.push('\\'),
            c => out.push(c),
        }
    }
    Some(out)
}

/// A text literal, or several put together.
fn constant(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => Some(constant(left)? + &constant(right)?),
        Expr::Nested(inner) => constant(inner),
        _ => None,
    }
}

fn operator(spelled: &str) -> Option<BinaryOperator> {
    Some(match spelled {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

/// A cast to one of PostgreSQL's own types; the expression comes back if the type is another one.
fn cast(kind: &CastKind, expr: Expr, to: &DataType) -> Result<Expr, Expr> {
    let name = match to {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => match parts(name).as_slice() {
            [one] => one.clone(),
            [schema, one] if schema == "pg_catalog" => one.clone(),
            _ => return Err(expr),
        },
        _ => return Err(expr),
    };
    let plain = |data_type: DataType, expr: Expr| Expr::Cast {
        kind: kind.clone(),
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    };
    let literal = matches!(&expr, Expr::Value(v) if matches!(v.value, Value::SingleQuotedString(_)));
    Ok(match (name.as_str(), literal) {
        ("regclass", true) => call("laminar_regclass", expr),
        ("regclass", false) => call("laminar_regclass_name", expr),
        ("regtype", true) => call("laminar_regtype", expr),
        ("regtype", false) => call("laminar_regtype_name", expr),
        ("regnamespace", _) => call("laminar_regnamespace_name", expr),
        ("regrole", _) => call("pg_get_userbyid", expr),
        ("oid" | "xid" | "cid", _) => plain(DataType::Int(None), named(expr)),
        (
            "name" | "text" | "char" | "cstring" | "varchar" | "bpchar" | "regproc" | "regprocedure" | "int2vector"
            | "oidvector",
            _,
        ) => plain(DataType::Varchar(None), expr),
        ("int2", _) => plain(DataType::SmallInt(None), expr),
        ("int4", _) => plain(DataType::Int(None), expr),
        ("int8", _) => plain(DataType::BigInt(None), expr),
        ("bool", _) => plain(DataType::Boolean, expr),
        ("float8", _) => plain(DataType::DoublePrecision, expr),
        _ => return Err(expr),
    })
}

/// Undoes `x::regclass` where the number is wanted back (`x::regclass::oid`).
fn named(expr: Expr) -> Expr {
    match expr {
        Expr::Function(Function { name, args: FunctionArguments::List(mut list), .. })
            if parts(&name) == ["laminar_regclass_name"] && list.args.len() == 1 =>
        {
            match list.args.remove(0) {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)) => inner,
                _ => null(),
            }
        }
        other => other,
    }
}

/// Whether a SELECT joins a relation that is always empty, so that no row can come of it.
fn has_no_rows(select: &Select) -> bool {
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(list, _) => !list.is_empty(),
    };
    let wildcard =
        select.projection.iter().any(|i| !matches!(i, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }));
    !grouped && !wildcard && !aggregates(select) && select.from.iter().any(joins_nothing)
}

fn joins_nothing(table: &TableWithJoins) -> bool {
    let inner =
        |op: &JoinOperator| matches!(op, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_));
    let left = |op: &JoinOperator| matches!(op, JoinOperator::Left(_) | JoinOperator::LeftOuter(_));
    let plain = table.joins.iter().all(|j| inner(&j.join_operator) || left(&j.join_operator));
    plain && (is_empty(&table.relation) || table.joins.iter().any(|j| inner(&j.join_operator) && is_empty(&j.relation)))
}

fn is_empty(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => match parts(name).as_slice() {
            [one] => empty::columns(one).is_some(),
            [schema, one] => schema == "pg_catalog" && empty::columns(one).is_some(),
            _ => false,
        },
        _ => false,
    }
}

fn aggregates(select: &Select) -> bool {
    let mut search = AggregateSearch { depth: 0, found: select.having.is_some() };
    for item in &select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _ = expr.visit(&mut search);
        }
    }
    search.found
}

/// Looks for aggregates outside of subqueries.
struct AggregateSearch {
    depth: usize,
    found: bool,
}

impl Visitor for AggregateSearch {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(f) = expr
            && self.depth == 0
            && f.over.is_none()
        {
            self.found |= parts(&f.name).last().is_some_and(|n| AGGREGATES.contains(&n.as_str()));
        }
        ControlFlow::Continue(())
    }
}

/// Keeps the columns and drops everything that computes them.
fn empty_select(select: &mut Select) {
    let typed = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(null()),
        data_type: DataType::Varchar(None),
        array: false,
        format: None,
    };
    for item in &mut select.projection {
        let alias = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            SelectItem::UnnamedExpr(Expr::Identifier(ident)) => ident.clone(),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => match parts.last() {
                Some(ident) => ident.clone(),
                None => continue,
            },
            _ => continue,
        };
        *item = SelectItem::ExprWithAlias { expr: typed.clone(), alias };
    }
    select.distinct = None;
    select.from.clear();
    select.selection = Some(Expr::Value(Value::Boolean(false).into()));
}

/// Turns the column of a scalar subquery into `max(column)`: the same value where there is at most
/// one row, and a form that DataFusion decorrelates.
fn at_most_one(select: &mut Select) {
    if let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_mut_slice() {
        let inner = std::mem::replace(expr, null());
        *expr = call("max", inner);
    }
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Value(v) => matches!(v.value, Value::Null),
        Expr::Nested(inner) => is_null(inner),
        _ => false,
    }
}

fn list(args: Vec<Expr>) -> FunctionArguments {
    let args = args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() })
}

fn call(name: &str, argument: Expr) -> Expr {
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: list(vec![argument]),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
