//! Lowering on the syntax tree: all spellings of windows to one, the markers of `function::marker`.
//!
//! Table form: `FROM TUMBLE(TABLE s, DESCRIPTOR(ts), size)` becomes a subquery that adds the marker
//! columns. Group form: `GROUP BY TUMBLE(ts, size)` becomes two markers in GROUP BY, and every
//! mention of the window in the select list and HAVING becomes a marker too.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, LimitClause, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Spanned,
    TableAlias, TableFactor, Value, ValueWithSpan, VisitMut, visit_expressions, visit_expressions_mut,
    visit_relations_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location as SpanPlace, Span};

use super::clause::{ClauseId, Clauses};
use super::window_call::{Part, Shape, expressions, function_name, plain_args, shape, window_call};
use crate::catalog::Catalog;
use crate::error::{Kind, SqlError};
use crate::parse::{Location, fold};
use crate::quoted;

/// Lowers a query in place; FETCH FIRST becomes LIMIT.
pub(crate) fn lower(query: &mut Query, catalog: &Catalog, clauses: &mut Clauses) -> Result<(), SqlError> {
    if let Some(fetch) = query.fetch.take() {
        let one = || Expr::Value(Value::Number("1".to_owned(), false).into());
        let count = Some(fetch.quantity.unwrap_or_else(one));
        query.limit_clause = match query.limit_clause.take() {
            Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) => {
                Some(LimitClause::LimitOffset { limit: count, offset, limit_by })
            }
            None => Some(LimitClause::LimitOffset { limit: count, offset: None, limit_by: Vec::new() }),
            Some(_) => {
                return Err(
                    SqlError::new(Kind::Syntax, "LIMIT and FETCH FIRST say the same twice").hint("write one of them")
                );
            }
        };
    }
    if let Some(with) = &mut query.with {
        for cte in &mut with.cte_tables {
            lower(&mut cte.query, catalog, clauses)?;
        }
    }
    set_expr(&mut query.body, catalog, clauses)
}

fn set_expr(body: &mut SetExpr, catalog: &Catalog, clauses: &mut Clauses) -> Result<(), SqlError> {
    match body {
        SetExpr::Select(select) => {
            for table in &mut select.from {
                factor(&mut table.relation, catalog, clauses)?;
                for join in &mut table.joins {
                    factor(&mut join.relation, catalog, clauses)?;
                }
            }
            group_form(select, catalog, clauses)
        }
        SetExpr::Query(query) => lower(query, catalog, clauses),
        SetExpr::SetOperation { left, right, .. } => {
            set_expr(left, catalog, clauses)?;
            set_expr(right, catalog, clauses)
        }
        SetExpr::Values(_)
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => Ok(()),
    }
}

/// Parses text that we made; its names stand at `at` in the user's text.
fn parse_expr(text: &str, at: Location) -> Result<Expr, SqlError> {
    let mut expr = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .and_then(|mut p| p.parse_expr())
        .map_err(|e| crate::parse::from_parser(&e))?;
    move_names(&mut expr, at);
    Ok(expr)
}

/// Gives every name in a made tree the place that it was made from.
fn move_names<T: VisitMut>(tree: &mut T, at: Location) {
    let place = SpanPlace { line: at.line, column: at.column };
    let span = Span::new(place, place);
    let _ = visit_expressions_mut(tree, |e| {
        match e {
            Expr::Identifier(name) => name.span = span,
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(|name| name.span = span),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    let _ = visit_relations_mut(tree, |name| {
        for part in &mut name.0 {
            if let ObjectNamePart::Identifier(name) = part {
                name.span = span;
            }
        }
        ControlFlow::<()>::Continue(())
    });
}

fn marker(part: Part, time: &str, shape: &Shape) -> String {
    format!("{}({time}, {}, {}, {})", part.marker(), shape.slide, shape.size, shape.offset)
}

fn factor(table: &mut TableFactor, catalog: &Catalog, clauses: &mut Clauses) -> Result<(), SqlError> {
    let at: Location = table.span().start.into();
    let (kind, args, alias) = match table {
        TableFactor::Derived { subquery, .. } => return lower(subquery, catalog, clauses),
        TableFactor::NestedJoin { table_with_joins, .. } => {
            factor(&mut table_with_joins.relation, catalog, clauses)?;
            return table_with_joins.joins.iter_mut().try_for_each(|j| factor(&mut j.relation, catalog, clauses));
        }
        TableFactor::Table { name, alias, args: Some(args), .. } => {
            let Some(kind) = window_kind(name) else { return Ok(()) };
            (kind, expressions(&args.args, at)?.into_iter().cloned().collect::<Vec<_>>(), alias.clone())
        }
        TableFactor::TableFunction { expr: Expr::Function(f), alias } => {
            let Some(kind) = function_name(f).filter(|n| is_window(n)) else { return Ok(()) };
            (kind, plain_args(&f.args, at)?.into_iter().cloned().collect(), alias.clone())
        }
        _ => return Ok(()),
    };
    let [relation, rest @ ..] = args.as_slice() else {
        return Err(table_arity(&kind, at));
    };
    let relation_name = match relation {
        Expr::Identifier(ident) => ident.clone(),
        Expr::CompoundIdentifier(parts) if parts.len() == 2 => parts[1].clone(),
        _ => return Err(table_arity(&kind, at)),
    };
    let (time, lengths) = match rest.split_first() {
        Some((Expr::Interval(_), _)) | None => (default_time(&relation_name, catalog, at)?, rest),
        Some((time, lengths)) => (descriptor(time, at)?.to_string(), lengths),
    };
    let lengths: Vec<&Expr> = lengths.iter().collect();
    let shape = shape(&kind, None, &lengths, at)?;
    let text = format!(
        "SELECT *, {} AS window_start, {} AS window_end, {} AS window_time FROM {relation}",
        marker(Part::Start, &time, &shape),
        marker(Part::End, &time, &shape),
        marker(Part::Time, &time, &shape),
    );
    let mut subquery = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&text)
        .and_then(|mut p| p.parse_query())
        .map_err(|e| crate::parse::from_parser(&e))?;
    move_names(&mut subquery, relation_name.span.start.into());
    let alias = alias.unwrap_or(TableAlias { explicit: true, name: relation_name, columns: Vec::new(), at: None });
    *table = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
    clauses.meet(ClauseId::Window, at);
    Ok(())
}

fn is_window(name: &str) -> bool {
    ["tumble", "hop", "slide", "session", "cumulate"].contains(&name)
}

pub(super) fn window_kind(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [one] => one.as_ident().map(|i| i.value.to_lowercase()).filter(|n| is_window(n)),
        _ => None,
    }
}

fn table_arity(kind: &str, at: Location) -> SqlError {
    let form = if kind == "tumble" {
        "TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1 minute')"
    } else {
        "HOP(TABLE s, DESCRIPTOR(ts), slide, size)"
    };
    SqlError::new(Kind::Syntax, format!("syntax error in the arguments of {kind}")).hint(format!("write {form}")).at(at)
}

/// `DESCRIPTOR(ts)` or `ts`.
fn descriptor(expr: &Expr, at: Location) -> Result<&Expr, SqlError> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Ok(expr),
        Expr::Function(f) if function_name(f).as_deref() == Some("descriptor") => {
            match plain_args(&f.args, at)?.as_slice() {
                [column @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_))] => Ok(column),
                _ => Err(SqlError::new(Kind::Syntax, "DESCRIPTOR takes the name of one column").at(at)),
            }
        }
        _ => Err(SqlError::new(Kind::Syntax, format!("a window needs the name of a time column, not {expr}"))
            .hint("write DESCRIPTOR(ts)")
            .at(at)),
    }
}

/// The watermark column of a relation, quoted.
fn default_time(relation: &Ident, catalog: &Catalog, at: Location) -> Result<String, SqlError> {
    let name = fold(relation);
    let entry = catalog.require(&name).map_err(|e| e.at(at))?;
    let schema = entry.schema();
    match schema.time.first() {
        Some(&column) => Ok(quoted(schema.columns.field(column).name())),
        None => Err(SqlError::new(Kind::InvalidDefinition, format!("\"{name}\" has no time attribute"))
            .hint("declare WATERMARK FOR its timestamp column")
            .at(at)),
    }
}

fn group_form(select: &mut Select, catalog: &Catalog, clauses: &mut Clauses) -> Result<(), SqlError> {
    let GroupByExpr::Expressions(group, _) = select.group_by.clone() else { return Ok(()) };
    let mut window: Option<Shape> = None;
    let mut groups = Vec::with_capacity(group.len() + 1);
    for e in group.iter() {
        let meant = resolve(e, &select.projection);
        let Some(call) = window_call(meant)? else {
            groups.push(e.clone());
            continue;
        };
        let at: Location = meant.span().start.into();
        if window.as_ref().is_some_and(|w| *w != call.shape) {
            return Err(SqlError::unsupported("more than one window in GROUP BY", "group by one window").at(at));
        }
        if window.is_none() {
            clauses.meet(ClauseId::Window, at);
            let time = time_text(&call.shape, select, catalog, at)?;
            groups.push(parse_expr(&marker(Part::Start, &time, &call.shape), at)?);
            groups.push(parse_expr(&marker(Part::End, &time, &call.shape), at)?);
            window = Some(call.shape);
        }
    }
    let time = match &window {
        Some(shape) => time_text(shape, select, catalog, Location { line: 0, column: 0 })?,
        None => return refuse_ungrouped(select),
    };
    if let GroupByExpr::Expressions(group, _) = &mut select.group_by {
        *group = groups;
    }
    let replace = Replace { shape: window.as_ref(), time: &time };
    for item in &mut select.projection {
        replace.item(item)?;
    }
    if let Some(having) = &mut select.having {
        replace.expr(having)?;
    }
    Ok(())
}

/// What GROUP BY 1 and GROUP BY alias mean.
fn resolve<'e>(e: &'e Expr, projection: &'e [SelectItem]) -> &'e Expr {
    let item_expr = |item: &'e SelectItem| match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => Some(e),
        _ => None,
    };
    match e {
        Expr::Value(ValueWithSpan { value: Value::Number(n, _), .. }) => {
            n.parse::<usize>().ok().and_then(|n| projection.get(n.wrapping_sub(1))).and_then(item_expr).unwrap_or(e)
        }
        Expr::Identifier(name) => projection
            .iter()
            .find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if fold(alias) == fold(name) => Some(expr),
                _ => None,
            })
            .unwrap_or(e),
        _ => e,
    }
}

fn time_text(shape: &Shape, select: &Select, catalog: &Catalog, at: Location) -> Result<String, SqlError> {
    if let Some(time) = &shape.time {
        return Ok(time.to_string());
    }
    let name = match select.from.as_slice() {
        [one] if one.joins.is_empty() => match &one.relation {
            TableFactor::Table { name, .. } => name.0.last().and_then(|p| p.as_ident()).cloned(),
            _ => None,
        },
        _ => None,
    };
    match name {
        Some(name) => default_time(&name, catalog, at),
        None => Err(SqlError::new(Kind::Syntax, "the window names no time column")
            .hint("write TUMBLE(ts, INTERVAL '1 minute')")
            .at(at)),
    }
}

fn refuse_ungrouped(select: &Select) -> Result<(), SqlError> {
    let mut found = None;
    let _ = visit_expressions(&select.projection, |e| match window_call(e) {
        Ok(Some(_)) => {
            found = Some(e.clone());
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    match found {
        None => Ok(()),
        Some(e) => Err(SqlError::new(Kind::Grouping, format!("{e} stands in SELECT but not in GROUP BY"))
            .hint("add it to GROUP BY, or use FROM TUMBLE(TABLE s, DESCRIPTOR(ts), size)")
            .at(e.span().start.into())),
    }
}

struct Replace<'a> {
    shape: Option<&'a Shape>,
    time: &'a str,
}

impl Replace<'_> {
    /// A mention of the window: which column, and its name.
    fn mention(&self, e: &Expr) -> Result<Option<(Part, String)>, SqlError> {
        match e {
            Expr::Identifier(name) if name.quote_style.is_none() => Ok(match name.value.to_lowercase().as_str() {
                n @ ("window_start" | "windowstart") => Some((Part::Start, n.to_owned())),
                n @ ("window_end" | "windowend") => Some((Part::End, n.to_owned())),
                n @ "window_time" => Some((Part::Time, n.to_owned())),
                _ => None,
            }),
            Expr::CompoundIdentifier(parts) if parts.len() == 2 && fold(&parts[0]) == "window" => {
                Ok(match fold(&parts[1]).as_str() {
                    "start" => Some((Part::Start, "start".to_owned())),
                    "end" => Some((Part::End, "end".to_owned())),
                    _ => None,
                })
            }
            _ => match window_call(e)? {
                None => Ok(None),
                Some(call) if Some(&call.shape) == self.shape => Ok(Some((call.part, call.name))),
                Some(_) => Err(SqlError::new(Kind::Grouping, format!("{e} is not the window of GROUP BY"))
                    .hint("use the same arguments as in GROUP BY")
                    .at(e.span().start.into())),
            },
        }
    }

    fn marker(&self, part: Part, at: Location) -> Result<Expr, SqlError> {
        let Some(shape) = self.shape else { return Err(SqlError::internal("no window to replace")) };
        // The last moment of a window is computed from its end, which is a group key.
        match part {
            Part::Time => parse_expr(&format!("window_time_of({})", marker(Part::End, self.time, shape)), at),
            Part::Start | Part::End => parse_expr(&marker(part, self.time, shape), at),
        }
    }

    fn item(&self, item: &mut SelectItem) -> Result<(), SqlError> {
        if let SelectItem::UnnamedExpr(e) = item
            && let Some((part, name)) = self.mention(e)?
        {
            let at = e.span().start.into();
            *item = SelectItem::ExprWithAlias { expr: self.marker(part, at)?, alias: Ident::with_quote('"', name) };
            return Ok(());
        }
        match item {
            SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, alias: _ } => self.expr(e),
            SelectItem::ExprWithAliases { .. } | SelectItem::QualifiedWildcard(_, _) | SelectItem::Wildcard(_) => {
                Ok(())
            }
        }
    }

    fn expr(&self, e: &mut Expr) -> Result<(), SqlError> {
        let mut failed = None;
        let _ = visit_expressions_mut(e, |inner| match self.mention(inner) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some((part, _))) => match self.marker(part, inner.span().start.into()) {
                Ok(made) => {
                    *inner = made;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            },
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
        failed.map_or(Ok(()), Err)
    }
}
