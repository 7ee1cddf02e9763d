//! TUMBLE, HOP and their relatives as calls in the syntax tree, in all their spellings.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Spanned,
};

use super::interval::micros;
use crate::error::{Kind, SqlError};
use crate::function::{WINDOW_END, WINDOW_START, WINDOW_TIME};
use crate::parse::Location;

/// Which column of a window a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `TUMBLE(…)`, `TUMBLE_START(…)`.
    Start,
    /// `TUMBLE_END(…)`.
    End,
    /// `TUMBLE_ROWTIME(…)`, `window_time`.
    Time,
}

impl Part {
    /// The marker of the part.
    pub const fn marker(self) -> &'static str {
        match self {
            Self::Start => WINDOW_START,
            Self::End => WINDOW_END,
            Self::Time => WINDOW_TIME,
        }
    }
}

/// A window over a time column. Microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The time column; none = the watermark column of the only source.
    pub time: Option<Expr>,
    pub slide: i64,
    pub size: i64,
    pub offset: i64,
}

/// A window function in an expression.
#[derive(Clone, Debug)]
pub(crate) struct WindowCall {
    pub part: Part,
    /// Name of the result where the user gives none.
    pub name: String,
    pub shape: Shape,
}

const KINDS: [&str; 5] = ["tumble", "hop", "slide", "session", "cumulate"];

fn split_name(name: &str) -> Option<(&'static str, Part)> {
    let kind = KINDS.into_iter().find(|kind| name.starts_with(kind))?;
    let part = match &name[kind.len()..] {
        "" | "_start" => Part::Start,
        "_end" => Part::End,
        "_rowtime" | "_time" => Part::Time,
        _ => return None,
    };
    Some((kind, part))
}

/// The single lower-case name of a function.
pub(super) fn function_name(f: &Function) -> Option<String> {
    match f.name.0.as_slice() {
        [one] => one.as_ident().map(|i| i.value.to_lowercase()),
        _ => None,
    }
}

/// Unnamed arguments of a function.
pub(super) fn plain_args(args: &FunctionArguments, at: Location) -> Result<Vec<&Expr>, SqlError> {
    let FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: _ }) = args else {
        return Ok(Vec::new());
    };
    expressions(args, at)
}

pub(super) fn expressions(args: &[FunctionArg], at: Location) -> Result<Vec<&Expr>, SqlError> {
    args.iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Ok(e),
            _ => {
                Err(SqlError::unsupported("a named argument of a window function", "give the arguments in order")
                    .at(at))
            }
        })
        .collect()
}

/// Reads a window function; none = another expression.
pub(crate) fn window_call(expr: &Expr) -> Result<Option<WindowCall>, SqlError> {
    let Expr::Function(f) = expr else { return Ok(None) };
    let Some(name) = function_name(f) else { return Ok(None) };
    let Some((kind, part)) = split_name(&name) else { return Ok(None) };
    let at: Location = expr.span().start.into();
    let args = plain_args(&f.args, at)?;
    let (time, lengths) = match args.split_first() {
        Some((Expr::Interval(_), _)) => (None, args.as_slice()),
        Some((time, rest)) => (Some((*time).clone()), rest),
        None => return Err(arity(kind, at)),
    };
    let shape = shape(kind, time, lengths, at)?;
    Ok(Some(WindowCall { part, name, shape }))
}

fn arity(kind: &str, at: Location) -> SqlError {
    let form = match kind {
        "hop" => "HOP(ts, slide, size [, offset])",
        "slide" => "SLIDE(ts, size, slide)",
        _ => "TUMBLE(ts, size [, offset])",
    };
    SqlError::new(Kind::UndefinedFunction, format!("wrong number of arguments of {kind}"))
        .hint(format!("write {form}"))
        .at(at)
}

/// The window of a kind with its lengths.
pub(super) fn shape(kind: &str, time: Option<Expr>, lengths: &[&Expr], at: Location) -> Result<Shape, SqlError> {
    let (slide, size, offset) = match (kind, lengths) {
        ("tumble", [size]) => (*size, *size, None),
        ("tumble", [size, offset]) => (*size, *size, Some(*offset)),
        ("hop", [slide, size]) | ("slide", [size, slide]) => (*slide, *size, None),
        ("hop", [slide, size, offset]) => (*slide, *size, Some(*offset)),
        ("session", _) => {
            return Err(
                SqlError::unsupported("SESSION", "session windows come with the joins; use TUMBLE or HOP").at(at)
            );
        }
        ("cumulate", _) => return Err(SqlError::unsupported("CUMULATE", "use TUMBLE or HOP").at(at)),
        _ => return Err(arity(kind, at)),
    };
    let (slide, size) = (micros(slide)?, micros(size)?);
    let offset = offset.map(micros).transpose()?.unwrap_or(0);
    if size <= 0 || slide <= 0 {
        return Err(SqlError::new(Kind::InvalidDefinition, "the length of a window must be greater than zero").at(at));
    }
    if slide > size {
        return Err(SqlError::new(
            Kind::InvalidDefinition,
            "the slide of a hopping window is greater than its size: the arguments look swapped",
        )
        .hint("write HOP(ts, slide, size) or SLIDE(ts, size, slide)")
        .at(at));
    }
    if size / slide > 10_000 {
        return Err(SqlError::new(
            Kind::InvalidDefinition,
            format!("each row would lie in {} windows, the limit is 10000", size / slide),
        )
        .hint("use a greater slide")
        .at(at));
    }
    Ok(Shape { time, slide, size, offset: offset.rem_euclid(slide) })
}
