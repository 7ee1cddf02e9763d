//! PostgreSQL's names of columns without an alias, so that headers read as users expect.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{Expr, FunctionArguments, Ident, Select, SelectItem};

/// Gives every column without an alias its PostgreSQL name; a name that is taken gets a number,
/// because DataFusion refuses two columns of one name.
pub fn name_columns(select: &mut Select) {
    let mut taken: HashSet<String> = HashSet::new();
    for item in &select.projection {
        if let SelectItem::ExprWithAlias { alias, .. } = item {
            taken.insert(alias.value.clone());
        }
    }
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let wanted = name(expr);
        let mut free = wanted.clone();
        let mut number = 1;
        while taken.contains(&free) {
            number += 1;
            free = format!("{wanted}_{number}");
        }
        taken.insert(free.clone());
        // A bare column keeps its qualifier, so that ORDER BY still finds it.
        let bare = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        if !bare || free != wanted {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', free) };
        }
    }
}

/// The name PostgreSQL gives to an expression (`FigureColname`).
fn name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.last().map_or_else(anonymous, |p| p.value.clone()),
        Expr::Function(function) => {
            let last = function.name.0.last().and_then(|p| p.as_ident());
            match (&function.args, last) {
                (FunctionArguments::Subquery(_), _) => "array".to_owned(),
                (_, Some(ident)) => ident.value.to_lowercase(),
                (_, None) => anonymous(),
            }
        }
        Expr::Cast { expr, data_type, .. } => match name(expr) {
            found if found == anonymous() => data_type.to_string().to_lowercase(),
            found => found,
        },
        Expr::Nested(inner) => name(inner),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        Expr::Array(_) => "array".to_owned(),
        _ => anonymous(),
    }
}

fn anonymous() -> String {
    "?column?".to_owned()
}
